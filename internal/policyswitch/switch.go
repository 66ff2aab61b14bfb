package policyswitch

import (
	"hash/fnv"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"dpifd/internal/config"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/forward"
	"dpifd/internal/loopguard"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/snoop"
)

// Switch is the current policy, which a reload may replace while handlers use it. It is a
// policy.Policy itself.
type Switch struct {
	current atomic.Pointer[inForce]

	mu    sync.Mutex // orders replacements and changes of the ports
	ports []policy.Port
	// awaited are MACs to take over when ports are known.
	awaited       []forward.MACEntry
	awaitedGroups []snoop.Entry
	tunnels       map[odp.PortNo]string // names of tunnels by their numbers
	reported      map[odp.PortNo]string // vports without service that were already reported
	notify        event.Sink
	flaps         chan struct{} // capacity 1; nil if nothing is logged

	guard    *loopguard.Guard
	blocked  map[odp.PortNo]bool // because of loops
	silences atomic.Uint64       // part of the generation
}

// inForce is one policy with its optional interfaces.
type inForce struct {
	policy.Policy
	table  forward.MACTable    // nil unless the policy learns
	meters policy.MeterPolicy  // nil unless the policy has meters
	staged policy.StagedPolicy // nil unless the policy supports flows in two stages
	groups *snoop.Table        // nil unless the policy snoops
	// since is the generation of the switch when the policy was installed: the sum with the
	// policy's own generation never decreases.
	since uint64
	// past has the counters of earlier policies. MACs that were taken over do not count as
	// learned again.
	past       forward.Stats
	pastGroups snoop.Counters
	// silent are the vports that carry nothing, with the reason: those without an entry in
	// the configuration, if dropsUnlisted, and those blocked because of a loop.
	silent        atomic.Pointer[map[odp.PortNo]string]
	dropsUnlisted bool
	// dropsLocal and hasVLANs are about the local port, see config.Config.
	dropsLocal, hasVLANs bool
	file                 *config.Config
	guarded              bool // ports have loop_guard
}

var (
	_ policy.StaticPolicy = (*Switch)(nil)
	_ policy.MeterPolicy  = (*Switch)(nil)
)

// New returns a Switch without a policy. Call Use before anything else. notify is called
// with each event.
func New(notify event.Sink) *Switch {
	return &Switch{notify: notify, flaps: make(chan struct{}, 1), guard: loopguard.New()}
}

// Table returns the MAC table of the policy in force, nil if it does not learn.
func (s *Switch) Table() forward.MACTable { return s.current.Load().table }

