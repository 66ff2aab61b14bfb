package vswitch

import (
	"slices"
	"testing"

	"dpifd/internal/binding"
	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/transport"
	"dpifd/internal/upcall"
)

// portsPolicy keeps the ports that it is told.
type portsPolicy struct {
	policy.Policy
	ports []policy.Port
}

func (p *portsPolicy) Generation() uint64           { return 0 }
func (p *portsPolicy) SetPorts(ports []policy.Port) { p.ports = slices.Clone(ports) }

// TestPortSince: what flows of a former owner of a number tell is told apart for each
// port but those that were there when the service began.
func TestPortSince(t *testing.T) {
	policy := &portsPolicy{}
	s := &Server{sockets: linearSockets(t), bound: binding.NewTable(), cfg: Config{Policy: policy}, channels: map[odp.PortNo]*channel{}, devices: map[uint32]*channel{}, broken: map[odp.PortNo]string{}}
	channelOf := func(no odp.PortNo) *channel { return &channel{Port: upcall.NewPort(no, no.String(), 0)} }
	before := clock.NowMS()
	s.serving([]*channel{channelOf(1)}, false)
	s.serving([]*channel{channelOf(2)}, true)
	s.tellPolicy([]dpif.Vport{{No: 1}, {No: 2}, {No: 3}})
	atStart := policy.ports
	s.running = true
	s.serving([]*channel{channelOf(3)}, false)
	s.tellPolicy([]dpif.Vport{{No: 1}, {No: 2}, {No: 3}, {No: 4}})
	for i, want := range []struct{ start, later bool }{{false, false}, {true, true}, {false, true}, {false, true}} {
		since := policy.ports[i].SinceMS
		if (since > before) != want.later || i < len(atStart) && (atStart[i].SinceMS > before) != want.start {
			t.Errorf("port %d: %d ms, at start %v; want a time: %v", i+1, since, atStart, want)
		}
	}
	if policy.ports[1].SinceMS != atStart[1].SinceMS {
		t.Errorf("port 2: %d ms, was %d", policy.ports[1].SinceMS, atStart[1].SinceMS)
	}
}

// linearSockets has no rings and no sockets.
func linearSockets(t *testing.T) *transport.Sockets {
	t.Helper()
	s, err := transport.New(transport.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRingOrder: configured ports get rings in the order of the file, whatever their
// numbers, then the others by number.
func TestRingOrder(t *testing.T) {
	s := &Server{bound: binding.NewTable()}
	s.cfg.Ports = []PortConfig{{Name: "c"}, {Name: "missing"}, {Name: "a"}}
	vports := []dpif.Vport{{No: 4, Name: "e"}, {No: 1, Name: "a"}, {No: 2, Name: "d"}, {No: 3, Name: "c"}}
	for _, v := range vports[1:] {
		if v.Name != "d" {
			s.bound.Set(v, v.Name)
		}
	}
	s.sortForRings(vports)
	var names []string
	for _, v := range vports {
		names = append(names, v.Name)
	}
	if want := []string{"c", "a", "d", "e"}; !slices.Equal(names, want) {
		t.Errorf("order %v, want %v", names, want)
	}
}
