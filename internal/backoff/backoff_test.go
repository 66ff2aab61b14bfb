package backoff

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	var b Backoff
	now := time.Duration(0)
	if !b.Due(now) {
		t.Error("the first try is not due")
	}
	for i := range 10 {
		b = b.Next(now)
		want := min(First<<i, Last)
		if wait := b.At - now; wait > want || wait < want*4/5 || b.Due(now) || !b.Due(b.At) {
			t.Errorf("attempt %d after %v, want slightly less than %v", i+1, wait, want)
		}
		now = b.At
	}
}
