//go:build lab

package lab

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"
	"time"
)

// loadEtherType is the EtherType of the numbered frames of test/bench/load; the number follows it.
const loadEtherType = 0x88b6

// Collector counts the numbered frames of a load as they arrive.
type Collector struct {
	mu   sync.Mutex
	seen map[uint32]bool
}

// Collect reads the frames of a load from the socket until the test ends; nobody else may read from
// it. It fails the test if the socket itself dropped frames.
func Collect(t testing.TB, p *Packet) *Collector {
	t.Helper()
	c := &Collector{seen: map[uint32]bool{}}
	end := Go(t, func(ctx context.Context) {
		for ctx.Err() == nil {
			f, err := p.Receive(100 * time.Millisecond)
			if err != nil || len(f) < 18 || binary.BigEndian.Uint16(f[12:]) != loadEtherType {
				continue
			}
			c.mu.Lock()
			c.seen[binary.BigEndian.Uint32(f[14:])] = true
			c.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		end()
		if n := p.Dropped(t); n != 0 {
			t.Errorf("the test's own socket dropped %d frames", n)
		}
	})
	return c
}

// Count returns the number of distinct frames that have arrived.
func (c *Collector) Count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}
