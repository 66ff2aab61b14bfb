package upcall

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"dpifd/internal/metric"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// HandlerCounters count since the handler was created.
type HandlerCounters struct {
	Polls       uint64        // calls of epoll
	Batches     uint64        // batches of upcalls answered
	BatchTime   time.Duration // from receipt of a batch until its answers were sent, sum over Batches
	SendErrors  uint64        // batches that could not be sent completely
	LastRefusal unix.Errno
	Requests    netlink.Counters // of the request socket
}

// Counters returns the handler's counters. It may be called by any goroutine.
func (h *Handler) Counters() HandlerCounters {
	return HandlerCounters{Polls: h.polls.Load(), Batches: h.batches.Load(), BatchTime: time.Duration(h.batchTime.Load()),
		SendErrors: h.sendErrors.Load(), LastRefusal: unix.Errno(h.lastRefusal.Load()), Requests: h.dp.Conn().Counters()}
}

// LongestBatch returns the longest time that a batch took since the last call. It may
// be called by any goroutine.
func (h *Handler) LongestBatch() time.Duration { return time.Duration(h.longest.Swap(0)) }

// AddUpcallTimes adds to d an upper bound of each upcall's latency, from its arrival in a socket
// until its answer was sent, without the time in which a sleeping thread wakes up. It may be called
// by any goroutine.
func (h *Handler) AddUpcallTimes(d *metric.Distribution) { h.times.AddTo(d) }

// RingFill returns the maximum number of used frames in any ring since the last call, as seen
// by the handler. It may be called by any goroutine.
func (h *Handler) RingFill() uint32 { return h.fill.Swap(0) }

// Rounds returns the number of rounds of the handler. It may be called by any goroutine.
func (h *Handler) Rounds() uint64 { return h.rounds.Load() }

// CPUWait returns how long the handler's thread was ready to run but had no CPU, 0 if the kernel
// does not report it (CONFIG_SCHED_INFO). It reads a file in /proc and may be called by any
// goroutine, also after Run.
func (h *Handler) CPUWait() time.Duration {
	if tid := h.thread.Load(); tid != 0 {
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/schedstat", tid)); err == nil {
			h.cpuWait.Store(runDelay(string(stat)))
		}
	}
	return time.Duration(h.cpuWait.Load())
}

// runDelay returns the second number of a schedstat file: the time in ns that the thread waited on
// run queues (Documentation/scheduler/sched-stats.rst, Linux 6.1).
func runDelay(stat string) int64 {
	f := strings.Fields(stat)
	if len(f) < 2 {
		return 0
	}
	ns, _ := strconv.ParseInt(f[1], 10, 64) // 0 if it is not a number
	return ns
}

// threadEnds stores the final value of the thread.
func (h *Handler) threadEnds() {
	h.CPUWait()
	h.thread.Store(0) // another thread may reuse the id
}
