package daemon

import (
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"golang.org/x/time/rate"
)

// TestUpcallSample: upcalls above the rate are not logged, and the next logged one gives their
// number.
func TestUpcallSample(t *testing.T) {
	d, _, log := newControlled(t)
	d.log.level.SetLevel(-1)
	key, _, err := odp.Text{}.ParseKey("in_port(1),eth(),eth_type(0x0800)")
	if err != nil {
		t.Fatal(err)
	}
	u, v := &dpif.Upcall{InPort: 1, Key: key}, &policy.Verdict{Reason: "multicast"}
	sample := &tally{Limiter: rate.NewLimiter(0, 3)} // three, and no more
	for range 10 {
		d.traceUpcall(sample, "va", u, v)
	}
	if got := log.events(t, "upcall"); len(got) != 3 || got[2]["held_back"] != 0.0 {
		t.Errorf("upcalls logged: %v", got)
	}
	sample.SetLimit(rate.Inf)
	d.traceUpcall(sample, "va", u, v)
	if got := log.events(t, "upcall"); len(got) != 4 || got[3]["held_back"] != 7.0 {
		t.Errorf("upcalls logged: %v", got)
	}
	all := newSample(0)
	for range 100 {
		d.traceUpcall(all, "va", u, v)
	}
	if got := log.events(t, "upcall"); len(got) != 104 {
		t.Errorf("%d upcalls logged without a rate, want 104", len(got))
	}
	if s := newSample(7); s.Burst() != 7 || s.Limit() != 7 {
		t.Errorf("a rate of 7/s: %v at once, %v/s", s.Burst(), s.Limit())
	}
}
