package policyswitch

import (
	"testing"
	"time"

	"dpifd/internal/config"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"github.com/google/go-cmp/cmp"
)

// TestCountersOutliveAReload: stats has totals since the start, across changes of the policy.
func TestCountersOutliveAReload(t *testing.T) {
	learning := func(limit int) *config.Config {
		return &config.Config{Policy: config.Policy{Type: config.PolicyLearning, MACAging: time.Minute, MACLimit: limit}}
	}
	s := New(func(event.Event) {})
	if err := s.Use(learning(8)); err != nil {
		t.Fatal(err)
	}
	s.SetPorts([]policy.Port{{No: 1, Name: "a"}, {No: 2, Name: "b"}})
	var v policy.Verdict
	packet := func(in odp.PortNo, station byte) {
		var e netlink.Encoder
		odp.AppendInPort(&e, in)
		odp.AppendEthernet(&e, odp.MAC{2, 0, 0, 0, 0, station}, odp.MAC{2, 0, 0, 0, 0, 0xff})
		odp.AppendEthertype(&e, 0x88b5)
		v.Clear()
		s.Decide(&dpif.Upcall{InPort: in, Key: e.Bytes()}, 1000, &v)
	}
	want := func(when string, entries int, learned, moved, evicted uint64) {
		t.Helper()
		got := s.Stats()
		want := got
		want.Entries, want.Learned, want.Moved, want.Evicted = entries, learned, moved, evicted
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: statistics (-want +got):\n%s", when, diff)
		}
	}
	for station := range byte(10) {
		packet(1, station)
	}
	packet(2, 9)
	want("before", 8, 10, 1, 2)
	for _, step := range []struct {
		when                    string
		cfg                     *config.Config
		entries                 int
		learned, moved, evicted uint64
	}{
		{"the same", learning(8), 8, 10, 1, 2},
		{"more room", learning(16), 8, 10, 1, 2},
		{"less room", learning(5), 5, 10, 1, 2},
		{"another policy", &config.Config{Policy: config.Policy{Type: "flood"}}, 0, 10, 1, 2},
		{"from nothing", learning(8), 0, 10, 1, 2},
	} {
		if err := s.Use(step.cfg); err != nil {
			t.Fatal(err)
		}
		want(step.when, step.entries, step.learned, step.moved, step.evicted)
	}
	packet(1, 77)
	want("after", 1, 11, 1, 2)
}
