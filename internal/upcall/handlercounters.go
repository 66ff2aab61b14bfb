package upcall

import (
	"time"

	"dpifd/internal/metric"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// HandlerCounters count since the handler was made.
type HandlerCounters struct {
	Polls       uint64        // times that epoll was asked
	Batches     uint64        // batches of upcalls answered
	BatchTime   time.Duration // from a batch's receipt until its answers were sent, sum over Batches
	SendErrors  uint64        // batches that could not be sent whole
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

// AddUpcallTimes adds to d a bound of how long each upcall took, from its arrival in a socket
// until its answer was sent. What the thread needed to wake up, if it slept, is not in it. It
// may be called by any goroutine.
func (h *Handler) AddUpcallTimes(d *metric.Distribution) { h.times.AddTo(d) }

// RingFill returns how many frames of a ring were in use at most since the last call, as
// the handler found them. It may be called by any goroutine.
func (h *Handler) RingFill() uint32 { return h.fill.Swap(0) }

// Rounds returns how often the handler went round. It may be called by any goroutine.
func (h *Handler) Rounds() uint64 { return h.rounds.Load() }