// use installs the configured policy. It takes over the MACs of the previous one. After an
// error the previous policy stays.
func (s *Switch) Use(file *config.Config) error {
	p, cfg := &inForce{dropsUnlisted: file.DropsUnlisted(), dropsLocal: file.DropsLocal(), hasVLANs: file.HasVLANs(),
		file: file, guarded: file.GuardsLoops()}, &file.Policy
	ports, patterns := forwardingPorts(file)
	tunnels := number(ports)
	base, err := forward.New(string(cfg.Type), forward.Config{
		MACAging: cfg.MACAging, MACLimit: cfg.MACLimit, SharedLearning: cfg.SharedLearning, ForwardBPDU: cfg.ForwardBPDU,
		StaticMACs: cfg.StaticMACs, Stages: stages[file.Flows.Stages], Ports: ports, Patterns: patterns,
		Flapping: s.flapping, Multicast: multicastConfig(cfg),
	})
	if err != nil {
		return err
	}
	p.Policy = base
	p.table, _ = base.(forward.MACTable)
	p.meters, _ = base.(policy.MeterPolicy)
	p.staged, _ = base.(policy.StagedPolicy)
	if snooper, ok := base.(forward.Snooper); ok {
		p.groups = snooper.Groups()
	}
	if len(file.Flows.Static) > 0 {
		o, err := forward.NewOverlay(p.Policy, file.Flows.Static)
		if err != nil {
			return err
		}
		if p.dropsUnlisted {
			o.PerPort()
		}
		p.Policy = o
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tunnels = tunnels
	s.setPorts(p)
	if old := s.current.Load(); old != nil {
		p.past = old.stats()
		if p.table != nil && old.table != nil {
			p.table.Restore(old.table.Snapshot())
			p.past.Learned -= p.table.Stats().Learned
		}
		p.takeGroups(old)
		p.since = old.since + old.Policy.Generation() + 1
	}
	s.current.Store(p)
	return nil
}

// Await makes the next SetPorts take over MACs and groups, unless newer ones are known.
func (s *Switch) Await(macs []forward.MACEntry, groups []snoop.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaited, s.awaitedGroups = macs, groups
}

// forwardingPorts returns the forwarding settings of the ports that have any, and those of
// patterns. Beside patterns, ports without settings are named too.
func forwardingPorts(cfg *config.Config) (forward.PortConfigs, []forward.PortPattern) {
	all, patterns := forward.PortConfigs{}, []forward.PortPattern(nil)
	matching := slices.ContainsFunc(cfg.Ports, func(p config.Port) bool { return p.Match != "" })
	for i := range cfg.Ports {
		p := &cfg.Ports[i]
		c := forward.PortConfig{
			VLAN:     p.VLAN,
			Isolated: p.Isolated, Group: p.Group, Hairpin: p.Hairpin, MirrorTo: p.MirrorTo,
			MACLimit: p.MACLimit, Storm: p.Storm, Guard: guardConfig(p), MulticastRouter: p.MulticastRouter,
		}
		if p.Type.IsTunnel() {
			c.Tunnel = tunnelConfig(p)
		}
		switch {
		case p.Match != "":
			patterns = append(patterns, forward.PortPattern{Match: p.Match, PortConfig: c})
		case matching || !reflect.ValueOf(c).IsZero():
			all[p.Name] = c
		}
	}
	return all, patterns
}

// tunnelConfig returns the tunnel of a port, without number.
func tunnelConfig(p *config.Port) *forward.TunnelConfig {
	device, t := p.Device(), &p.Tunnel
	c := &forward.TunnelConfig{
		Device: device.Name(), Remote: t.Remote.Addr, Local: t.Local.Addr, Key: uint64(t.Key),
		KeyOptional: p.Type == config.PortGRE,
		DstPort:     device.DstPort, TTL: 64, TOS: t.TOS.Number(), TOSInherit: t.TOS == config.TOSInherit, CSum: t.CSum,
	}
	if t.TTL != 0 {
		c.TTL = uint8(t.TTL)
	}
	return c
}

// number assigns numbers to tunnels, and returns their names by number. A number is a hash of
// the name, so that a tunnel keeps its MACs after a reload or a restart with other tunnels.
func number(ports forward.PortConfigs) map[odp.PortNo]string {
	names := map[odp.PortNo]string{}
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		t := ports[name].Tunnel
		if t == nil {
			continue
		}
		h := fnv.New32a()
		_, _ = h.Write([]byte(name)) // never fails
		no := forward.FirstTunnelNo + odp.PortNo(h.Sum32()>>1)
		for names[no] != "" {
			no++
		}
		names[no], t.No = name, no
	}
	return names
}

// StaticFlows implements policy.StaticPolicy.
func (s *Switch) StaticFlows() []policy.StaticFlow {
	if p, ok := s.current.Load().Policy.(policy.StaticPolicy); ok {
		return p.StaticFlows()
	}
	return nil
}

// Meters implements policy.MeterPolicy.
func (s *Switch) Meters() []policy.Meter {
	if m := s.current.Load().meters; m != nil {
		return m.Meters()
	}
	return nil
}

// UseMeters implements policy.MeterPolicy.
func (s *Switch) UseMeters(ok bool) {
	if m := s.current.Load().meters; m != nil {
		m.UseMeters(ok)
	}
}

// ForwardsAlike reports whether packets are decided the same way under two configurations.
func ForwardsAlike(a, b *config.Config) bool {
	portsA, patternsA := forwardingPorts(a)
	portsB, patternsB := forwardingPorts(b)
	return reflect.DeepEqual(a.Policy, b.Policy) && a.Flows.Stages == b.Flows.Stages &&
		a.DropsUnlisted() == b.DropsUnlisted() && a.DropsLocal() == b.DropsLocal() && guardAlike(a, b) &&
		slices.Equal(a.Flows.Static, b.Flows.Static) && reflect.DeepEqual(portsA, portsB) &&
		reflect.DeepEqual(patternsA, patternsB)
}

