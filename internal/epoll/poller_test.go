package epoll

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newPoller(t *testing.T) *Poller {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// pipe returns the ends of a pipe: writing to w makes r readable.
func pipe(t *testing.T) (r, w int) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

func write(t *testing.T, fd int) {
	t.Helper()
	if _, err := unix.Write(fd, []byte{1}); err != nil {
		t.Fatal(err)
	}
}

func add(t *testing.T, p *Poller, fd int, id uint32) {
	t.Helper()
	if err := p.Add(fd, id); err != nil {
		t.Fatal(err)
	}
}

// wait returns the events that are pending now.
func wait(t *testing.T, p *Poller, room int) []Event {
	t.Helper()
	events := make([]Event, room)
	n, err := p.Wait(events, 0)
	if err != nil {
		t.Fatal(err)
	}
	return events[:n]
}

func TestEvents(t *testing.T) {
	p := newPoller(t)
	const silent, readable, hungUp, failed = 0, 0xffffffff, 1 << 31, 7
	r0, _ := pipe(t)
	add(t, p, r0, silent)
	if got := wait(t, p, 8); len(got) != 0 {
		t.Fatalf("events %v before anything happened", got)
	}
	r1, w1 := pipe(t)
	add(t, p, r1, readable)
	write(t, w1)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	add(t, p, fds[0], hungUp)
	unix.Close(fds[1])
	// The write end of a pipe without readers has an error event.
	r2, w2 := pipe(t)
	add(t, p, w2, failed)
	if err := unix.Close(r2); err != nil {
		t.Fatal(err)
	}
	want := []Event{
		{ID: failed, Err: true},
		{ID: hungUp},
		{ID: readable},
	}
	// Twice, because descriptors are level-triggered.
	for range 2 {
		got := wait(t, p, 8)
		slices.SortFunc(got, func(a, b Event) int { return int(int64(a.ID) - int64(b.ID)) })
		if !slices.Equal(got, want) {
			t.Errorf("events %+v, want %+v", got, want)
		}
	}
	for _, fd := range []int{r1, fds[0], w2} {
		if err := p.Remove(fd); err != nil {
			t.Error(err)
		}
	}
	if got := wait(t, p, 8); len(got) != 0 {
		t.Errorf("events %v after Remove", got)
	}
}

// TestLittleRoom: with less room than ready descriptors, each is returned in turn.
func TestLittleRoom(t *testing.T) {
	p := newPoller(t)
	const n = 5
	for id := range uint32(n) {
		r, w := pipe(t)
		add(t, p, r, id)
		write(t, w)
	}
	if err := p.Wake(); err != nil {
		t.Fatal(err)
	}
	seen := map[uint32]int{}
	for range 3 * (n + 1) {
		for _, ev := range wait(t, p, 1) {
			seen[ev.ID]++
		}
	}
	for id := range uint32(n) {
		if seen[id] < 2 {
			t.Errorf("descriptor %d seen %d times", id, seen[id])
		}
	}
}

func TestWake(t *testing.T) {
	p := newPoller(t)
	events := make([]Event, 4)
	// Twice before the wait, which counts once.
	for range 2 {
		if err := p.Wake(); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := p.Wait(events, -1); n != 0 || err != nil {
		t.Errorf("woken before: %d events, %v", n, err)
	}
	// It is consumed; otherwise each later wait would return at once.
	fds := []unix.PollFd{{Fd: int32(p.wakefd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 0); n != 0 || err != nil {
		t.Errorf("the wake-up is still pending: %d, %v", n, err)
	}
	r, w := pipe(t)
	add(t, p, r, 3)
	write(t, w)
	if n, err := p.Wait(events, -1); n != 1 || err != nil || events[0].ID != 3 {
		t.Errorf("%d events %v, %v; want descriptor 3", n, events[:n], err)
	}
	if err := p.Remove(r); err != nil {
		t.Fatal(err)
	}
	// During the wait, from other goroutines.
	for range 100 {
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := p.Wake(); err != nil {
				t.Error(err)
			}
		})
		if n, err := p.Wait(events, -1); n != 0 || err != nil {
			t.Errorf("woken: %d events, %v", n, err)
		}
		wg.Wait()
	}
}

// TestWaitIsNotInterrupted: signals do not end a wait, only a wake-up or the timeout does.
func TestWaitIsNotInterrupted(t *testing.T) {
	for _, timeout := range []time.Duration{-1, time.Hour, 30 * time.Millisecond} {
		p := newPoller(t)
		tid, stop := make(chan int), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			to := <-tid
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				// The Go runtime uses this signal for preemption; its handler ignores others.
				if err := unix.Tgkill(os.Getpid(), to, unix.SIGURG); err != nil {
					t.Error(err)
				}
				if i == 200 && timeout != 30*time.Millisecond {
					if err := p.Wake(); err != nil {
						t.Error(err)
					}
				}
				runtime.Gosched()
			}
		})
		runtime.LockOSThread()
		tid <- unix.Gettid()
		n, err := p.Wait(make([]Event, 1), timeout)
		runtime.UnlockOSThread()
		close(stop)
		wg.Wait()
		if n != 0 || err != nil {
			t.Errorf("timeout %v: %d events, %v", timeout, n, err)
		}
	}
}

