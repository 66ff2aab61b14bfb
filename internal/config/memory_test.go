package config

import (
	"math"
	"testing"
)

// Tests see the defaults for a machine with enough memory.
func init() { ringMemory = func() uint64 { return defaultRingLimit } }

// TestRingMemory: without a configured limit, rings use at most an eighth of the memory; a
// configured limit applies as it is.
func TestRingMemory(t *testing.T) {
	defer func(f func() uint64) { ringMemory = f }(ringMemory)
	ringMemory = func() uint64 { return 8 << 20 } // smaller than a ring of the default size
	for file, want := range map[string]uint64{
		"{}":                             8 << 20,
		"ring: {memory_limit: 1GiB}":     1 << 30,
		"ring: {frame_size: 4KiB}":       8 << 20,
		"ring: {memory_limit: 512MiB}":   512 << 20,
		"ring: {memory_limit: 16384KiB}": 16 << 20,
	} {
		c, err := Parse("f", []byte(file))
		if err != nil {
			t.Errorf("%s: %v", file, err)
		} else if c.Ring.MemoryLimit != want {
			t.Errorf("%s: limit %d, want %d", file, c.Ring.MemoryLimit, want)
		}
	}
	if m := memory(); m < 64<<20 || m == math.MaxUint64 {
		t.Errorf("%d bytes of memory", m)
	}
}
