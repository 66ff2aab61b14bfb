package metric

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// The buckets of a Histogram are log-linear: up to a microsecond each is one unit wide, above
// that each power of two is divided into subBuckets. A bucket is therefore at most a sixteenth
// as wide as the durations in it. The last one, from 63 s, has no upper bound.
const (
	subBits    = 4
	subBuckets = 1 << subBits // and units of a microsecond
	topBits    = 30           // of the longest duration in units
	buckets    = (topBits - subBits + 1) * subBuckets
)

// Histogram counts durations. One goroutine calls Observe, any may call AddTo. The
// zero value is empty.
type Histogram struct {
	sum    atomic.Int64 // ns
	counts [buckets]atomic.Uint64
}

// Distribution is the content of Histograms at one time, or the difference between two.
type Distribution struct {
	Sum    time.Duration
	counts [buckets]uint64
}

// Bucket is a part of a Distribution: the number of durations of at most LeUS.
type Bucket struct {
	LeUS  int64  `json:"le_us"` // us
	Count uint64 `json:"count"`
}

// bucketOf returns the bucket of a duration.
func bucketOf(d time.Duration) int {
	units := uint64(max(d, 0)) * subBuckets / 1000
	shift := max(bits.Len64(units)-subBits-1, 0)
	return min(shift<<subBits+int(units>>shift), buckets-1)
}

// boundOf returns the exclusive upper bound of a bucket, in units.
func boundOf(bucket int) uint64 {
	shift := max(bucket>>subBits-1, 0)
	return uint64(bucket-shift<<subBits+1) << shift
}

// Observe counts a duration n times.
func (h *Histogram) Observe(d time.Duration, n int) {
	h.sum.Add(int64(d) * int64(n))
	h.counts[bucketOf(d)].Add(uint64(n))
}

// AddTo adds the counts of h to d.
func (h *Histogram) AddTo(d *Distribution) {
	d.Sum += time.Duration(h.sum.Load())
	for i := range h.counts {
		d.counts[i] += h.counts[i].Load()
	}
}

// Since returns the counts since an earlier reading of the same histograms.
func (d *Distribution) Since(earlier *Distribution) Distribution {
	diff := Distribution{Sum: d.Sum - earlier.Sum}
	for i := range d.counts {
		diff.counts[i] = d.counts[i] - earlier.counts[i]
	}
	return diff
}

// Count returns the number of durations.
func (d *Distribution) Count() (n uint64) {
	for _, c := range d.counts {
		n += c
	}
	return n
}

// Quantile returns an upper bound of the shortest millionths of the durations, 1e6 for all: the
// upper end of a bucket in whole microseconds, at most 1/16 above the longest of them apart
// from rounding. It is 0 if there is no duration.
func (d *Distribution) Quantile(millionths uint64) time.Duration {
	count := d.Count()
	if count == 0 {
		return 0
	}
	high, low := bits.Mul64(count, millionths)
	low, carry := bits.Add64(low, 1e6-1, 0)
	rank, _ := bits.Div64(high+carry, low, 1e6)
	seen := uint64(0)
	for i, c := range d.counts {
		if seen += c; seen >= max(rank, 1) {
			return time.Duration((boundOf(i)+subBuckets-1)/subBuckets) * time.Microsecond
		}
	}
	return 0 // not reached: rank is at most count
}

// Buckets returns the numbers of durations of at most 8 us, 16 us and so on, up to 16 s.
func (d *Distribution) Buckets() []Bucket {
	var out []Bucket
	seen, next := uint64(0), 0
	for us := int64(8); us <= 16<<20; us *= 2 {
		for ; next < buckets && boundOf(next) <= uint64(us)*subBuckets; next++ {
			seen += d.counts[next]
		}
		out = append(out, Bucket{us, seen})
	}
	return out
}
