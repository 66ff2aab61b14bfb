package netlink

import (
	"sync/atomic"

	"dpifd/internal/mmapring"
)

// Counters is a snapshot of the counters of a socket since it was opened. The fields are read
// one by one and may differ in time.
type Counters struct {
	ReceivedLinear uint64 // datagrams received by system call and delivered
	Bytes          uint64 // their bytes
	Truncated      uint64 // datagrams dropped because they exceeded the buffer
	Malformed      uint64 // datagrams dropped, completely or from a fault on
	Foreign        uint64 // datagrams dropped because the kernel did not send them
	Stale          uint64 // answers to requests that are no longer waited for
	Overflows      uint64 // ENOBUFS errors, each for one or more lost datagrams
	SentLinear     uint64 // messages sent by system call
	SentRing       uint64 // messages that the kernel took from a TX ring

	ReceivedRing  uint64 // datagrams delivered in place, in a ring frame
	ReceivedCopy  uint64 // datagrams received by system call for a COPY frame
	Jumbo         uint64 // of ReceivedCopy, those larger than a frame's room
	Aborted       uint64 // ring frames of messages that the kernel aborted
	Oversized     uint64 // ring frames whose length exceeds their room: dropped
	UnknownStatus uint64 // ring frames with an unknown status: dropped
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

// counters are the live counters of a socket; others take snapshots.
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

// addRing adds the counters of the ring's reader.
func (c *Counters) addRing(r mmapring.ReaderCounters) {
	c.Aborted += r.Aborted
	c.Oversized += r.Oversized
	c.UnknownStatus += r.UnknownStatus
	c.RingForeign += r.Foreign
	c.Overruns += r.Overruns
}
