//go:build lab

package lab

import (
	"context"
	"testing"
)

// Go runs fn in parallel with the test. ctx is done when the returned function is called, or when the
// test ends; both wait until fn has returned, so fn may report to t. fn must not end the test.
func Go(t testing.TB, fn func(ctx context.Context)) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(ctx)
	}()
	end = func() {
		cancel()
		<-done
	}
	t.Cleanup(end)
	return end
}