func TestMilliseconds(t *testing.T) {
	for d, want := range map[time.Duration]int{
		0:                            0,
		1:                            1,
		time.Millisecond:             1,
		time.Millisecond + 1:         2,
		1500 * time.Microsecond:      2,
		time.Hour:                    3600_000,
		100 * 24 * time.Hour:         1<<31 - 1,
		time.Duration(1<<63 - 1 - 5): 1<<31 - 1,
	} {
		if got := milliseconds(d); got != want {
			t.Errorf("%v: %d ms, want %d", d, got, want)
		}
	}
}

func TestClose(t *testing.T) {
	// The Go runtime opens its own epoll instance when it first needs one.
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pr.Close()
	defer pw.Close()
	before := openFDs(t)
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	r, _ := pipe(t)
	add(t, p, r, 1)
	waits := make(chan error)
	go func() {
		_, err := p.Wait(make([]Event, 2), -1)
		waits <- err
	}()
	// Close during the wait, as far as the test can tell.
	for p.waiting.TryLock() {
		p.waiting.Unlock()
		runtime.Gosched()
	}
	for range 1000 {
		runtime.Gosched()
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if err := <-waits; !errors.Is(err, ErrClosed) || !errors.Is(err, os.ErrClosed) {
		t.Errorf("Wait: %v, want ErrClosed", err)
	}
	wg.Wait()
	for name, err := range map[string]error{
		"Add":    p.Add(r, 1),
		"Remove": p.Remove(r),
		"Wake":   p.Wake(),
		"Wait":   func() error { _, err := p.Wait(make([]Event, 1), -1); return err }(),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
	if after := openFDs(t); after != before+2 {
		t.Errorf("%d descriptors, want the pipe's above %d", after, before)
	}
}

func openFDs(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

func TestErrors(t *testing.T) {
	p := newPoller(t)
	r, _ := pipe(t)
	add(t, p, r, 1)
	if err := p.Add(r, 2); !errors.Is(err, unix.EEXIST) {
		t.Errorf("added twice: %v, want EEXIST", err)
	}
	if err := p.Remove(r); err != nil {
		t.Error(err)
	}
	if err := p.Remove(r); !errors.Is(err, unix.ENOENT) {
		t.Errorf("removed twice: %v, want ENOENT", err)
	}
	if err := p.Add(-1, 1); !errors.Is(err, unix.EBADF) {
		t.Errorf("no descriptor: %v, want EBADF", err)
	}
	if _, err := p.Wait(nil, 0); !errors.Is(err, unix.EINVAL) {
		t.Errorf("no room: %v, want EINVAL", err)
	}
}

func TestWaitDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	p := newPoller(t)
	r, w := pipe(t)
	add(t, p, r, 1)
	write(t, w)
	events := make([]Event, 8)
	got := 0
	allocs := testing.AllocsPerRun(100, func() {
		if err := p.Wake(); err != nil {
			t.Fatal(err)
		}
		n, err := p.Wait(events, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		got += n
	})
	if allocs != 0 || got == 0 {
		t.Errorf("%v allocations for a Wait, %d events", allocs, got)
	}
}

func BenchmarkWait(b *testing.B) {
	p, err := New()
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	efd, err := unix.Eventfd(1, unix.EFD_CLOEXEC)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(efd)
	if err := p.Add(efd, 1); err != nil {
		b.Fatal(err)
	}
	events := make([]Event, 8)
	b.ReportAllocs()
	for b.Loop() {
		if n, err := p.Wait(events, -1); n != 1 || err != nil {
			b.Fatal(n, err)
		}
	}
}

// TestBriefWaitsLetCollect: garbage collection proceeds while threads make short waits one after
// the other on all of Go's processors.
func TestBriefWaitsLetCollect(t *testing.T) {
	var stop atomic.Bool
	var waiters sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		p := newPoller(t)
		waiters.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			events := make([]Event, 1)
			for !stop.Load() {
				if n, err := p.Wait(events, Brief); n != 0 || err != nil {
					t.Errorf("%d events, %v", n, err)
					return
				}
			}
		})
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		runtime.GC()
	}
	runtime.ReadMemStats(&after)
	stop.Store(true)
	waiters.Wait()
	if after.NumGC < before.NumGC+10 {
		t.Errorf("%d collections, want 10", after.NumGC-before.NumGC)
	}
}
