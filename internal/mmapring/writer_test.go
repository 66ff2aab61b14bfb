package mmapring

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"dpifd/internal/mmapring/ringtest"
)

// send sends msg on the ring.
func send(t testing.TB, w *Writer, msg []byte) {
	t.Helper()
	room, err := w.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(copy(room, msg)); err != nil {
		t.Fatal(err)
	}
}

// sink receives what the kernel gets, and rejects the numbers in refuse.
type sink struct {
	t      *testing.T
	got    []uint64
	refuse map[uint64]unix.Errno
}

func (s *sink) take(msg []byte) unix.Errno {
	seq, err := ringtest.Check(msg)
	if err != nil {
		s.t.Error(err)
	}
	if errno := s.refuse[seq]; errno != 0 {
		return errno
	}
	s.got = append(s.got, seq)
	return 0
}

func (s *sink) want(seqs ...uint64) {
	s.t.Helper()
	if len(s.got) != len(seqs) {
		s.t.Fatalf("the kernel got %v, want %v", s.got, seqs)
	}
	for i := range seqs {
		if s.got[i] != seqs[i] {
			s.t.Fatalf("the kernel got %v, want %v", s.got, seqs)
		}
	}
	s.got = nil
}

func newTX(t *testing.T, cfg ringtest.Config, g Geometry) (*Writer, *ringtest.Socket, *sink) {
	t.Helper()
	k, fd, sock := newSocket(t, cfg)
	m, err := Map(fd, Config{TX: g, Syscalls: k})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = m.Writer().Commit(0) // drops the reservation
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if got := sock.Linear(); len(got) != 0 {
			t.Errorf("%d sends were ordinary: the base was not NULL", len(got))
		}
	})
	s := &sink{t: t, refuse: map[uint64]unix.Errno{}}
	sock.Handle(s.take)
	return m.Writer(), sock, s
}

// Rules: one call sends all frames, through blocks with gaps and round the ring; sent frames become
// UNUSED.
func TestKick(t *testing.T) {
	for _, memfd := range []bool{false, true} {
		w, _, s := newTX(t, ringtest.Config{Memfd: memfd}, gapped)
		for round := range uint64(5) {
			for i := range uint64(4) {
				send(t, w, message(w.Room()-int(i)*1000, 10*round+i))
			}
			if n, err := w.Kick(); n != 4 || err != nil {
				t.Fatalf("Kick = %d, %v", n, err)
			}
			s.want(10*round, 10*round+1, 10*round+2, 10*round+3)
		}
		if n, err := w.Kick(); n != 0 || err != nil {
			t.Errorf("Kick of nothing = %d, %v", n, err)
		}
		if c := w.Counters(); c != (WriterCounters{Sent: 20}) {
			t.Errorf("counters %+v", c)
		}
	}
}

// The other words of the header become 0.
func TestCommitHeader(t *testing.T) {
	w, sock, _ := newTX(t, ringtest.Config{TX: ringtest.TXBroken}, small)
	send(t, w, message(100, 1))
	if h := sock.TX(0); h != (ringtest.Header{Status: uint32(Valid), Len: 100}) {
		t.Errorf("header %+v", h)
	}
}

// Rule: a message larger than the room would block the head permanently, and one of length 0 is not
// a message: neither is put on the ring.
func TestCommitSize(t *testing.T) {
	w, sock, s := newTX(t, ringtest.Config{}, small)
	for _, n := range []int{-1, 0, w.Room() + 1, 1 << 40} {
		if _, err := w.Reserve(); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(n); !errors.Is(err, ErrTooLarge) {
			t.Errorf("Commit(%d) = %v", n, err)
		}
		if err := w.Commit(10); !errors.Is(err, ErrNotReserved) {
			t.Errorf("Commit without Reserve = %v", err)
		}
	}
	if got := Status(sock.TX(0).Status); got != Unused {
		t.Errorf("frame is %v", got)
	}
	send(t, w, message(w.Room(), 3))
	if n, err := w.Kick(); n != 1 || err != nil {
		t.Errorf("Kick = %d, %v", n, err)
	}
	s.want(3)
}

