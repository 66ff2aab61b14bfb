package upcall

import (
	"math/rand/v2"
	"testing"
)

func station(n int) uint64 { return 0x020000000000 | uint64(n) }

func TestPrimerConversations(t *testing.T) {
	p := NewPrimer()
	upcalls := 0
	for i := range 1000 {
		a, b := station(2*i), station(2*i+1)
		now := int64(1000 + i)
		upcalls++
		if !p.wants(a, b, now) {
			upcalls++ // the answer causes an upcall
			if p.wants(b, a, now) {
				t.Fatalf("conversation %d: the answer is primed although its flow exists", i)
			}
		}
	}
	if most := 1000 + 1000/primeSample + primePrior + 1; upcalls > most {
		t.Errorf("%d upcalls for 1000 conversations, want at most %d", upcalls, most)
	}
}

func TestPrimerOneWay(t *testing.T) {
	p := NewPrimer()
	primed := 0
	for i := range 10_000 {
		if p.wants(station(i+1), station(0), int64(i)) {
			primed++
		}
	}
	if primed > 0 {
		t.Errorf("%d of 10,000 packets without answer were primed", primed)
	}
	if p.pays() {
		t.Error("priming is enabled without an answer")
	}
}

// TestPrimerAdapts: changes of the traffic are followed in both directions.
func TestPrimerAdapts(t *testing.T) {
	p := NewPrimer()
	for i := range 1000 {
		p.wants(station(i+1), station(0), int64(i))
	}
	primed := 0
	for i := range 1000 {
		a, b := station(10_000+2*i), station(10_001+2*i)
		if p.wants(a, b, 2000) {
			primed++
		} else {
			p.wants(b, a, 2000)
		}
	}
	if primed < 800 {
		t.Errorf("%d of 1000 conversations primed after one-way traffic", primed)
	}
}

func TestPrimerForgets(t *testing.T) {
	p := NewPrimer()
	for p.pays() {
		p.wants(station(rand.IntN(1<<30)), station(0), 1)
	}
	a, b := station(1), station(2)
	p.wants(a, b, 1000)
	late := 1000 + primeWait.Milliseconds() + 1
	if p.isAnswer(b, a, late) {
		t.Errorf("an answer is expected after %v", primeWait)
	}
	if p.isAnswer(a, b, 1001) {
		t.Error("a packet in the same direction counts as an answer")
	}
	if !p.isAnswer(b, a, 1001) {
		t.Error("the answer is not recognised")
	}
	if p.isAnswer(b, a, 1002) {
		t.Error("a packet is answered twice")
	}
}

func TestPrimerAlloc(t *testing.T) {
	p := NewPrimer()
	a, b := station(1), station(2)
	if n := testing.AllocsPerRun(100, func() { p.wants(a, b, 1); p.wants(b, a, 1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
