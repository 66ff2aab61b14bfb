package netlink

import (
	"sync/atomic"

	"dpifd/internal/mmapring"
)

// Counters is a snapshot of what a socket did since it was opened. Its fields
// are read one by one: they need not belong to the same instant.
type Counters struct {
	ReceivedLinear uint64 // datagrams received by system call and handed on
	Bytes          uint64 // their bytes
	Truncated      uint64 // datagrams dropped because they exceeded the buffer
	Malformed      uint64 // datagrams dropped, wholly or from a fault on
	Foreign        uint64 // datagrams dropped because the kernel did not send them
	Stale          uint64 // answers to a request nobody waits for any more
	Overflows      uint64 // ENOBUFS reports; each stands for one or more lost datagrams
	SentLinear     uint64 // messages sent by system call
	SentRing       uint64 // messages that the kernel took from a TX ring

	ReceivedRing  uint64 // datagrams handed on in place, in a ring's frame
	ReceivedCopy  uint64 // datagrams received by system call for a COPY frame
	Jumbo         uint64 // of ReceivedCopy, those larger than a frame's room
	Aborted       uint64 // ring frames of messages that the kernel gave up
	Oversized     uint64 // ring frames whose length exceeds their room: dropped
	UnknownStatus uint64 // ring frames with a status that makes no sense: dropped
	RingForeign   uint64 // ring frames that another process sent: dropped
	Overruns      uint64 // of Overflows, those of a full ring
}

// Add adds another socket's counters.
func (c *Counters) Add(d Counters) {
	c.ReceivedLinear += d.ReceivedLinear
	c.Bytes += d.Bytes
	c.Truncated += d.Truncated
	c.Malformed += d.Malformed
	c.Foreign += d.Foreign
	c.Stale += d.Stale
	c.Overflows += d.Overflows
	c.SentLinear += d.SentLinear
	c.SentRing += d.SentRing
	c.ReceivedRing += d.ReceivedRing
	c.ReceivedCopy += d.ReceivedCopy
	c.Jumbo += d.Jumbo
	c.Aborted += d.Aborted
	c.Oversized += d.Oversized
	c.UnknownStatus += d.UnknownStatus
	c.RingForeign += d.RingForeign
	c.Overruns += d.Overruns
}

// counters is what a socket counts in while others take snapshots.
type counters struct {
	receivedLinear, bytes, truncated, malformed atomic.Uint64
	foreign, stale, overflows, sentLinear       atomic.Uint64
	sentRing, receivedRing, receivedCopy, jumbo atomic.Uint64
}

func (c *counters) snapshot() Counters {
	return Counters{
		ReceivedLinear: c.receivedLinear.Load(),
		Bytes:          c.bytes.Load(),
		Truncated:      c.truncated.Load(),
		Malformed:      c.malformed.Load(),
		Foreign:        c.foreign.Load(),
		Stale:          c.stale.Load(),
		Overflows:      c.overflows.Load(),
		SentLinear:     c.sentLinear.Load(),
		SentRing:       c.sentRing.Load(),
		ReceivedRing:   c.receivedRing.Load(),
		ReceivedCopy:   c.receivedCopy.Load(),
		Jumbo:          c.jumbo.Load(),
	}
}

// addRing adds what the reader of the socket's ring counts.
func (c *Counters) addRing(r mmapring.ReaderCounters) {
	c.Aborted += r.Aborted
	c.Oversized += r.Oversized
	c.UnknownStatus += r.UnknownStatus
	c.RingForeign += r.Foreign
	c.Overruns += r.Overruns
}
