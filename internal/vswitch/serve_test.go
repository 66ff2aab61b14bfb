package vswitch

import (
	"fmt"
	"slices"
	"testing"

	"dpifd/internal/binding"
	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/dpif/dpiftest"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/upcall"

	"golang.org/x/sys/unix"
)

// TestAttach: ports go to the handlers that have the fewest, each of which is
// asked once, and one that cannot be taken is closed without harm to the others.
func TestAttach(t *testing.T) {
	s := &Server{bound: binding.NewTable(), channels: map[odp.PortNo]*channel{}}
	for id := range 3 {
		conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{})
		if err != nil {
			t.Fatal(err)
		}
		h, err := upcall.New(upcall.Config{ID: id, Datapath: dpiftest.Datapath(conn)})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() { ended <- h.Run() }()
		defer func() {
			h.Stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}()
		s.handlers = append(s.handlers, h)
	}
	open := func(no int) *channel {
		sock, err := netlink.OpenReceiver(unix.NETLINK_GENERIC, netlink.ReceiverConfig{})
		if err != nil {
			t.Fatal(err)
		}
		p := upcall.NewPort(odp.PortNo(no), fmt.Sprint("p", no), 0)
		return &channel{Port: p, sock: upcall.NewSocket(sock, p)}
	}
	for no := range 4 {
		s.channels[odp.PortNo(no)] = &channel{handler: s.handlers[0]}
	}
	var chs []*channel
	for no := 4; no < 15; no++ {
		chs = append(chs, open(no))
	}
	broken, shared := chs[3], &channel{Port: upcall.NewPort(15, "p15", 0)}
	broken.sock.Close()
	broken.ringBytes, s.ringBytes = 100, 300
	failed := s.attach(append(chs, shared))
	if len(failed) != 1 || failed[broken] == nil {
		t.Errorf("failed: %v, want p7 only", failed)
	}
	if s.ringBytes != 200 || shared.handler != nil {
		t.Errorf("%d bytes of rings, handler %v", s.ringBytes, shared.handler)
	}
	owned := map[*upcall.Handler]int{}
	for _, ch := range chs {
		if ch != broken {
			owned[ch.handler]++
		}
	}
	for i, h := range s.handlers {
		// 4 and 11 are shared as 5, 5, 5, of which the first had 4 and the
		// broken one is the third's.
		if want := []int{1, 5, 4}[i]; owned[h] != want {
			t.Errorf("handler %d owns %d ports, want %d", i, owned[h], want)
		}
	}
}

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
	s := &Server{bound: binding.NewTable(), cfg: Config{Policy: policy}, channels: map[odp.PortNo]*channel{}, devices: map[uint32]*channel{}, broken: map[odp.PortNo]string{}}
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
