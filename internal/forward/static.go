package forward

import (
	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// Flood sends each packet to all ports of its VLAN except its in-port.
type Flood struct{ stateless }

// NewFlood returns a policy without ports, or an error that names the port with a wrong
// setting.
func NewFlood(cfg PortConfigs, patterns ...PortPattern) (*Flood, error) {
	if err := cfg.check(patterns...); err != nil {
		return nil, err
	}
	return &Flood{stateless{ports{config: cfg, patterns: patterns}}}, nil
}

// Drop sends no packet.
type Drop struct{ stateless }

// NewDrop returns a policy without ports.
func NewDrop() *Drop { return &Drop{} }

var (
	_ policy.Policy = (*Flood)(nil)
	_ policy.Policy = (*Drop)(nil)

	_ = register("flood", func(cfg Config) (*Flood, error) { return NewFlood(cfg.Ports, cfg.Patterns...) })
	_ = register("drop", func(Config) (*Drop, error) { return NewDrop(), nil })
	// Static flows may be used with any policy; with this one only they forward packets.
	_ = register("static", func(Config) (*Drop, error) { return NewDrop(), nil })
)

// Decide implements policy.Policy. The decision reads the in-port and the VLAN tag, which the
// kernel always matches. A packet from a port that is not in the set, which was just added or
// removed, gets no flow, and neither does one with a truncated VLAN tag.
func (f *Flood) Decide(u *dpif.Upcall, _ int64, v *policy.Verdict) {
	set := f.load()
	k := odp.Key{InPort: u.InPort}
	if odp.ParseVLAN(u.Key, &k) != nil {
		v.Reason = reasonMalformedKey
		return
	}
	f.flood(set, u.Key, &k, v)
}

// Redecide implements policy.Policy.
func (f *Flood) Redecide(key []byte, v *policy.Verdict) bool {
	set := f.load()
	in, ok := inPort(set, key, v)
	if !ok {
		return false
	}
	k := odp.Key{InPort: in}
	if odp.ParseVLAN(key, &k) != nil {
		v.Reason = reasonMalformedKey
		return false
	}
	f.flood(set, key, &k, v)
	return v.Install
}

func (f *Flood) flood(set *portSet, key []byte, k *odp.Key, v *policy.Verdict) {
	var fr frame
	refused := set.admit(key, k, &fr)
	v.Install = fr.installs(refused)
	set.appendMask(&v.Mask, key, &fr, refused)
	fr.received(&v.Actions)
	v.Reason, v.Refused = refused, refused != ""
	if refused == "" {
		set.flood(&v.Actions, &fr)
		v.Reason = "flood"
	}
	v.Install = fr.readMore(key, v) && v.Install
	if v.Explain != nil {
		explainInPort(k.InPort, set, v)
		explainVLAN(&fr, refused, v)
		if refused == "" {
			v.Explain("destination", "addresses are not read: "+set.others(&fr))
		}
	}
}

// Decide implements policy.Policy. The decision reads nothing; the in-port is in the mask so
// that the flows of a removed port can be found.
func (d *Drop) Decide(u *dpif.Upcall, _ int64, v *policy.Verdict) {
	odp.AppendInPortMask(&v.Mask)
	v.Install = d.load().has(u.InPort)
	v.Reason = "drop"
	if v.Explain != nil {
		explainInPort(u.InPort, d.load(), v)
		v.Explain("destination", "addresses are not read: all packets are dropped")
	}
}

// Redecide implements policy.Policy.
func (d *Drop) Redecide(key []byte, v *policy.Verdict) bool {
	if _, ok := inPort(d.load(), key, v); !ok {
		return false
	}
	odp.AppendInPortMask(&v.Mask)
	v.Install, v.Reason = true, "drop"
	return true
}

// inPort returns the in-port of a flow's key. If the flow must be deleted, it returns false and
// sets the reason in v.
func inPort(set *portSet, key []byte, v *policy.Verdict) (odp.PortNo, bool) {
	in, err := odp.InPort(key)
	switch {
	case err != nil:
		v.Reason = reasonMalformedKey
		return 0, false
	case !set.has(in) && !set.isDevice(in):
		v.Reason = reasonInPortGone
		return 0, false
	}
	return in, true
}

// stateless implements the control methods of a policy whose only state is its ports.
type stateless struct{ ports }

// Observe implements policy.Policy: there is nothing to learn.
func (*stateless) Observe([]byte, int64) {}

// Expiring implements policy.Policy: there is nothing to forget.
func (*stateless) Expiring(int64) bool { return false }

// Expire implements policy.Policy.
func (*stateless) Expire(int64) {}

// SetPorts implements policy.Policy.
func (s *stateless) SetPorts(ports []policy.Port) {
	if s.store(newPortSet(ports, s.config.with(s.patterns, ports), nil)) {
		s.generation.Add(1)
	}
}
