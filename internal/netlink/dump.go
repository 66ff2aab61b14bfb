package netlink

import (
	"time"

	"golang.org/x/sys/unix"
)

// maxDumps is the number of attempts for an interrupted dump.
const maxDumps = 10

// Dump sends the one message that m holds with NLM_F_DUMP and calls each for
// every message of the answer. The payload is borrowed until each returns. An
// error of each is returned as it is, after the rest of the dump was read and
// dropped.
//
// If the dumped objects change meanwhile, the kernel marks the dump with NLM_F_DUMP_INTR. Dump
// then calls reset (which may be nil), which must undo the effects of each, and repeats the
// dump. After ten attempts the error matches ErrDumpInterrupted. A dump of which a part was
// lost is repeated in the same way; its error matches unix.ENOBUFS.
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

// dump makes one attempt. again means that another attempt may succeed.
func (c *Conn) dump(m *Encoder, each func(h Header, payload []byte) error) (again bool, err error) {
	seq, err := c.request("dump", m, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	if err != nil {
		return false, err
	}
	d := dumpReader{conn: c, seq: seq, each: each}
	deadline := time.Now().Add(c.timeout)
	lost := false
	for !d.done {
		// The kernel produces the next part of the dump for each datagram received.
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

// dumpReader handles the messages of one attempt.
type dumpReader struct {
	conn *Conn
	seq  uint32
	each func(h Header, payload []byte) error

	err     error // error of the dump
	partial error // why the dump is incomplete or inconsistent
	done    bool  // its last message has arrived
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

// datagram handles the messages of the one received slot.
func (d *dumpReader) datagram() {
	b := d.conn.rx.datagram(0)
	switch d.conn.sock.classify(&d.conn.rx, 0) {
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
