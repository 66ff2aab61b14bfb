package netlink

import (
	"errors"
	"sync"

	"dpifd/internal/mmapring"

	"golang.org/x/sys/unix"
)

// Transport is the way in which a socket's messages reach this process.
type Transport uint8

const (
	// Linear is ordinary socket I/O: a system call and a copy.
	Linear Transport = iota
	// Ring is memory shared with the kernel, read in place.
	Ring
)

func (t Transport) String() string {
	switch t {
	case Linear:
		return "linear"
	case Ring:
		return "ring"
	default:
		return "unknown"
	}
}

// ReceiverConfig configures a Receiver. The zero value is the kernel's default.
type ReceiverConfig struct {
	// RcvBuf limits what the kernel queues, in bytes; 0 keeps the kernel's default. It is set by
	// SO_RCVBUFFORCE, or by SO_RCVBUF without the privilege.
	RcvBuf int
	// Ring is the geometry of the receive ring; zero is none. If the ring cannot be set up, the
	// receiver is linear and RingError returns the reason.
	Ring mmapring.Geometry
	// Kernel is nil except in tests.
	Kernel RingKernel
}

// Receiver is a socket that only receives, from a ring or by system calls. It is connected to
// the kernel, so messages of other processes do not arrive.
type Receiver struct {
	mu      sync.Mutex // held while the file descriptor is in use
	sock    socket
	kernel  RingKernel        // nil: the running kernel
	mapping *mmapring.Mapping // nil without a ring
	ring    *mmapring.Reader  // nil without a ring
	ringErr error             // why there is no ring
	found   mmapring.Found    // in the ring, if it was taken over
	adopted bool
	// exposed: others than the kernel may send, or have sent, what the socket receives. The
	// kernel refuses what they send to a connected socket (netlink_getsockbyportid,
	// af_netlink.c), but not what they send to its groups.
	exposed bool
}

// OpenReceiver opens a socket for messages that the kernel sends to its port id.
func OpenReceiver(protocol int, c ReceiverConfig) (*Receiver, error) {
	r, err := openReceiver(protocol, nil, socketConfig{rcvbuf: c.RcvBuf, kernel: c.Kernel})
	if err != nil {
		return nil, err
	}
	// Before the port id is used: setting up a ring drops queued messages.
	r.kernel = c.Kernel
	r.mapRing(c)
	return r, nil
}

// OpenNotifier opens a socket for the kernel's multicast messages to groups. It is always
// linear: Ring and Kernel are ignored.
func OpenNotifier(protocol int, groups []uint32, c ReceiverConfig) (*Receiver, error) {
	return openReceiver(protocol, groups, socketConfig{rcvbuf: c.RcvBuf})
}

func openReceiver(protocol int, groups []uint32, c socketConfig) (*Receiver, error) {
	r := &Receiver{exposed: len(groups) > 0}
	if err := r.sock.open(protocol, c); err != nil {
		return nil, err
	}
	for _, g := range groups {
		if err := r.sock.membership(unix.NETLINK_ADD_MEMBERSHIP, g); err != nil {
			r.sock.close(nil)
			return nil, err
		}
	}
	return r, nil
}

// lock locks the mutex if the socket is open.
func (r *Receiver) lock() error {
	r.mu.Lock()
	if r.sock.fd < 0 {
		r.mu.Unlock()
		return ErrClosed
	}
	return nil
}

// FD returns the file descriptor, to wait for it to become readable; -1 once
// the Receiver is closed.
func (r *Receiver) FD() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sock.fd
}

// PortID returns the address to which the kernel sends.
func (r *Receiver) PortID() uint32 { return r.sock.portID }

// Transport returns how messages are received.
func (r *Receiver) Transport() Transport {
	if r.ring != nil {
		return Ring
	}
	return Linear
}

// RcvBuf returns the granted limit of queued memory in bytes, as SO_RCVBUF reads: the kernel
// doubles the requested value to allow for its overhead.
func (r *Receiver) RcvBuf() int { return r.sock.rcvbuf }

// Join subscribes to a multicast group.
func (r *Receiver) Join(group uint32) error {
	if err := r.lock(); err != nil {
		return err
	}
	defer r.mu.Unlock()
	r.exposed = true
	return r.sock.membership(unix.NETLINK_ADD_MEMBERSHIP, group)
}

// Receive appends up to limit datagrams to b, as far as b has room, and returns their number.
// It does not wait: (0, nil) means that the queue is empty, that b is full, or that all
// received datagrams were dropped.
//
// With a ring, datagrams are lent in place, at most half of the ring at a time: release b to
// receive the rest.
//
// Each datagram it appends consists of whole messages from the kernel; truncated, malformed and
// foreign ones are counted and dropped. An error that matches unix.ENOBUFS means that the
// kernel lost messages; more can be received right after it.
func (r *Receiver) Receive(b *Batch, limit int) (int, error) {
	if err := r.lock(); err != nil {
		return 0, err
	}
	defer r.mu.Unlock()
	room := min(limit, b.Free())
	if room <= 0 {
		return 0, nil
	}
	if r.ring != nil {
		return r.receiveRing(b, room)
	}
	n, errno := r.receiveSlots(b, room)
	if errno != 0 {
		return 0, r.sock.receiveError(errno)
	}
	first, size := b.used, 0
	for i := first; i < first+n; i++ {
		if r.sock.classify(&b.slots, i) != accepted {
			continue
		}
		// Close the gaps that dropped datagrams left.
		if i != b.used {
			b.slots.swap(i, b.used)
			b.slots.msgs[b.used].len = b.slots.msgs[i].len
		}
		d := b.slots.datagram(b.used)
		b.data = append(b.data, d)
		b.used++
		size += len(d)
	}
	r.sock.counters.receivedLinear.Add(uint64(b.used - first))
	r.sock.counters.bytes.Add(uint64(size))
	return b.used - first, nil
}

// SocketError returns and clears the socket's pending error (SO_ERROR), nil if there is none. Until
// it is read, by this method or by Receive, the descriptor polls as EPOLLERR.
func (r *Receiver) SocketError() error {
	if err := r.lock(); err != nil {
		return err
	}
	defer r.mu.Unlock()
	err := r.takeError()
	if r.ring != nil && errors.Is(err, unix.ENOBUFS) {
		r.ring.CountOverrun()
	}
	return err
}

func (r *Receiver) takeError() error {
	if r.kernel == nil {
		return r.sock.socketError()
	}
	errno, err := r.kernel.SoError(r.sock.fd)
	if err != nil {
		return &OpError{Op: "getsockopt", Err: err}
	}
	return r.sock.receiveError(errno)
}

// MemInfo returns the kernel's accounting of the socket. The error matches
// unix.ENOPROTOOPT on kernels before 4.12.
func (r *Receiver) MemInfo() (MemInfo, error) {
	if err := r.lock(); err != nil {
		return MemInfo{}, err
	}
	defer r.mu.Unlock()
	return r.sock.memInfo()
}

// Counters returns the counters. It works after Close too.
func (r *Receiver) Counters() Counters {
	c := r.sock.counters.snapshot()
	if r.ring != nil {
		c.addRing(r.ring.Counters())
	}
	return c
}

// Close waits for a running call, unmaps the ring, and closes the socket. It is idempotent.
// Datagrams of the ring in a Batch stay readable until its Release, and the kernel keeps the
// socket until then.
func (r *Receiver) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	if r.mapping != nil {
		err = r.mapping.Close()
	}
	return errors.Join(err, r.sock.close(r.kernel))
}
