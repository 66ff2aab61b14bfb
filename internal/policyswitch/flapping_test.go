package policyswitch

import (
	"context"
	"slices"
	"sync"
	"testing"

	"dpifd/internal/clock"
	"dpifd/internal/config"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// TestFlappingReported: an event names a MAC that moves back and forth and its ports, also after a
// reload.
func TestFlappingReported(t *testing.T) {
	reported := make(chan MACFlapping, 1)
	s := New(func(e event.Event) { reported <- e.(MACFlapping) })
	ctx, stop := context.WithCancel(t.Context())
	var told sync.WaitGroup
	defer told.Wait()
	defer stop()
	if err := s.Use(config.Default()); err != nil {
		t.Fatal(err)
	}
	told.Go(func() { s.ReportFlapping(ctx) })
	for range 2 {
		if err := s.Use(config.Default()); err != nil {
			t.Fatal(err)
		}
		s.SetPorts([]policy.Port{{No: 1, Name: "a"}, {No: 2, Name: "b"}})
		var v policy.Verdict
		for i := range 4 {
			var e netlink.Encoder
			odp.AppendInPort(&e, odp.PortNo(1+i%2))
			odp.AppendEthernet(&e, odp.MAC{2, 0, 0, 0, 0, 7}, odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
			odp.AppendEthertype(&e, 0x0806)
			v.Clear()
			s.Decide(&dpif.Upcall{InPort: odp.PortNo(1 + i%2), Key: e.Bytes()}, clock.NowMS(), &v)
		}
		e := <-reported
		slices.Sort(e.Between)
		if e.Moves < 3 || e.MAC != (odp.MAC{2, 0, 0, 0, 0, 7}) || !slices.Equal(e.Between, []string{"a", "b"}) ||
			e.HeldBack != 0 {
			t.Errorf("%+v", e)
		}
	}
}
