package netlink

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"dpifd/internal/mmapring"

	"golang.org/x/sys/unix"
)

// replyTimeout limits the wait for each answer. The kernel answers within the system call that
// sends, so a caller waits only for answers that are deferred (the next part of a dump, never
// seen late) or lost.
const replyTimeout = 5 * time.Second

// connSlots is the number of answers received per system call.
const connSlots = 16

// Config configures a Conn. The zero value is the kernel's default.
type Config struct {
	// RcvBuf and SndBuf limit what the kernel queues, in bytes; 0 keeps the kernel's default. They
	// are set by SO_RCVBUFFORCE and SO_SNDBUFFORCE, or by the plain options without the privilege.
	RcvBuf, SndBuf int
	// TXRing is the geometry of a transmit ring for Send; zero is none. If the ring cannot be
	// set up, Send is linear and RingError returns the reason.
	TXRing mmapring.Geometry
	// Kernel is nil except in tests.
	Kernel RingKernel
}

// Conn is a request socket: it sends requests to the kernel and reads the answers. It never has a
// receive ring: Linux 4.1 and 4.4 panic when such a socket sends a FLOW_NEW while a program listens
// to the ovs_flow group, and misplace the data of dumps. Send may use a transmit ring; everything
// else is linear. Its methods may be called from any goroutine and are executed one at a time;
// callbacks must not call methods of the same Conn.
type Conn struct {
	mu   sync.Mutex
	sock socket
	seq  uint32
	// timeout limits the wait for each answer.
	timeout time.Duration
	rx      slots // connSlots to receive into, and one that keeps a reply

	kernel  RingKernel        // nil: the running kernel
	mapping *mmapring.Mapping // nil without a TX ring
	tx      *mmapring.Writer  // nil without a TX ring
	txErr   error             // why there is no TX ring
	packed  []int             // messages in each frame that is committed but not yet consumed
}

// Dial opens a request socket and connects it to the kernel.
func Dial(protocol int, c Config) (_ *Conn, err error) {
	conn := &Conn{timeout: replyTimeout}
	if err := conn.sock.open(protocol, socketConfig{rcvbuf: c.RcvBuf, sndbuf: c.SndBuf, kernel: c.Kernel}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	conn.kernel = c.Kernel
	conn.mapTX(c)
	for _, opt := range []int{unix.NETLINK_EXT_ACK, unix.NETLINK_CAP_ACK} {
		if err := conn.sock.enable(opt); err != nil {
			return nil, err
		}
	}
	if err := conn.rx.mmap(connSlots + 1); err != nil {
		return nil, err
	}
	conn.rx.askNames()
	return conn, nil
}

// PortID returns the socket's own address.
func (c *Conn) PortID() uint32 { return c.sock.portID }

// RcvBuf returns the granted limit of queued answers in bytes, as SO_RCVBUF reads: the kernel
// doubles the requested value to allow for its overhead.
func (c *Conn) RcvBuf() int { return c.sock.rcvbuf }

// SndBuf returns the granted limit of one send in bytes, as SO_SNDBUF reads.
func (c *Conn) SndBuf() int { return c.sock.sndbuf }

// FD returns the file descriptor, -1 once the Conn is closed.
func (c *Conn) FD() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sock.fd
}

// Counters returns the counters. It works after Close too.
func (c *Conn) Counters() Counters { return c.sock.counters.snapshot() }

// Close waits for a running call, unmaps the ring, and closes the socket. It is idempotent.
// Lent replies become invalid.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if c.mapping != nil {
		err = c.mapping.Close()
	}
	return errors.Join(err, c.sock.close(c.kernel), c.rx.munmap())
}

// lock locks the mutex if the socket is open.
func (c *Conn) lock() error {
	c.mu.Lock()
	if c.sock.fd < 0 {
		c.mu.Unlock()
		return ErrClosed
	}
	return nil
}

// Transact sends the one message that m holds and waits for its answer, bounded: the error then
// matches os.ErrDeadlineExceeded. It returns the part of the reply after nlmsghdr (NLM_F_ECHO,
// or the answer to a GET), nil if there was only an acknowledgement. The reply is borrowed
// until the next call on c.
//
// NLM_F_REQUEST, NLM_F_ACK, sequence number and port id are filled in. An answer belongs to the
// request if sequence number and port id match. Its command is ignored, because kernels before
// 4.19 answer every OVS command as a NEW. A failure is an *OpError with the kernel's errno and
// text.
func (c *Conn) Transact(m *Encoder) ([]byte, error) {
	if err := c.lock(); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	seq, err := c.request("transact", m, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	if err != nil {
		return nil, err
	}
	var payload []byte
	// The function gets an error of the socket too.
	_ = c.answers(seq, 1, func(_ int, reply []byte, e error) { payload, err = reply, e })
	return payload, err
}

// request sends the message in m with flags added and returns its sequence
// number.
func (c *Conn) request(op string, m *Encoder, flags uint16) (uint32, error) {
	if m.err != nil {
		return 0, m.err
	}
	_, _, rest, err := SplitMessage(m.buf)
	if err == nil && (m.open || len(rest) > 0) {
		err = malformed("the encoder does not hold exactly one ended message")
	}
	if err != nil {
		return 0, &OpError{Op: op, Err: err}
	}
	seq := c.sequence(1)
	stamp(m.buf, flags, seq, c.sock.portID)
	for {
		err = c.write(m.buf)
		if err == nil {
			c.sock.counters.sentLinear.Add(1)
			return seq, nil
		}
		if !errors.Is(err, unix.EINTR) {
			return 0, &OpError{Op: "send", Err: err}
		}
	}
}

// sequence reserves n consecutive sequence numbers and returns the first.
func (c *Conn) sequence(n int) uint32 {
	first := c.seq + 1
	c.seq += uint32(n)
	return first
}

func (c *Conn) countReceived(datagram []byte) {
	c.sock.counters.receivedLinear.Add(1)
	c.sock.counters.bytes.Add(uint64(len(datagram)))
}

// wait waits for the socket to become readable.
func (c *Conn) wait(deadline time.Time) error {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return &OpError{Op: "receive", Err: fmt.Errorf("no answer within %v: %w", c.timeout, os.ErrDeadlineExceeded)}
		}
		fds := [1]unix.PollFd{{Fd: int32(c.sock.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds[:], int((left+time.Millisecond-1)/time.Millisecond))
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return &OpError{Op: "poll", Err: err}
		case n > 0:
			return nil
		}
	}
}
