//go:build lab

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"dpifd/internal/lab"
)

// book reads the daemon's log while it is written, copies it to a file, and keeps what the
// invariants need.
type book struct {
	copy io.Writer

	mu      sync.Mutex
	rest    []byte
	recent  []lab.Event // the last ones, without those of level DEBUG
	first   int         // number of recent[0] since the start
	lines   []string    // the last ones, for an excerpt
	trouble *violation

	limits []limitSince
	flows  struct{ most, limit int64 } // when the flows were closest to their limit

	lost     map[string]int64 // lost packets according to the log, by cause
	previous map[string]int64 // the same counters in the process's last stats
	dpLost   int64            // the datapath's lost counter, as last logged
	down     int64            // the part of dpLost before the last process was ready
	hurt     time.Time        // when flows were last scarce
	upcalls  int64            // of past processes
}

// limitSince is a flow limit and the time when it was configured.
type limitSince struct {
	at    time.Time
	flows int64
}

const (
	keptEvents = 5000
	keptLines  = 40
	// settleLimit is how long the revalidator may take to reduce the flows to a lower limit.
	// Emulated CPUs may stall.
	settleLimit = 15 * time.Second
)

func newBook(copy io.Writer) *book {
	return &book{copy: copy, lost: map[string]int64{}, previous: map[string]int64{}}
}

// Write receives the daemon's log.
func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rest = append(b.rest, p...)
	for {
		line, rest, whole := bytes.Cut(b.rest, []byte("\n"))
		if !whole {
			break
		}
		b.line(string(line))
		b.rest = rest
	}
	b.rest = slices.Clone(b.rest)
	return b.copy.Write(p)
}

func (b *book) line(line string) {
	if len(b.lines) == keptLines {
		b.lines = slices.Delete(b.lines, 0, 1)
	}
	b.lines = append(b.lines, line)
	e, err := lab.CheckLine(line)
	if err != nil {
		b.fail("the log is as docs/LOGS.md says", "%v: %s", err, line)
		return
	}
	if e.Level == "DEBUG" {
		return
	}
	if len(b.recent) == keptEvents {
		drop := keptEvents / 2
		b.recent, b.first = slices.Clone(b.recent[drop:]), b.first+drop
	}
	b.recent = append(b.recent, e)
	b.account(e)
}

// fail records the first violation, which main finds.
func (b *book) fail(invariant, format string, args ...any) {
	if b.trouble == nil {
		b.trouble = &violation{invariant, fmt.Sprintf(format, args...), time.Now()}
	}
}

// number returns a numeric field, 0 if it is missing or not a number.
func number(e lab.Event, field string) int64 {
	n, ok := e.Fields[field].(json.Number)
	if !ok {
		return 0
	}
	v, _ := n.Int64()
	return v
}

// losses are the counters in stats of upcalls whose packets were not forwarded.
var losses = []string{"execute_refused", "decode_errors", "truncated", "malformed", "policy_errors",
	"action_upcalls", "shed"}

// kernelLost is the cause of packets that no socket of the daemon received.
const kernelLost = "lost by the kernel"

// account updates the counts from an event.
func (b *book) account(e lab.Event) {
	switch e.Name {
	case "starting":
		b.upcalls += b.previous["upcalls"]
		clear(b.previous)
	case "datapath_opened":
		// Kernel counters since the datapath was created: they include what was lost without a
		// listener.
		if e.Text("created") == "true" {
			b.dpLost = 0
		}
		b.down = number(e, "lost") - b.dpLost
		b.lose(kernelLost, b.down)
		b.dpLost = number(e, "lost")
	case "lost_while_down":
		// Read slightly later than the former counter.
		more := max(0, number(e, "lost")-b.down)
		b.lose(kernelLost, more)
		b.dpLost += more
	case "stats":
		b.lose(kernelLost, number(e, "lost_delta"))
		b.dpLost += number(e, "lost_delta")
		for _, field := range losses {
			b.lose(field, number(e, field)-b.previous[field])
			b.previous[field] = number(e, field)
		}
		b.previous["upcalls"] = number(e, "upcalls")
		b.countFlows(e)
	case "flow_limit_reached":
		b.hurt = e.Time
	case "failed", "restart_failed", "port_failed", "revalidator_failed", "stats_failed", "exit_action_failed":
		b.fail("nothing fails", "event %s: %v", e.Name, e.Fields)
	}
}

func (b *book) lose(cause string, n int64) {
	if n > 0 {
		b.lost[cause] += n
	}
}

// countFlows compares the number of flows with the highest limit in force until recently.
func (b *book) countFlows(e lab.Event) {
	limit := int64(0)
	for i, l := range b.limits {
		if last := i == len(b.limits)-1; last || b.limits[i+1].at.After(e.Time.Add(-settleLimit)) {
			limit = max(limit, l.flows)
		}
	}
	flows := number(e, "flows")
	if flows*10 >= limit*9 {
		b.hurt = e.Time
	}
	if b.flows.limit == 0 || flows*b.flows.limit > b.flows.most*limit {
		b.flows.most, b.flows.limit = flows, limit
	}
	if flows > limit {
		b.fail("flows <= limit", "%d flows, and the limit is %d", flows, limit)
	}
}

// setLimit records a new flow limit.
func (b *book) setLimit(flows int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limits = append(b.limits, limitSince{time.Now(), int64(flows)})
}

// mark returns a position in the log for await.
func (b *book) mark() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.first + len(b.recent)
}

// find returns the first event after a mark that match accepts.
func (b *book) find(mark int, match func(lab.Event) bool) (lab.Event, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.recent[max(0, mark-b.first):] {
		if match(e) {
			return e, true
		}
	}
	return lab.Event{}, false
}

// explained returns the number of packets lost so far according to the log.
func (b *book) explained() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	sum := int64(0)
	for _, n := range b.lost {
		sum += n
	}
	return sum
}

// excerpt returns the last lines of the log.
func (b *book) excerpt() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.lines, "\n")
}

// failure returns the first violation found in the log, nil if there is none.
func (b *book) failure() *violation {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.trouble
}
