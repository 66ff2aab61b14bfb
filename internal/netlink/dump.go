package netlink

import (
	"time"

	"golang.org/x/sys/unix"
)

// maxDumps is how often an interrupted dump is made.
const maxDumps = 10

// Dump sends the one message that m holds with NLM_F_DUMP and calls each for
// every message of the answer. The payload is borrowed until each returns. An
// error of each is returned as it is, after the rest of the dump was read and
// dropped.
//
// What is dumped may change meanwhile: the kernel then marks the dump with
// NLM_F_DUMP_INTR, and it is repeated, after a call of reset (which may be nil)
// that is to undo what each did. After ten attempts the error matches
// ErrDumpInterrupted. A dump of which the kernel lost a part is repeated
// likewise, and its error matches unix.ENOBUFS.
func (c *Conn) Dump(m *Encoder, reset func(), each func(h Header, payload []byte) error) error {
	if err := c.lock(); err != nil {
		return err
	}
	defer c.mu.Unlock()
	for try := 1; ; try++ {
		again, err := c.dump(m, each)
		if !again {
			return err
		}
		if try == maxDumps {
			return &OpError{Op: "dump", Err: err}
		}
		if reset != nil {
			reset()
		}
	}
}

// dump makes one attempt. again says that err may go away by another one.
func (c *Conn) dump(m *Encoder, each func(h Header, payload []byte) error) (again bool, err error) {
	seq, err := c.request("dump", m, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	if err != nil {
		return false, err
	}
	d := dumpReader{conn: c, seq: seq, each: each}
	deadline := time.Now().Add(c.timeout)
	lost := false
	for !d.done {
		// The kernel makes a part of the dump for each datagram received.
		got, errno := c.rx.receive(c.sock.fd, 0, 1)
		switch {
		case errno == unix.EAGAIN && lost:
			return d.result() // the end was lost as well
		case errno == unix.EAGAIN:
			if err := c.wait(deadline); err != nil {
				return false, err
			}
		case errno == unix.ENOBUFS:
			d.partial, lost = c.sock.receiveError(errno), true
		case errno != 0:
			return false, c.sock.receiveError(errno)
		}
		if got > 0 {
			d.datagram()
			deadline = time.Now().Add(c.timeout)
		}
	}
	return d.result()
}

// dumpReader takes the messages of one attempt.
type dumpReader struct {
	conn *Conn
	seq  uint32
	each func(h Header, payload []byte) error

	err     error // what the dump failed with
	partial error // why the dump is not a consistent whole
	done    bool  // its last message has come
}

func (d *dumpReader) result() (again bool, err error) {
	if d.err != nil {
		return false, d.err
	}
	return d.partial != nil, d.partial
}

func (d *dumpReader) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// datagram takes the messages of the one slot that is received into.
func (d *dumpReader) datagram() {
	b := d.conn.rx.datagram(0)
	switch d.conn.sock.judge(&d.conn.rx, 0) {
	case accepted:
		d.conn.countReceived(b)
		for len(b) > 0 && !d.done {
			h, payload, rest, err := SplitMessage(b)
			if err != nil {
				return
			}
			d.message(h, payload)
			b = rest
		}
	case truncated:
		d.fail(errTruncated)
	case malformedMessage:
		d.fail(malformed("part of a dump, %d bytes", len(b)))
	}
}

func (d *dumpReader) message(h Header, payload []byte) {
	if h.Seq != d.seq || h.PortID != d.conn.sock.portID {
		d.conn.sock.counters.stale.Add(1)
		return
	}
	if h.Flags&unix.NLM_F_DUMP_INTR != 0 && d.partial == nil {
		d.partial = ErrDumpInterrupted
	}
	parse := parseDone
	switch {
	case h.Type == unix.NLMSG_DONE:
	case h.Type == unix.NLMSG_ERROR:
		parse = parseError
	case h.Type < unix.NLMSG_MIN_TYPE:
		return
	default:
		if d.err == nil && d.partial == nil {
			d.err = d.each(h, payload)
		}
		return
	}
	errno, extack, ok := parse(h, payload)
	if !ok {
		d.conn.sock.counters.malformed.Add(1)
		d.fail(malformed("end of a dump with %d bytes", len(payload)))
	}
	if errno != 0 {
		d.fail(answerError("dump", errno, extack))
	}
	// NLMSG_ERROR without an errno only acknowledges the request.
	d.done = h.Type == unix.NLMSG_DONE || errno != 0 || !ok
}
