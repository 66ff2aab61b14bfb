package mmapring

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"dpifd/internal/mmapring/ringtest"
)

// Rules: COPY requires exactly one successful recv; ring and queue stay in order with VALID frames
// in between; the data arrives whole. The size estimate decides, not the size.
func TestCopy(t *testing.T) {
	const overhead = 540
	o, sock := newRX(t, ringtest.Config{Overhead: overhead}, small)
	fits := int(small.Room()) - overhead
	deliver(t, sock, 0, fits, fits+1, 60000, 100, 9000)
	if got, want := statuses(sock, 5), []Status{Valid, Copy, Copy, Valid, Copy}; !slices.Equal(got, want) {
		t.Fatalf("statuses %v, want %v", got, want)
	}
	o.want(t, 0, Message)
	o.want(t, 1, Queued)
	if sock.Queued() != 2 {
		t.Errorf("%d messages queued after one recv, want 2", sock.Queued())
	}
	o.want(t, 2, Queued)
	o.want(t, 3, Message)
	o.want(t, 4, Queued)
	o.r.Release(5)
	if got := statuses(sock, 5); !slices.Equal(got, make([]Status, 5)) {
		t.Errorf("statuses %v", got)
	}
	if c := o.r.Counters(); c != (ReaderCounters{Valid: 2, Copied: 3}) {
		t.Errorf("counters %+v", c)
	}
}

// Rule: releasing a COPY frame without the recv desynchronises ring and queue: after a failed recv
// the frame is returned again, and Copied has no effect without a returned frame.
func TestCopyFailedRecv(t *testing.T) {
	o, sock := newRX(t, ringtest.Config{}, small)
	if o.r.Copied() {
		t.Error("Copied without a Queued frame")
	}
	deliver(t, sock, 0, 5000, 100)
	for range 3 {
		if _, outcome := o.r.Read(); outcome != Queued {
			t.Fatalf("outcome %d", outcome)
		}
		o.r.Release(10)
		if got := statuses(sock, 2); got[0] != Copy {
			t.Fatalf("statuses %v", got)
		}
	}
	sock.FailRecv(unix.EINTR, unix.ENOBUFS, unix.EINTR)
	o.want(t, 0, Queued)
	if o.r.Copied() {
		t.Error("Copied twice for one frame")
	}
	o.want(t, 1, Message)
	if c := o.r.Counters(); c != (ReaderCounters{Valid: 1, Copied: 1, Overruns: 1}) {
		t.Errorf("counters %+v", c)
	}
}

// A COPY frame that is not from the kernel is received, to keep ring and queue in step, and
// dropped.
func TestCopyForeign(t *testing.T) {
	o, sock := newRX(t, ringtest.Config{}, small)
	deliver(t, sock, 0, 5000, 6000)
	sock.SetRX(0, ringtest.Header{Status: uint32(Copy), PID: 99})
	o.want(t, 1, Queued)
	if c := o.r.Counters(); c.Foreign != 1 || sock.Queued() != 0 {
		t.Errorf("counters %+v, %d queued", c, sock.Queued())
	}
}

// Rules: a full ring loses new upcalls and raises ENOBUFS once per congestion; poll shows ERR until
// SO_ERROR is read, even after frames are released; VALID delivery resumes as soon as the head
// frame is UNUSED.
func TestOverrun(t *testing.T) {
	for _, v := range []ringtest.Version{ringtest.V41, ringtest.V44} {
		o, sock := newRX(t, ringtest.Config{Version: v}, small)
		for i := range uint64(16) {
			deliver(t, sock, i, 64)
		}
		for range 3 {
			if err := sock.Deliver(message(64, 99)); err != unix.ENOBUFS {
				t.Fatalf("deliver into a full ring: %v", err)
			}
		}
		if got := o.poll(t); got&(unix.POLLIN|unix.POLLERR) != unix.POLLIN|unix.POLLERR {
			t.Errorf("poll %#x, want IN and ERR", got)
		}
		for i := range uint64(8) {
			o.want(t, i, Message)
		}
		o.wantNone(t, Limit)
		o.r.Release(8)
		if o.poll(t)&unix.POLLERR == 0 {
			t.Error("ERR was cleared without SO_ERROR")
		}
		// VALID again, while the error is still set.
		deliver(t, sock, 19, 64)
		if errno, err := o.sys.SoError(o.fd); errno != unix.ENOBUFS || err != nil {
			t.Errorf("SO_ERROR %v, %v", errno, err)
		}
		o.r.CountOverrun()
		if o.poll(t)&unix.POLLERR != 0 {
			t.Error("ERR after SO_ERROR")
		}
		for i := uint64(8); i < 16; i++ {
			o.want(t, i, Message)
		}
		o.r.Release(8)
		o.want(t, 19, Message)
		o.r.Release(1)
		st := sock.Stats()
		if st.Overruns != 1 || st.Lost != 3 || o.r.Counters().Overruns != 1 {
			t.Errorf("kernel %+v, reader %+v", st, o.r.Counters())
		}
	}
}

// Rule: after an overrun COPY is blocked until a poll with an empty queue, or a recv; VALID
// continues meanwhile. The first recv after an overrun returns ENOBUFS, the second the data.
func TestCopyAfterOverrun(t *testing.T) {
	o, sock := newRX(t, ringtest.Config{}, small)
	deliver(t, sock, 0, 5000)
	for i := uint64(1); i < 16; i++ {
		deliver(t, sock, i, 64)
	}
	deliver(t, sock, 16, 5000) // the ring is full: lost without an error to the sender
	if st := sock.Stats(); st.CopyLost != 1 || st.Lost != 0 || st.Drops != 1 {
		t.Fatalf("kernel %+v", st)
	}
	o.want(t, 0, Queued) // after ENOBUFS
	if c := o.r.Counters(); c.Overruns != 1 {
		t.Errorf("counters %+v", c)
	}
	// That recv has cleared the congestion. Cause another, with an empty queue.
	if err := sock.Deliver(message(64, 17)); err != unix.ENOBUFS {
		t.Fatalf("deliver into a full ring: %v", err)
	}
	o.r.Release(1)
	if err := sock.Deliver(message(5000, 18)); err != unix.EAGAIN {
		t.Fatalf("COPY during congestion: %v", err)
	}
	deliver(t, sock, 19, 64)
	o.poll(t)
	for i := uint64(1); i < 9; i++ {
		o.want(t, i, Message)
	}
	o.r.Release(8)
	deliver(t, sock, 20, 5000)
	for i := uint64(9); i < 16; i++ {
		o.want(t, i, Message)
		o.r.Release(1)
	}
	o.want(t, 19, Message)
	o.want(t, 20, Queued)
}
