package vswitch

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/revalidator"
	"dpifd/internal/transport"
	"dpifd/internal/upcall"

	"golang.org/x/sys/unix"
)

// Stats is everything countable about a served datapath.
type Stats struct {
	Datapath    dpif.DatapathInfo
	Ports       []PortStats         // in order of their numbers
	Past        upcall.PortCounters // the sum over ports that have gone
	Shared      []PortStats         // the sockets of per-CPU dispatch: No is MaxPorts, and what a port is known of is counted there
	Revalidator revalidator.Counters
	FlowLimit   int64         // in force now
	StaticFlows int           // of the datapath's flows, those of the configuration
	Polls       uint64        // times that a handler asked epoll
	Batches     uint64        // batches of upcalls answered
	BatchTime   time.Duration // from a batch's receipt until its answers were sent, sum over Batches
	SendErrors  uint64        // batches that could not be sent whole
	LastRefusal unix.Errno
	Requests    netlink.Counters // of the handlers' request sockets, summed
	RingBytes   uint64           // memory of all RX rings
	Restored    RestoredCounters
	Notifiers   netlink.Counters // of the sockets of the port poll, summed
	// RequestSockets are all sockets that requests go by, the handlers' first.
	RequestSockets []RequestSocket
}

// RestoredCounters count since the Server was made what was found changed and
// put back, and how often notifications were lost.
type RestoredCounters struct {
	Features          uint64 // changes of the datapath's user features
	UpcallPIDs        uint64 // changes of a vport's upcall PIDs
	NotifierOverflows uint64 // everything was listed anew after each
}

// restored is what RestoredCounters is read from.
type restored struct{ features, pids, overflows atomic.Uint64 }

// RequestSocket is one request socket.
type RequestSocket struct {
	Owner    string // "handler 0", "revalidator", "control" or "statistics"
	Counters netlink.Counters
}

// PortStats are one served port's counters, the daemon's and the kernel's.
type PortStats struct {
	Serial    uint64 // tells apart ports that had the same number one after another
	No        odp.PortNo
	Name      string
	Handler   int
	UpcallPID uint32
	Transport netlink.Transport
	// RingFrames is the number of frames of the port's ring, 0 without ring.
	RingFrames uint32
	Counters   upcall.PortCounters
	Vport      dpif.VportStats
	Kernel     dpif.UpcallStats
}

// Stats collects all counters. It may be called from any goroutine while the
// Server is open.
func (s *Server) Stats() (Stats, error) { return s.stats(true) }

// Losses is Stats without what the kernel counts about each vport, for a look
// once in a while: it takes one request to the kernel, however many ports there
// are, and a system call for each port only when the datapath has lost upcalls
// since the last call of either.
func (s *Server) Losses() (Stats, error) { return s.stats(false) }

