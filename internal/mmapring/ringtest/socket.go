package ringtest

import (
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Stats are the kernel's counters of a socket.
type Stats struct {
	Attempts  uint64 // messages to deliver: the sum of the next five
	Valid     uint64
	Copied    uint64 // queued with a COPY frame, or without a ring
	Aborted   uint64
	Lost      uint64 // the sender got an error: counts in the datapath's `lost`
	CopyLost  uint64 // COPY to a full ring: the sender got no error
	Drops     uint64 // sk_drops
	Overruns  uint64 // number of times that ENOBUFS was raised
	Waits     uint64 // number of times that a patient sender found the ring full
	SkipStall bool   // a SKIP was found at the head (4.1)
}

// Socket is the kernel's side of one netlink socket.
type Socket struct {
	k    *Kernel
	wake int
	file *os.File // nil: Go memory

	// mu stands for both sk_receive_queue.lock and pg_vec_lock.
	mu        sync.Mutex
	closed    bool
	mapped    int
	mem       []byte // the kernel's view of all rings
	rx, tx    *pages
	queue     [][]byte
	rmem      int
	soErr     unix.Errno
	congested bool
	recvFault []unix.Errno
	stats     Stats
	seq       uint64

	handler   func(msg []byte) unix.Errno
	txPending []uint32
	linear    [][]byte
	sendFault []unix.Errno
	noMemory  int // ring sends until an allocation fails; 0 for never

	waits   atomic.Uint64
	wakeups atomic.Uint64
	stopped atomic.Bool // nobody is left to wake, and senders stop
}

func newSocket(k *Kernel, wake int, file *os.File) *Socket {
	return &Socket{k: k, wake: wake, file: file}
}

func (s *Socket) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Socket) destroy() error {
	err := unix.Close(s.wake)
	if s.file != nil {
		if s.mem != nil {
			err = unix.Munmap(s.mem)
		}
		if cerr := s.file.Close(); err == nil {
			err = cerr
		}
	}
	return err
}

// signal is sk_data_ready and sk_error_report. A full eventfd is readable already.
func (s *Socket) signal() {
	if s.stopped.Load() {
		return
	}
	s.wakeups.Add(1)
	one := [8]byte{1}
	_, _ = unix.Write(s.wake, one[:])
}

// setsockopt checks in the order of netlink_setsockopt and netlink_set_ring.
func (s *Socket) setsockopt(level, opt int, value []byte) error {
	if level != solNetlink || opt != rxRing && opt != txRing || s.k.cfg.NoRings {
		return unix.ENOPROTOOPT
	}
	if s.k.cfg.NoCap {
		return unix.EPERM
	}
	if len(value) < 16 {
		return unix.EINVAL
	}
	req := parseRequest(value)
	s.mu.Lock()
	defer s.mu.Unlock()
	ring := &s.rx
	if opt == txRing {
		ring = &s.tx
		if s.k.cfg.FailTXRing != 0 && req.blockNr != 0 {
			return s.k.cfg.FailTXRing
		}
	}
	if s.mapped > 0 {
		return unix.EBUSY
	}
	if *ring != nil && (*ring).pending > 0 {
		return unix.EBUSY
	}
	if req.blockNr == 0 {
		if req.frameNr != 0 {
			return unix.EINVAL
		}
		*ring = nil
	} else {
		if *ring != nil {
			return unix.EBUSY
		}
		if int32(req.blockSize) <= 0 || req.blockSize%pageSize != 0 {
			return unix.EINVAL
		}
		if req.frameSize < hdrLen || req.frameSize%4 != 0 {
			return unix.EINVAL
		}
		if fpb := req.blockSize / req.frameSize; fpb == 0 || fpb*req.blockNr != req.frameNr {
			return unix.EINVAL
		}
		*ring = newPages(req)
	}
	if opt == rxRing {
		s.queue, s.rmem = nil, 0
	}
	return s.layOut(opt == txRing)
}

// layOut allocates memory for the rings, RX before TX. keepRX keeps the contents of the RX ring,
// which may have received messages before it was mapped.
func (s *Socket) layOut(keepRX bool) error {
	var rx, tx int
	if s.rx != nil {
		rx = s.rx.bytes()
	}
	if s.tx != nil {
		tx = s.tx.bytes()
	}
	mem := make([]byte, rx+tx)
	if keepRX && rx > 0 {
		copy(mem, s.mem[:rx])
	}
	if s.file != nil {
		shared, err := s.share(mem)
		if err != nil {
			return err
		}
		mem = shared
	}
	s.mem = mem
	if s.rx != nil {
		s.rx.place(mem[:rx])
	}
	if s.tx != nil {
		s.tx.place(mem[rx:])
	}
	return nil
}

// share stores contents in the memfd and maps it for the kernel's side.
func (s *Socket) share(contents []byte) ([]byte, error) {
	if s.mem != nil {
		if err := unix.Munmap(s.mem); err != nil {
			return nil, err
		}
		s.mem = nil
	}
	if err := s.file.Truncate(int64(len(contents))); err != nil || len(contents) == 0 {
		return nil, err
	}
	mem, err := unix.Mmap(int(s.file.Fd()), 0, len(contents), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	copy(mem, contents)
	return mem, nil
}

// mmapAllowed is netlink_mmap: offset 0 and exactly the size of all rings, as rounded up to pages
// by the system call.
func (s *Socket) mmapAllowed(offset int64, length int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.k.cfg.FailMmap != 0 {
		return s.k.cfg.FailMmap
	}
	size := (length + pageSize - 1) / pageSize * pageSize
	if s.k.cfg.NoRings {
		return unix.ENODEV
	}
	if offset != 0 || length <= 0 || len(s.mem) == 0 || size != len(s.mem) {
		return unix.EINVAL
	}
	s.mapped++
	return nil
}

func (s *Socket) mmap(offset int64, length, prot, flags int) ([]byte, error) {
	if err := s.mmapAllowed(offset, length); err != nil {
		return nil, err
	}
	if s.file != nil {
		return unix.Mmap(int(s.file.Fd()), 0, length, prot, flags)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if flags&unix.MAP_SHARED == 0 || prot != unix.PROT_READ|unix.PROT_WRITE {
		// A private or read-only mapping behaves like a copy: writes are not shared.
		return append([]byte(nil), s.mem...), nil
	}
	return s.mem[:length:length], nil
}

func (s *Socket) munmap(b []byte) error {
	if s.file != nil {
		if err := unix.Munmap(b); err != nil {
			return err
		}
	}
	s.unmapped()
	return nil
}

func (s *Socket) unmapped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mapped--
}

// Stats returns the current counters.
func (s *Socket) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Attempts, st.Waits = s.seq, s.waits.Load()
	return st
}

// Mapped returns the number of mappings of the socket's rings.
func (s *Socket) Mapped() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mapped
}

// HasRings reports which rings are set.
func (s *Socket) HasRings() (rx, tx bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rx != nil, s.tx != nil
}

// RX returns the header of frame i of the RX ring.
func (s *Socket) RX(i int) Header { return s.rx.header(uint32(i)) }

// TX returns the header of frame i of the TX ring.
func (s *Socket) TX(i int) Header { return s.tx.header(uint32(i)) }

// SetRX overwrites the header of frame i of the RX ring in any state.
func (s *Socket) SetRX(i int, h Header) { s.rx.setHeader(uint32(i), h) }

// RXMemory returns the whole RX ring with gaps, as the kernel sees it.
func (s *Socket) RXMemory() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mem[:s.rx.bytes()]
}

// Head returns the frame that the kernel uses next.
func (s *Socket) Head() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.rx.head)
}
