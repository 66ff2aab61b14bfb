package upcall

import (
	"dpifd/internal/mmapring/ringtest"
	"dpifd/internal/odp"
	"testing"
)

// TestBarrier: waiting for the decisions of handlers waits for the current batch, and for nothing
// if there is none.
func TestBarrier(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	deciding, decided := make(chan struct{}), make(chan struct{})
	b.policy.hook = func(odp.PortNo, uint64) {
		close(deciding)
		<-decided
	}
	_, sock := b.port(1, ring16)
	ended := b.start()
	b.h.Barrier()
	b.deliver(sock, 1, 1, 1, 300)
	if err := b.h.poller.Wake(); err != nil {
		t.Fatal(err)
	}
	<-deciding
	batches := make(chan uint64)
	go func() {
		b.h.Barrier()
		batches <- b.h.batches.Load()
	}()
	b.eventually("somebody waits", func() bool {
		b.h.mu.Lock()
		defer b.h.mu.Unlock()
		return len(b.h.pending) == 1
	})
	select {
	case <-batches:
		t.Error("a batch was in progress")
	default:
	}
	close(decided)
	if n := <-batches; n != 1 {
		t.Errorf("%d batches had been answered, want 1", n)
	}
	b.h.Stop()
	ended()
}
