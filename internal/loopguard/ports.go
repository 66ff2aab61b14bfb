package loopguard

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"dpifd/internal/event"
	"dpifd/internal/odp"
)

// Interval is the time from one round of probes to the next.
const Interval = 2 * time.Second

const (
	firstBlock = 10 * time.Second
	maxBlock   = 10 * time.Minute
	// reportPause is the minimum time between two events about a pair of ports.
	reportPause = 10 * time.Second
	// vlansPerRound is the number of VLANs of a port that get a probe in a round. If a port has
	// more, they take turns.
	vlansPerRound = 8
)

// Mode is the reaction of a port to loops.
type Mode uint8

// Off sends no probes. Log sends them and reports loops. Block also blocks the port.
const (
	Off Mode = iota
	Log
	Block
)

// Port is a port of the datapath.
type Port struct {
	No      odp.PortNo
	Name    string
	Mode    Mode
	SinceMS int64    // as in policy.Port; the younger of two ports is blocked
	VLANs   []uint16 // VLANs to probe, 0 for untagged frames
}

// Ports holds the ports of a datapath, and which of them are blocked. Times are those of
// internal/clock.
type Ports struct {
	notify   event.Sink
	ports    map[odp.PortNo]*state
	reported map[[2]odp.PortNo]time.Duration
}

type state struct {
	Port
	blocked bool
	until   time.Duration // end of the block, or when it ended
	block   time.Duration // duration of the last block, 0 for none yet
	vlan    int           // index in VLANs to probe next
}

// NewPorts returns a Ports without ports. Events go to notify.
func NewPorts(notify event.Sink) *Ports {
	return &Ports{notify: notify, ports: map[odp.PortNo]*state{}, reported: map[[2]odp.PortNo]time.Duration{}}
}

// Set replaces the ports. One that has its name and number keeps its state, as far as its
// mode allows. It reports whether other ports are blocked now.
func (p *Ports) Set(list []Port) (changed bool) {
	next := make(map[odp.PortNo]*state, len(list))
	for _, port := range list {
		s := p.ports[port.No]
		if s == nil || s.Name != port.Name || s.SinceMS != port.SinceMS {
			s = &state{}
		}
		s.Port = port
		if s.blocked && s.Mode != Block {
			p.unblock(s, 0)
			changed = true
		}
		next[port.No] = s
	}
	for no, s := range p.ports {
		changed = changed || s.blocked && next[no] != s
	}
	p.ports = next
	maps.DeleteFunc(p.reported, func(pair [2]odp.PortNo, _ time.Duration) bool { return next[pair[0]] == nil })
	return changed
}

// Saw processes a probe that came back, and reports whether a port was blocked.
func (p *Ports) Saw(s Sighting, now time.Duration) (changed bool) {
	from, in := p.ports[s.From], p.ports[s.In]
	if from == nil || from.Mode == Off || from.blocked || in != nil && in.blocked {
		return false // sent before the settings changed, or the loop is cut already
	}
	pair := [2]odp.PortNo{s.From, s.In}
	if reported, is := p.reported[pair]; !is || now-reported >= reportPause {
		p.reported[pair] = now
		e := LoopDetected{Port: from.Name, PortNo: from.No, BackNo: s.In, VLAN: int(s.VLAN)}
		if in != nil {
			e.Back = in.Name
		}
		p.notify(e)
	}
	victim := younger(from, in)
	if victim == nil {
		return false
	}
	victim.block = min(max(firstBlock, 2*victim.block), maxBlock)
	victim.blocked, victim.until = true, now+victim.block
	p.notify(PortBlocked{Port: victim.Name, PortNo: victim.No, For: victim.block})
	return true
}

// younger returns the port to block: of those that may be blocked the one that was added last, nil
// if there is none. b may be nil.
func younger(a, b *state) *state {
	switch {
	case b == nil || b.Mode != Block:
		b = a
	case a.Mode == Block && cmp.Or(cmp.Compare(a.SinceMS, b.SinceMS), cmp.Compare(a.No, b.No)) > 0:
		b = a
	}
	if b.Mode != Block {
		return nil
	}
	return b
}

// Expire unblocks the ports whose time is over, and reports whether there were any. A port that
// stays unblocked for a minute longer than its last block begins with the shortest time again.
func (p *Ports) Expire(now time.Duration) (changed bool) {
	for _, no := range slices.Sorted(maps.Keys(p.ports)) {
		switch s := p.ports[no]; {
		case s.blocked && now >= s.until:
			p.unblock(s, now)
			changed = true
		case !s.blocked && s.block > 0 && now-s.until >= s.block+time.Minute:
			s.block = 0
		}
	}
	return changed
}

func (p *Ports) unblock(s *state, now time.Duration) {
	s.blocked, s.until = false, now
	p.notify(PortUnblocked{Port: s.Name, PortNo: s.No})
}

// Blocked returns the ports that are blocked, nil for none. The caller owns it.
func (p *Ports) Blocked() map[odp.PortNo]bool {
	var all map[odp.PortNo]bool
	for no, s := range p.ports {
		if s.blocked {
			if all == nil {
				all = map[odp.PortNo]bool{}
			}
			all[no] = true
		}
	}
	return all
}

// Guards reports whether at least one port has a mode other than Off.
func (p *Ports) Guards() bool {
	for _, s := range p.ports {
		if s.Mode != Off {
			return true
		}
	}
	return false
}

// Probe calls fn with the probes of one round: a port and a VLAN.
func (p *Ports) Probe(fn func(port odp.PortNo, vlan uint16)) {
	for _, no := range slices.Sorted(maps.Keys(p.ports)) {
		s := p.ports[no]
		if s.Mode == Off || s.blocked {
			continue
		}
		for range min(vlansPerRound, len(s.VLANs)) {
			s.vlan %= len(s.VLANs)
			fn(no, s.VLANs[s.vlan])
			s.vlan++
		}
	}
}
