package forward

import (
	"fmt"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
)

// Flood is the policy that sends each packet out of all ports of its VLAN but
// the one it came in on.
type Flood struct{ stateless }

// NewFlood returns a policy that knows no ports, or an error that names the port
// with a wrong setting.
func NewFlood(cfg PortConfigs) (*Flood, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("flood policy: %w", err)
	}
	return &Flood{stateless{ports{config: cfg}}}, nil
}

// Drop is the policy that sends no packet anywhere.
type Drop struct{ stateless }

// NewDrop returns a policy that knows no ports.
func NewDrop() *Drop { return &Drop{} }

var (
	_ dpif.Policy = (*Flood)(nil)
	_ dpif.Policy = (*Drop)(nil)
)

// Decide implements dpif.Policy. The decision reads the in-port and the VLAN
// tag, which the kernel matches in any case. A packet from a port that is not in
// the set, which is about to come or has just gone, is given no flow; nor is one
// with half a VLAN tag.
func (f *Flood) Decide(u *dpif.Upcall, _ int64, v *dpif.Verdict) {
	set := f.load()
	k := odp.Key{InPort: u.InPort}
	if odp.ParseVLAN(u.Key, &k) != nil {
		v.Reason = reasonMalformedKey
		return
	}
	f.flood(set, u.Key, &k, v)
}

// Redecide implements dpif.Policy.
func (f *Flood) Redecide(key []byte, v *dpif.Verdict) bool {
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

func (f *Flood) flood(set *portSet, key []byte, k *odp.Key, v *dpif.Verdict) {
	var fr frame
	refused := set.admit(key, k, &fr)
	v.Install = fr.installs(refused)
	set.appendMask(&v.Mask, key, &fr, refused)
	fr.received(&v.Actions)
	v.Reason = refused
	if refused == "" {
		set.flood(&v.Actions, &fr)
		v.Reason = "flood"
	}
	if v.Explain != nil {
		explainInPort(k.InPort, set, v)
		explainVLAN(&fr, refused, v)
		if refused == "" {
			v.Explain("destination", "no address is looked at: "+set.others(&fr))
		}
	}
}

// Decide implements dpif.Policy. The decision reads nothing; the in-port stands
// in the mask so that the flows of a port that goes can be told.
func (d *Drop) Decide(u *dpif.Upcall, _ int64, v *dpif.Verdict) {
	odp.AppendInPortMask(&v.Mask)
	v.Install = d.load().has(u.InPort)
	v.Reason = "drop"
	if v.Explain != nil {
		explainInPort(u.InPort, d.load(), v)
		v.Explain("destination", "no address is looked at: all packets are dropped")
	}
}

// Redecide implements dpif.Policy.
func (d *Drop) Redecide(key []byte, v *dpif.Verdict) bool {
	if _, ok := inPort(d.load(), key, v); !ok {
		return false
	}
	odp.AppendInPortMask(&v.Mask)
	v.Install, v.Reason = true, "drop"
	return true
}

// inPort returns the in-port of a flow's key. It reports false, and says why in
// v, when the flow ought to go.
func inPort(set *portSet, key []byte, v *dpif.Verdict) (odp.PortNo, bool) {
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

// stateless is a policy's control side when it knows ports and nothing else.
type stateless struct{ ports }

// Observe implements dpif.Policy: there is nothing to learn.
func (*stateless) Observe([]byte, int64) {}

// Expiring implements dpif.Policy: there is nothing to forget.
func (*stateless) Expiring(int64) bool { return false }

// Expire implements dpif.Policy.
func (*stateless) Expire(int64) {}

// SetPorts implements dpif.Policy.
func (s *stateless) SetPorts(ports []dpif.Port) {
	if s.store(newPortSet(ports, s.config)) {
		s.generation.Add(1)
	}
}
