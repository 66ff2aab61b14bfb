// Package logqueue keeps a log's reader from holding up those who write to the log.
//
// A Queue takes lines without waiting for the reader, and writes them to it from a
// goroutine of its own. It is bounded: lines that do not fit are dropped and
// counted. A write that finds the queue full waits for the reader first, up to
// maxWait, and only if the reader has kept up so far, so that a burst of lines does
// not lose any with a reader that is alive.
package logqueue

import (
	"io"
	"sync"
	"time"
)

const (
	// capacity bounds the lines that wait, in bytes. As many may be on their way
	// to the reader.
	capacity = 512 << 10
	maxWait  = 100 * time.Millisecond
)

// Queue is an io.Writer that never fails. Its methods may be called by several
// goroutines at once.
type Queue struct {
	to   io.Writer
	wake chan struct{} // has room for one: there are lines
	room chan struct{} // has room for one: the lines that waited are on their way
	done chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex // guards the rest
	lines    lines      // that wait
	spare    lines      // memory of lines that were written
	writing  uint64     // lines on their way to the reader
	dropped  uint64
	stalled  bool // a line was dropped since the queue was last empty
	closed   bool
	drainers []chan struct{} // closed when nothing waits any more
}

// lines are lines one after another.
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

// Write queues one line, or drops it. It keeps no reference to b, and reports
// success in either case.
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

// offer reports false if the line does not fit and is worth waiting for.
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

// next takes the lines that wait. None are left when it returns none.
func (q *Queue) next() lines {
	q.mu.Lock()
	defer q.mu.Unlock()
	// lines and spare have the memory of the batch that was written in turns.
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

// count counts a line that the reader did not take.
func (q *Queue) count() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped++
}

// Dropped returns how many lines were dropped: those that found the queue full, and
// those that the writer refused.
func (q *Queue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// Stalled reports whether the queue is full for want of a reader.
func (q *Queue) Stalled() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stalled
}

// Flush waits until all lines are written, or until the time is over.
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

// Close flushes the queue as Flush does and ends its goroutine. A goroutine whose
// write does not return ends with it, or with the process. Lines that come later are
// dropped.
func (q *Queue) Close(limit time.Duration) {
	q.Flush(limit)
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.wake)
	}
	q.mu.Unlock()
}
