package netlink

import (
	"time"

	"golang.org/x/sys/unix"
)

// answers reads the answers to the n requests with sequence numbers from base on and calls each
// once for every request, in order. The kernel answers in this order. If the socket fails, the
// requests without an answer get its error, which answers returns.
func (c *Conn) answers(base uint32, n int, each func(i int, reply []byte, err error)) error {
	a := answerReader{conn: c, base: base, n: n, each: each}
	deadline := time.Now().Add(c.timeout)
	var lost error
	for a.next < n {
		got, errno := c.rx.receive(c.sock.fd, 0, connSlots)
		var fault error
		switch {
		case errno == unix.EAGAIN && lost != nil:
			fault = lost // missing answers will not arrive
		case errno == unix.EAGAIN:
			fault = c.wait(deadline)
		case errno == unix.ENOBUFS:
			lost = c.sock.receiveError(errno)
		case errno != 0:
			fault = c.sock.receiveError(errno)
		}
		if fault != nil {
			a.skipTo(n, fault)
			return fault
		}
		before := a.next
		for slot := range got {
			a.datagram(slot)
		}
		a.keepReply()
		if a.next > before {
			deadline = time.Now().Add(c.timeout)
		}
	}
	return nil
}

// answerReader assigns received messages to requests.
type answerReader struct {
	conn *Conn
	base uint32
	n    int
	each func(i int, reply []byte, err error)

	next  int    // the first request without an answer
	reply []byte // to that request, nil if none has come
	slot  int    // where reply lies
	fault error  // the error of receiving the reply to that request
}

// datagram handles the messages that a slot received.
func (a *answerReader) datagram(slot int) {
	b := a.conn.rx.datagram(slot)
	switch a.conn.sock.classify(&a.conn.rx, slot) {
	case accepted:
		a.conn.countReceived(b)
		for len(b) > 0 {
			h, payload, rest, err := SplitMessage(b)
			if err != nil {
				return
			}
			a.message(slot, h, payload, nil)
			b = rest
		}
	case truncated:
		if len(b) >= headerLen {
			a.message(slot, readHeader(b), nil, errTruncated)
		}
	}
}

// message handles one message. With a fault only its header is known.
func (a *answerReader) message(slot int, h Header, payload []byte, fault error) {
	if h.Type < unix.NLMSG_MIN_TYPE && h.Type != unix.NLMSG_ERROR {
		return
	}
	i := h.Seq - a.base
	if h.PortID != a.conn.sock.portID || i >= uint32(a.n) || int(i) < a.next {
		a.conn.sock.counters.stale.Add(1)
		return
	}
	// Answers keep the order of the requests, so a skipped one is lost.
	a.skipTo(int(i), errOverflow)
	switch {
	case fault != nil:
		a.fault = fault
	case h.Type != unix.NLMSG_ERROR:
		if a.reply == nil {
			a.reply, a.slot = payload, slot
		}
	default:
		err := a.fault
		if errno, extack, ok := parseError(h, payload); !ok {
			a.conn.sock.counters.malformed.Add(1)
			err = malformed("acknowledgement of %d bytes", len(payload))
		} else if errno != 0 {
			err = answerError("transact", errno, extack)
		}
		a.answer(err)
	}
}

// answer completes the next request.
func (a *answerReader) answer(err error) {
	i, reply := a.next, a.reply
	a.next, a.reply, a.fault = i+1, nil, nil
	if err != nil {
		reply = nil
	}
	a.each(i, reply, err)
}

// skipTo completes the requests before i with err.
func (a *answerReader) skipTo(i int, err error) {
	for a.next < i {
		a.answer(err)
	}
}

// keepReply moves a reply that waits for its acknowledgement to memory that the next receive
// does not overwrite.
func (a *answerReader) keepReply() {
	if a.reply != nil && a.slot != connSlots {
		a.conn.rx.swap(a.slot, connSlots)
		a.slot = connSlots
	}
}
