package upcall

import (
	"math/rand/v2"
	"testing"
)

// TestLimiter checks the bounds of the token bucket under various loads: at most a second's worth
// at once and the rate after that, and nothing is shed below the rate.
func TestLimiter(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 711))
	for _, rate := range []uint32{1, 7, 999, 1000, 250_000, 10_000_000} {
		var l limiter
		l.rate.Store(rate)
		const start = 1_234_567
		now, admitted, offered := int64(start), int64(0), int64(0)
		for range 2000 {
			now += r.Int64N(40)
			for range r.IntN(3 + int(min(rate, 100_000))/20) {
				offered++
				if l.admit(now) {
					admitted++
				}
			}
			if most := int64(rate) + (now-start)*int64(rate)/1000; admitted > most {
				t.Fatalf("rate %d: %d of %d admitted in %d ms, at most %d", rate, admitted, offered, now-start, most)
			}
		}
		if least := min(offered, int64(rate)); admitted < least {
			t.Errorf("rate %d: %d of %d admitted, want %d at least", rate, admitted, offered, least)
		}
		// Upcalls that arrive at the rate are never shed.
		now += 1000
		for i := range int64(3000) {
			if at := now + i*1000/int64(rate); !l.admit(at) {
				t.Fatalf("rate %d: upcall %d at the rate was shed", rate, i)
			}
		}
	}
}

func TestLimiterChanges(t *testing.T) {
	var l limiter
	taken := func(now int64) (n int) {
		for n < 50 && l.admit(now) {
			n++
		}
		return n
	}
	for i, step := range []struct {
		rate uint32
		now  int64
		want int
	}{
		{0, 10, 50},      // no limit
		{20, 10, 20},     // a full bucket
		{20, 10, 0},      // empty
		{20, 60, 1},      // 50 ms
		{20, 5, 0},       // the clock goes back
		{20, 99_999, 20}, // at most a second's worth
		{30, 99_999, 30},
		{0, 99_999, 50},
		{30, 99_999, 30}, // a full bucket again
	} {
		l.rate.Store(step.rate)
		if got := taken(step.now); got != step.want {
			t.Errorf("step %d, %d/s at %d ms: %d admitted, want %d", i, step.rate, step.now, got, step.want)
		}
	}
}

// TestAddDrops: the kernel's 32-bit counter wraps around, and a late reader does not undo the
// update of another.
func TestAddDrops(t *testing.T) {
	var s Socket
	for i, step := range []struct {
		read uint32
		want uint64
	}{{0, 0}, {5, 5}, {5, 5}, {3, 5}, {1 << 31, 1 << 31}, {1<<32 - 2, 1<<32 - 2}, {4, 1<<32 + 4}, {1<<32 - 1, 1<<32 + 4},
		{9, 1<<32 + 9}} {
		if s.addDrops(step.read); s.drops.Load() != step.want {
			t.Errorf("step %d: %d drops, want %d", i, s.drops.Load(), step.want)
		}
	}
}