// Stats returns the counters of the MAC table since the start, zeros if there is none.
func (s *Switch) Stats() forward.Stats { return s.current.Load().stats() }

// stats returns the counters of the policy and of those before it.
func (p *inForce) stats() forward.Stats {
	var now forward.Stats
	if p.table != nil {
		now = p.table.Stats()
	}
	now.Learned += p.past.Learned
	now.Moved += p.past.Moved
	now.Expired += p.past.Expired
	now.Evicted += p.past.Evicted
	now.Flushed += p.past.Flushed
	return now
}

// Snapshot returns the MAC table, nil if there is none.
func (s *Switch) Snapshot() []forward.MACEntry {
	if t := s.current.Load().table; t != nil {
		return t.Snapshot()
	}
	return nil
}

// PortName returns the name of a port of the datapath, "" if it does not exist.
func (s *Switch) PortName(no odp.PortNo) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.ports, func(p policy.Port) bool { return p.No == no }); i >= 0 {
		return s.ports[i].Name
	}
	return s.tunnels[no]
}

// PortNumber returns the number of a port of the datapath.
func (s *Switch) PortNumber(name string) (odp.PortNo, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, is := range []func(p policy.Port) bool{
		func(p policy.Port) bool { return p.Name == name }, func(p policy.Port) bool { return p.Device == name },
	} {
		if i := slices.IndexFunc(s.ports, is); i >= 0 {
			return s.ports[i].No, true
		}
	}
	return 0, false
}

// Decide implements policy.Policy.
func (s *Switch) Decide(u *dpif.Upcall, nowMS int64, v *policy.Verdict) {
	p := s.current.Load()
	if reason := p.silence(u.InPort); reason != "" {
		p.dropAll(u.InPort, v, reason)
		return
	}
	if !p.guarded {
		p.Decide(u, nowMS, v)
		return
	}
	if s.guard.Decide(u, v) {
		return
	}
	if p.Decide(u, nowMS, v); v.Install {
		v.Install = s.passesProbes(u.Fields().Get(odp.KeyAttrEthernet), v)
	}
}

// Redecide implements policy.Policy.
func (s *Switch) Redecide(key []byte, v *policy.Verdict) bool {
	p := s.current.Load()
	if set := p.silent.Load(); set != nil && len(*set) > 0 {
		if in, err := odp.InPort(key); err == nil && (*set)[in] != "" {
			p.dropAll(in, v, (*set)[in])
			return v.Install
		}
	}
	if !p.Redecide(key, v) {
		return false
	}
	if p.guarded && v.Install && !s.passesProbes(netlink.FindAttr(key, odp.KeyAttrEthernet), v) {
		v.Reason = "probe_addresses"
		return false
	}
	return true
}

// Observe implements policy.Policy.
func (s *Switch) Observe(key []byte, usedMS int64) { s.current.Load().Observe(key, usedMS) }

// Expiring implements policy.Policy.
func (s *Switch) Expiring(nowMS int64) bool { return s.current.Load().Expiring(nowMS) }

// Expire implements policy.Policy.
func (s *Switch) Expire(nowMS int64) { s.current.Load().Expire(nowMS) }

// Generation implements policy.Policy.
func (s *Switch) Generation() uint64 {
	p := s.current.Load()
	return p.since + p.Policy.Generation() + s.silences.Load()
}

// SetPorts implements policy.Policy.
func (s *Switch) SetPorts(ports []policy.Port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports = slices.Clone(ports)
	p := s.current.Load()
	s.setPorts(p)
	if p.table != nil && s.awaited != nil {
		p.table.Restore(s.awaited)
	}
	if p.groups != nil {
		p.groups.Restore(s.awaitedGroups)
	}
	s.awaited, s.awaitedGroups = nil, nil
}
