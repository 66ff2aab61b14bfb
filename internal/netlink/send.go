package netlink

import (
	"errors"
	"math"

	"golang.org/x/sys/unix"
)

const (
	// sendOverhead is the part of the send buffer that netlink_sendmsg
	// (net/netlink/af_netlink.c) reserves; a message larger than the rest is refused with
	// EMSGSIZE.
	sendOverhead = 32
	// answerMemory is the receive buffer that one answer may need, and maxTransactions the
	// maximum number of messages answered at once: nl_sock_create and nl_sock_transact_multiple
	// in Open vSwitch, lib/netlink-socket.c.
	answerMemory    = 4096
	maxTransactions = 128
)

// Send sends the messages of b with one system call (more only if they exceed the granted send
// buffer or the kernel's limit of 1024 pieces) without requesting acknowledgements. The kernel
// executes them, in order, before the call returns, and answers only those that fail: failed is
// called for each of these with its index in b. It does not wait and does not allocate.
//
// Messages that could not be sent are reported to failed too, and in the returned error: all
// messages, with EINVAL, if c is closed or b has an encoding error. An error that matches
// unix.ENOBUFS otherwise means that answers were lost: some messages may have failed without a
// report. Nothing is sent twice.
func (c *Conn) Send(b *SendBatch, failed func(i int, errno unix.Errno)) error {
	err := b.Err()
	if err == nil {
		err = c.lock()
	}
	if err != nil {
		for i := range b.Len() {
			failed(i, unix.EINVAL)
		}
		return err
	}
	defer c.mu.Unlock()
	if c.tx != nil {
		return c.sendRing(b, failed)
	}
	l := limits{messages: math.MaxInt, bytes: c.sock.sndbuf - sendOverhead}
	var first error
	for from := 0; from < b.Len(); {
		seq, n, errno := c.sendPart(b, from, l, unix.NLM_F_REQUEST)
		var err error
		if errno != 0 {
			for i := range n {
				failed(from+i, errno)
			}
			err = &OpError{Op: "send", Err: errno}
		} else {
			err = c.failures(seq, n, from, failed)
		}
		if first == nil {
			first = err
		}
		from += n
	}
	return first
}

// sendPart sends messages of b, starting at from, with one system call. It returns the sequence
// number of the first and the number of messages; with an errno they were not sent.
func (c *Conn) sendPart(b *SendBatch, from int, l limits, flags uint16) (seq uint32, n int, errno unix.Errno) {
	n = b.part(from, l, flags, c.seq+1, c.sock.portID)
	if n == 0 {
		return 0, 1, unix.EMSGSIZE
	}
	seq = c.sequence(n)
	errno = c.sendmsg(&b.hdr)
	b.sent()
	if errno == 0 {
		c.sock.counters.sentLinear.Add(uint64(n))
	}
	return seq, n, errno
}

// failures reads the kernel's answers to n messages with sequence numbers from base on, until
// the queue is empty, and reports those that failed, with indices that start at from.
func (c *Conn) failures(base uint32, n, from int, failed func(i int, errno unix.Errno)) error {
	var lost error
	for {
		got, errno := c.rx.receive(c.sock.fd, 0, connSlots)
		switch errno {
		case 0:
		case unix.EAGAIN:
			return lost
		case unix.ENOBUFS:
			lost = c.sock.receiveError(errno)
		default:
			return c.sock.receiveError(errno)
		}
		for slot := range got {
			if c.sock.classify(&c.rx, slot) != accepted {
				continue
			}
			d := c.rx.datagram(slot)
			c.countReceived(d)
			for len(d) > 0 {
				h, payload, rest, err := SplitMessage(d)
				if err != nil {
					break
				}
				d = rest
				if i := h.Seq - base; h.PortID != c.sock.portID || i >= uint32(n) {
					c.sock.counters.stale.Add(1)
				} else if h.Type != unix.NLMSG_ERROR {
					// A reply that the message requested by NLM_F_ECHO.
				} else if errno, _, ok := parseError(h, payload); !ok {
					c.sock.counters.malformed.Add(1)
				} else if errno != 0 {
					failed(from+int(i), errno)
				}
			}
		}
	}
}

// TransactBatch sends the messages of b, asks for an acknowledgement of each, and calls each
// once for every message, in order, with its reply as in Transact (borrowed until each returns)
// or its error. It sends at most as many at a time as the receive buffer can hold answers for.
//
// The error is the socket's first, nil if the kernel answered every message; each got it for
// messages without an answer. It matches unix.ENOBUFS if answers were lost. If the batch has an
// encoding error, it is not sent and each is not called.
func (c *Conn) TransactBatch(b *SendBatch, each func(i int, reply []byte, err error)) error {
	if err := c.lock(); err != nil {
		return err
	}
	defer c.mu.Unlock()
	if err := b.Err(); err != nil {
		return err
	}
	l := limits{
		messages: max(1, min(c.sock.rcvbuf/answerMemory, maxTransactions)),
		bytes:    c.sock.sndbuf - sendOverhead,
	}
	var first error
	for from := 0; from < b.Len(); {
		seq, n, errno := c.sendPart(b, from, l, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
		var err error
		if errno == 0 {
			err = c.answers(seq, n, func(i int, reply []byte, err error) { each(from+i, reply, err) })
		} else {
			err = &OpError{Op: "send", Err: errno}
			for i := range n {
				each(from+i, nil, err)
			}
		}
		from += n
		if first == nil {
			first = err
		}
		// Only after a message or a queue that was too small can the rest succeed.
		if err != nil && !errors.Is(err, unix.EMSGSIZE) && !errors.Is(err, unix.ENOBUFS) {
			for ; from < b.Len(); from++ {
				each(from, nil, err)
			}
		}
	}
	return first
}
