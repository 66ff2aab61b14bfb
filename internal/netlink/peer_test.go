package netlink

import (
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// peerPort is the port id of a Conn whose kernel is a peer.
const peerPort = 4711

// peer acts as the kernel for a Conn over a socket pair, for behaviour that a real kernel cannot be
// made to show.
type peer struct {
	t  *testing.T
	fd int
}

// newPeer returns a Conn and runs serve as its kernel until the Conn is closed at the end of the
// test.
func newPeer(t *testing.T, serve func(p *peer)) *Conn {
	t.Helper()
	checkFDs(t)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	c := &Conn{timeout: replyTimeout}
	c.sock.fd, c.sock.portID, c.sock.rcvbuf, c.sock.sndbuf = fds[0], peerPort, 1<<20, 1<<20
	if err := c.rx.mmap(connSlots + 1); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { serve(&peer{t: t, fd: fds[1]}) })
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		unix.Close(fds[1])
	})
	return c
}

// requests waits for one send and returns its messages, nil after the Conn is closed.
func (p *peer) requests() (hs []Header, payloads [][]byte) {
	b := make([]byte, 1<<20)
	n, err := unix.Read(p.fd, b)
	if n <= 0 || err != nil {
		return nil, nil
	}
	for b = b[:n]; len(b) > 0; {
		h, payload, rest, err := SplitMessage(b)
		if err != nil {
			p.t.Errorf("request: %v", err)
			return nil, nil
		}
		hs, payloads, b = append(hs, h), append(payloads, payload), rest
	}
	return hs, payloads
}

// request waits for one message.
func (p *peer) request() (Header, bool) {
	hs, _ := p.requests()
	if len(hs) == 0 {
		return Header{}, false
	}
	return hs[0], true
}

func (p *peer) send(datagrams ...[]byte) {
	for _, d := range datagrams {
		if _, err := unix.Write(p.fd, d); err != nil && err != unix.EPIPE {
			p.t.Errorf("peer: %v", err)
		}
	}
}

// ack is NLMSG_ERROR with errno 0 or another, as a kernel with CAP_ACK sends it.
func ack(seq uint32, errno unix.Errno, tlvs ...byte) []byte {
	flags := uint16(unix.NLM_F_CAPPED)
	if len(tlvs) > 0 {
		flags |= unix.NLM_F_ACK_TLVS
	}
	return message(unix.NLMSG_ERROR, flags, seq, peerPort,
		errorPayload(-int32(errno), message(30, unix.NLM_F_ACK, seq, peerPort), tlvs)...)
}

func reply(seq uint32, payload ...byte) []byte { return message(30, 0, seq, peerPort, payload...) }

// one returns an encoder with one message.
func one() *Encoder {
	e := &Encoder{}
	e.Begin(30, 0)
	e.Uint32(1, 5)
	e.End()
	return e
}

// shortTimeout shortens the time limit for missing answers.
func shortTimeout(c *Conn) *Conn {
	c.timeout = 20 * time.Millisecond
	return c
}
