package metric

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestBuckets: each duration lies within the bounds of its bucket, and no bucket is wider than a
// sixteenth of its values.
func TestBuckets(t *testing.T) {
	for i := range buckets - 1 {
		if lower, upper := boundOf(i), boundOf(i+1); upper <= lower || i >= subBuckets && (upper-lower)*subBuckets > lower {
			t.Fatalf("bucket %d is from %d to %d", i+1, lower, upper)
		}
	}
	for range 100_000 {
		d := time.Duration(math.Exp(rand.Float64() * math.Log(60e9)))
		b, units := bucketOf(d), uint64(d)*subBuckets/1000
		if units >= boundOf(b) || b > 0 && units < boundOf(b-1) {
			t.Fatalf("%v is in bucket %d below %d", d, b, boundOf(b))
		}
	}
	for d, want := range map[time.Duration]int{-1: 0, 0: 0, 62: 0, 63: 1, time.Microsecond: 16, time.Hour: buckets - 1,
		math.MaxInt64 / 16: buckets - 1} {
		if got := bucketOf(d); got != want {
			t.Errorf("%v is in bucket %d, want %d", d, got, want)
		}
	}
}

// TestQuantiles compares with sorted durations.
func TestQuantiles(t *testing.T) {
	var h Histogram
	var all []time.Duration
	var sum time.Duration
	for range 5000 {
		d := time.Duration(math.Exp(7 + rand.Float64()*15))
		n := 1 + rand.IntN(3)
		h.Observe(d, n)
		all = append(all, slices.Repeat([]time.Duration{d}, n)...)
		sum += d * time.Duration(n)
	}
	slices.Sort(all)
	var d Distribution
	h.AddTo(&d)
	if d.Count() != uint64(len(all)) || d.Sum != sum {
		t.Fatalf("%d durations of %v in all, want %d of %v", d.Count(), d.Sum, len(all), sum)
	}
	for _, q := range []uint64{0, 500_000, 990_000, 999_000, 1_000_000} {
		rank := max(1, int(math.Ceil(float64(len(all))*float64(q)/1e6)))
		want := all[rank-1]
		if got := d.Quantile(q); got < want || got > want+want/16+time.Microsecond+63 {
			t.Errorf("%d millionths: %v, want %v", q, got, want)
		}
	}
	for _, b := range d.Buckets() {
		n := uint64(0)
		for _, x := range all {
			if x < time.Duration(b.LeUS)*time.Microsecond {
				n++
			}
		}
		if b.Count != n {
			t.Errorf("%d below %d us, want %d", b.Count, b.LeUS, n)
		}
	}
	later := d
	h.Observe(time.Second, 7)
	var now Distribution
	h.AddTo(&now)
	grown := now.Since(&later)
	if q := grown.Quantile(1); grown.Count() != 7 || grown.Sum != 7*time.Second || q < time.Second ||
		q > 1063*time.Millisecond {
		t.Errorf("grew by %d of %v, the first at most %v", grown.Count(), grown.Sum, q)
	}
	var none Distribution
	if none.Quantile(1_000_000) != 0 {
		t.Error("the longest duration is 0")
	}
}