func (s *Server) stats(all bool) (Stats, error) {
	s.statsMu.Lock()
	defer s.statsMu.Unlock()
	var st Stats
	var err error
	if st.Datapath, err = s.statsDP.Info(); err != nil {
		return st, err
	}
	var vports map[odp.PortNo]*dpif.Vport
	if all {
		list, err := s.statsDP.Vports()
		if err != nil {
			return st, err
		}
		vports = make(map[odp.PortNo]*dpif.Vport, len(list))
		for i := range list {
			vports[list[i].No] = &list[i]
		}
	}
	// A ring drops what the datapath does not count as lost.
	if lost := st.Datapath.Stats.Lost; all || lost != s.lost || s.sockets.HasRings() {
		s.lost = lost
		s.readDrops()
	}
	s.mu.Lock()
	st.Past = s.past
	channels := slices.SortedFunc(maps.Values(s.channels), func(a, b *channel) int { return cmp.Compare(a.No, b.No) })
	st.Ports = make([]PortStats, 0, len(channels))
	for _, ch := range channels {
		p := portStats(ch.Port, ch.sock)
		if v := vports[ch.No]; v != nil {
			p.Vport, p.Kernel = v.Stats, v.Upcalls
		}
		if ch.sock != nil {
			st.RingBytes += ch.sock.RingBytes
		}
		st.Ports = append(st.Ports, p)
	}
	for _, sock := range s.sockets.Shared() {
		st.Shared = append(st.Shared, portStats(sock.Port(), sock))
	}
	s.mu.Unlock()
	st.Revalidator, st.FlowLimit = s.revalidator.Counters(), s.budget.Limit()
	st.StaticFlows = s.revalidator.InstalledStaticFlows()
	for _, h := range s.handlers {
		c := h.Counters()
		st.Polls += c.Polls
		st.Batches += c.Batches
		st.BatchTime += c.BatchTime
		st.SendErrors += c.SendErrors
		st.Requests.Add(c.Requests)
		st.RequestSockets = append(st.RequestSockets, RequestSocket{fmt.Sprintf("handler %d", h.ID()), c.Requests})
		if c.LastRefusal != 0 {
			st.LastRefusal = c.LastRefusal
		}
	}
	st.RequestSockets = append(st.RequestSockets, RequestSocket{"revalidator", s.revalidator.Requests()},
		RequestSocket{"control", s.dp.Conn().Counters()}, RequestSocket{"statistics", s.statsDP.Conn().Counters()})
	st.Notifiers = s.ovs.Counters()
	st.Notifiers.Add(s.link.Counters())
	st.Restored = RestoredCounters{s.restored.features.Load(), s.restored.pids.Load(), s.restored.overflows.Load()}
	return st, nil
}

// portStats are the daemon's counters of a port.
func portStats(p *upcall.Port, sock *transport.Socket) PortStats {
	return PortStats{Serial: p.Serial(), No: p.No, Name: p.Name(), Handler: sock.HandlerID(), UpcallPID: sock.PortID(),
		Transport: sock.Transport(), RingFrames: sock.RingFrames(), Counters: p.Counters()}
}

// LongestBatch returns the longest time that a batch took since the last call, of
// all handlers. It may be called from any goroutine.
func (s *Server) LongestBatch() time.Duration {
	var longest time.Duration
	for _, h := range s.handlers {
		longest = max(longest, h.LongestBatch())
	}
	return longest
}

// RingFill returns how many frames of a ring were in use at most since the last call, of
// all rings. It may be called from any goroutine.
func (s *Server) RingFill() uint32 {
	var most uint32
	for _, h := range s.handlers {
		most = max(most, h.RingFill())
	}
	return most
}

// StaticFlows returns the static flows with what became of them, those that wait
// for a port included. It may be called from any goroutine.
func (s *Server) StaticFlows() []revalidator.StaticFlowStats { return s.revalidator.StaticFlows() }

// readDrops notes how many upcalls the kernel could not queue. statsMu is held.
func (s *Server) readDrops() {
	// Kernels that do not tell each socket have a table. If it cannot be read the
	// sockets' reports of overflow stand in.
	table := s.dropTable != nil && s.dropTable.Read(unix.NETLINK_GENERIC, s.drops) == nil
	for _, sock := range s.everySocket() {
		if table {
			sock.SetDrops(s.drops[sock.PortID()])
		} else {
			sock.ReadDrops()
		}
	}
}

// Totals sums the counters of all ports, those that have gone included, without
// asking about the datapath, which may be gone. It may be called from any
// goroutine, also after Run.
func (s *Server) Totals() upcall.PortCounters {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := s.past
	for _, p := range s.everyPort() {
		sum.Add(p.CurrentCounters())
	}
	return sum
}

// Total sums the counters of all ports, those that have gone included.
func (st *Stats) Total() upcall.PortCounters {
	sum := st.Past
	for _, ports := range [][]PortStats{st.Ports, st.Shared} {
		for i := range ports {
			sum.Add(ports[i].Counters)
		}
	}
	return sum
}