// Rule: POLLOUT does not imply a free frame; the status does.
func TestWriterFull(t *testing.T) {
	w, _, s := newTX(t, ringtest.Config{}, small)
	for i := range uint64(16) {
		send(t, w, message(64, i))
	}
	if _, err := w.Reserve(); !errors.Is(err, ErrFull) {
		t.Fatalf("Reserve on a full ring: %v", err)
	}
	if n, err := w.Kick(); n != 16 || err != nil {
		t.Fatalf("Kick = %d, %v", n, err)
	}
	s.want(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
	send(t, w, message(64, 16))
	if c := w.Counters(); c.Full != 1 || w.pending != 1 {
		t.Errorf("counters %+v, pending %d", c, w.pending)
	}
}

// Rule (3.16): the kernel sends from the frame itself, which is RESERVED meanwhile: it is sent, but
// not free.
func TestWriterInPlaceKernel(t *testing.T) {
	w, sock, s := newTX(t, ringtest.Config{TX: ringtest.TXInPlace}, Geometry{2048, 4096, 1})
	send(t, w, message(64, 1))
	send(t, w, message(64, 2))
	if n, err := w.Kick(); n != 2 || err != nil {
		t.Fatalf("Kick = %d, %v", n, err)
	}
	s.want(1, 2)
	if _, err := w.Reserve(); !errors.Is(err, ErrFull) {
		t.Fatalf("Reserve of a frame in work: %v", err)
	}
	sock.FinishTX()
	send(t, w, message(64, 3))
}

// Rule (4.1): the call returns 0 and the frame stays VALID. This is detected, the messages are
// taken back so that they are never sent, and the ring is closed.
func TestWriterBrokenKernel(t *testing.T) {
	w, sock, s := newTX(t, ringtest.Config{TX: ringtest.TXBroken}, small)
	send(t, w, message(64, 1))
	send(t, w, message(64, 2))
	for range 2 {
		if n, err := w.Kick(); n != 0 || !errors.Is(err, ErrBroken) {
			t.Fatalf("Kick = %d, %v", n, err)
		}
	}
	for i := range 2 {
		if got := Status(sock.TX(i).Status); got != Unused {
			t.Errorf("frame %d is %v", i, got)
		}
	}
	if _, err := w.Reserve(); !errors.Is(err, ErrBroken) {
		t.Errorf("Reserve: %v", err)
	}
	s.want()
	if c := w.Counters(); c != (WriterCounters{TakenBack: 2}) {
		t.Errorf("counters %+v", c)
	}
}

// Rule: a kernel error consumes that frame; later ones stay VALID: call again.
func TestWriterRefusedMessage(t *testing.T) {
	w, sock, s := newTX(t, ringtest.Config{}, small)
	s.refuse[2] = unix.ECONNREFUSED
	s.refuse[4] = unix.EPERM
	for i := range uint64(4) {
		send(t, w, message(64, i+1))
	}
	n, err := w.Kick()
	var fe *FrameError
	if n != 2 || !errors.As(err, &fe) || !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatalf("Kick = %d, %v", n, err)
	}
	if got := Status(sock.TX(2).Status); got != Valid || w.pending != 2 {
		t.Fatalf("third frame is %v, %d pending", got, w.pending)
	}
	if n, err := w.Kick(); n != 2 || !errors.As(err, &fe) || !errors.Is(err, unix.EPERM) {
		t.Fatalf("second Kick = %d, %v", n, err)
	}
	s.want(1, 3)
	if c := w.Counters(); c != (WriterCounters{Sent: 2, Refused: 2}) {
		t.Errorf("counters %+v", c)
	}
}

// Rule: some errors leave the frame. The messages are taken back, and the next one goes into the
// frame that the kernel reads next: a gap would stop it.
func TestWriterTakeBack(t *testing.T) {
	w, sock, s := newTX(t, ringtest.Config{}, small)
	for i := range uint64(5) {
		send(t, w, message(64, i))
	}
	// The allocation for the third frame fails after two were sent: Kick continues.
	sock.FailAllocation(3)
	if n, err := w.Kick(); n != 5 || err != nil {
		t.Fatalf("Kick = %d, %v", n, err)
	}
	s.want(0, 1, 2, 3, 4)

	sock.FailSend(unix.ENOBUFS)
	for i := range uint64(3) {
		send(t, w, message(64, 10+i))
	}
	var oe *OpError
	if n, err := w.Kick(); n != 0 || !errors.As(err, &oe) || !errors.Is(err, unix.ENOBUFS) {
		t.Fatalf("Kick = %d, %v", n, err)
	}
	send(t, w, message(64, 20))
	if n, err := w.Kick(); n != 1 || err != nil {
		t.Fatalf("Kick = %d, %v", n, err)
	}
	s.want(20)
	if c := w.Counters(); c != (WriterCounters{Sent: 6, TakenBack: 3}) {
		t.Errorf("counters %+v", c)
	}
}

// Rule: Go's signals interrupt raw system calls: EINTR is retried.
func TestKickEINTR(t *testing.T) {
	w, sock, s := newTX(t, ringtest.Config{}, small)
	send(t, w, message(64, 9))
	sock.FailSend(unix.EINTR, unix.EINTR)
	if n, err := w.Kick(); n != 1 || err != nil {
		t.Fatalf("Kick = %d, %v", n, err)
	}
	s.want(9)
}

// Writing in place does not allocate. A stub replaces the emulated kernel.
func TestWriterAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	k, fd, _ := newSocket(t, ringtest.Config{})
	sys := &taker{Kernel: k}
	m, err := Map(fd, Config{TX: small, Syscalls: sys})
	if err != nil {
		t.Fatal(err)
	}
	sys.w = m.Writer()
	msg := message(200, 1)
	if n := testing.AllocsPerRun(1000, func() {
		room, _ := sys.w.Reserve()
		_ = sys.w.Commit(copy(room, msg))
		if n, err := sys.w.Kick(); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per message", n)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// taker frees the sent frame without reading it.
type taker struct {
	*ringtest.Kernel
	w *Writer
}

func (k *taker) Sendmsg(int, *unix.Msghdr, int) (int, error) {
	k.w.ring.setStatus(k.w.tail, Unused)
	return 200, nil
}
