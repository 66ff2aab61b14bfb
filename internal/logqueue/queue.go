// Package logqueue prevents a slow reader of the log from blocking its writers.
//
// A Queue accepts lines without waiting for the reader, and writes them from a separate
// goroutine. Its size is limited: lines that do not fit are dropped and counted. If the queue
// is full and the reader has kept up so far, a write first waits for the reader, up to maxWait,
// so that a burst of lines loses none with a live reader.
package logqueue

import (
	"io"
	"sync"
	"time"
)

const (
	// capacity is the maximum size of waiting lines in bytes. As many may be in the current
	// write to the reader.
	capacity = 512 << 10
	maxWait  = 100 * time.Millisecond
)

// Queue is an io.Writer that never fails. It is safe for concurrent use.
type Queue struct {
	to   io.Writer
	wake chan struct{} // capacity 1: there are lines
	room chan struct{} // capacity 1: the waiting lines are being written
	done chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex // guards the rest
	lines    lines      // waiting
	spare    lines      // memory of written lines
	writing  uint64     // lines being written to the reader
	dropped  uint64
	stalled  bool // a line was dropped since the queue was last empty
	closed   bool
	drainers []chan struct{} // closed when the queue is empty
}

// lines is a sequence of lines.
type lines struct {
	text []byte
	ends []int // where each line ends
}

// New starts a queue to a writer, which gets each line in one Write. The caller
// closes it.
func New(to io.Writer) *Queue {
	q := &Queue{to: to, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), done: make(chan struct{})}
	go q.run()
	return q
}

// Write queues one line, or drops it. It keeps no reference to b, and always returns success.
func (q *Queue) Write(b []byte) (int, error) {
	if !q.offer(b) {
		timeout := time.NewTimer(maxWait)
		defer timeout.Stop()
		for waiting := true; waiting && !q.offer(b); {
			select {
			case <-q.room:
			case <-timeout.C:
				waiting = false
				q.drop()
			}
		}
	}
	return len(b), nil
}

// offer returns false if the line does not fit and the caller should wait.
func (q *Queue) offer(b []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.lines.text) > 0 && len(q.lines.text)+len(b) > capacity {
		if !q.closed && !q.stalled {
			return false
		}
		q.dropped++
		return true
	}
	q.lines.text = append(q.lines.text, b...)
	q.lines.ends = append(q.lines.ends, len(q.lines.text))
	signal(q.wake)
	return true
}

func (q *Queue) drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped++
	q.stalled = true
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run writes lines to the reader until Close.
func (q *Queue) run() {
	defer close(q.done)
	for range q.wake {
		for {
			batch := q.next()
			if len(batch.ends) == 0 {
				break
			}
			begin := 0
			for _, end := range batch.ends {
				if _, err := q.to.Write(batch.text[begin:end]); err != nil {
					q.count()
				}
				begin = end
			}
		}
	}
}

// next removes and returns the waiting lines. If it returns none, the queue is empty.
func (q *Queue) next() lines {
	q.mu.Lock()
	defer q.mu.Unlock()
	// lines and spare take turns with the memory of the written batch.
	batch := q.lines
	q.lines, q.spare = lines{q.spare.text[:0], q.spare.ends[:0]}, batch
	q.writing = uint64(len(batch.ends))
	if len(batch.ends) == 0 {
		q.stalled = false
		for _, c := range q.drainers {
			close(c)
		}
		q.drainers = nil
	}
	signal(q.room)
	return batch
}

// count counts a dropped line.
func (q *Queue) count() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped++
}

// Dropped returns the number of dropped lines: the queue was full, or the writer refused them.
func (q *Queue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// Stalled reports whether the queue is full because the reader stalled.
func (q *Queue) Stalled() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stalled
}

// Flush waits until all lines are written, at most for the given time.
func (q *Queue) Flush(limit time.Duration) {
	q.mu.Lock()
	if q.writing == 0 && len(q.lines.ends) == 0 {
		q.mu.Unlock()
		return
	}
	drained := make(chan struct{})
	q.drainers = append(q.drainers, drained)
	q.mu.Unlock()
	select {
	case <-drained:
	case <-time.After(limit):
	}
}

// Close flushes the queue as Flush does and ends its goroutine. If a write does not return, the
// goroutine ends with it, or with the process. Later lines are dropped.
func (q *Queue) Close(limit time.Duration) {
	q.Flush(limit)
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.wake)
	}
	q.mu.Unlock()
}
