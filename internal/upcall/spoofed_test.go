package upcall

import (
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/policy"
)

// TestSpoofedPacket: the example is the first packet since the previous example was read.
func TestSpoofedPacket(t *testing.T) {
	p := NewPort(1, "a", 0)
	if got := p.SpoofedPacket(); got.Reason != "" || len(got.Key) != 0 {
		t.Errorf("%+v, want none", got)
	}
	note := func(reason, key string) {
		p.spoofed.note(&dpif.Upcall{Key: []byte(key)}, &policy.Verdict{Reason: reason, Spoofed: true})
	}
	want := func(reason, key string) {
		t.Helper()
		if got := p.SpoofedPacket(); got.Reason != reason || string(got.Key) != key {
			t.Errorf("%s %q, want %s %q", got.Reason, got.Key, reason, key)
		}
	}
	note("first", "one")
	note("second", "two")
	want("first", "one")
	want("first", "one")
	note("too long", string(make([]byte, maxExample+1)))
	note("third", "three")
	want("third", "three")
	p.CreditSpoofed(7)
	if n := p.Counters().Spoofed; n != 11 {
		t.Errorf("%d packets, want 11", n)
	}
	if n := testing.AllocsPerRun(10, func() { note("more", "four") }); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}
