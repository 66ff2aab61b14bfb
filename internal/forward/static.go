package forward

import (
	"dpifd/internal/dpif"
	"dpifd/internal/odp"
)

// Flood is the policy that sends each packet out of all ports but the one it
// came in on.
type Flood struct{ stateless }

// NewFlood returns a policy that knows no ports.
func NewFlood() *Flood { return &Flood{} }

// Drop is the policy that sends no packet anywhere.
type Drop struct{ stateless }

// NewDrop returns a policy that knows no ports.
func NewDrop() *Drop { return &Drop{} }

var (
	_ dpif.Policy = (*Flood)(nil)
	_ dpif.Policy = (*Drop)(nil)
)

// Decide implements dpif.Policy. The decision reads the in-port only. A packet
// from a port that is not in the set is forwarded without a flow: the port is
// about to come or has just gone.
func (f *Flood) Decide(u *dpif.Upcall, _ int64, v *dpif.Verdict) {
	set := f.load()
	set.appendFlood(&v.Actions, u.InPort)
	odp.AppendInPortMask(&v.Mask)
	v.Install = set.has(u.InPort)
	v.Reason = "flood"
	if v.Explain != nil {
		explainInPort(u.InPort, set, v)
		v.Explain("destination", "no address is looked at: "+set.allBut(u.InPort))
	}
}

// Redecide implements dpif.Policy.
func (f *Flood) Redecide(key []byte, v *dpif.Verdict) bool {
	set := f.load()
	in, ok := inPort(set, key, v)
	if !ok {
		return false
	}
	set.appendFlood(&v.Actions, in)
	odp.AppendInPortMask(&v.Mask)
	v.Install, v.Reason = true, "flood"
	return true
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
	case !set.has(in):
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
	if s.store(newPortSet(ports)) {
		s.generation.Add(1)
	}
}
