package logqueue

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gate is a reader that accepts lines only while it is open.
type gate struct {
	mu  sync.Mutex
	got bytes.Buffer
	err error
}

func (g *gate) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return 0, g.err
	}
	return g.got.Write(b)
}

func TestOrder(t *testing.T) {
	var to gate
	q := New(&to)
	var want strings.Builder
	for i := range 100_000 {
		line := fmt.Sprintf("line %d, long enough to fill the queue several times\n", i)
		want.WriteString(line)
		if n, err := q.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
	}
	q.Close(time.Minute)
	<-q.done
	if to.got.String() != want.String() || q.Dropped() != 0 {
		t.Errorf("got %d bytes, want %d; dropped %d", to.got.Len(), want.Len(), q.Dropped())
	}
}

// TestStalledReader: a stalled reader delays the writer by maxWait once. Lines that do not fit are
// counted, the others arrive in order when the reader continues.
func TestStalledReader(t *testing.T) {
	var to gate
	q := New(&to)
	line := bytes.Repeat([]byte("x"), 1023)
	line = append(line, '\n')
	const sent = 10_000
	to.mu.Lock()
	start := time.Now()
	for range sent {
		_, _ = q.Write(line)
	}
	if took := time.Since(start); took > 20*maxWait {
		t.Errorf("%d lines took %v with a stalled reader", sent, took)
	}
	if !q.Stalled() || q.Dropped() == 0 {
		t.Errorf("stalled %v, dropped %d", q.Stalled(), q.Dropped())
	}
	start = time.Now()
	q.Flush(10 * time.Millisecond)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("flush took %v", took)
	}
	to.mu.Unlock()
	q.Flush(time.Minute)
	if got := uint64(to.got.Len() / len(line)); got+q.Dropped() != sent || q.Stalled() {
		t.Errorf("%d lines arrived and %d were dropped of %d; stalled %v", got, q.Dropped(), sent, q.Stalled())
	}
	_, _ = q.Write([]byte("after\n"))
	q.Close(time.Minute)
	<-q.done
	if !strings.HasSuffix(to.got.String(), "\nafter\n") {
		t.Error("the reader does not get new lines after it continues")
	}
}

func TestDeadReader(t *testing.T) {
	to := gate{err: errors.New("broken pipe")}
	q := New(&to)
	for range 3 {
		_, _ = q.Write([]byte("x\n"))
	}
	q.Close(time.Minute)
	<-q.done
	_, _ = q.Write([]byte("late\n"))
	if q.Dropped() != 4 {
		t.Errorf("dropped %d, want 4", q.Dropped())
	}
}
