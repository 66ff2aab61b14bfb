package epoll

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrClosed is returned by operations on a closed Poller. It matches
// os.ErrClosed.
var ErrClosed = fmt.Errorf("epoll: %w", os.ErrClosed)

// wakeMark is the upper half of the eventfd's epoll data; a descriptor has its id in the lower half
// and 0 in the upper half.
const wakeMark = 1

// Event is a descriptor that is ready.
type Event struct {
	ID  uint32 // as given to Add
	Err bool   // the descriptor has a pending error (EPOLLERR)
}

// Poller waits for events of the descriptors added to it.
type Poller struct {
	// waiting is held during Wait. It is taken before mu.
	waiting sync.Mutex
	raw     []unix.EpollEvent

	// mu guards the descriptors below against Close.
	mu     sync.RWMutex
	closed bool
	epfd   int
	wakefd int
}

// New returns a Poller without descriptors.
func New() (*Poller, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll create: %w", err)
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("epoll eventfd: %w", err)
	}
	p := &Poller{epfd: epfd, wakefd: wakefd}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Pad: wakeMark}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, wakefd, &ev); err != nil {
		unix.Close(wakefd)
		unix.Close(epfd)
		return nil, fmt.Errorf("epoll add eventfd: %w", err)
	}
	return p, nil
}

// Add adds fd, until Remove or until it is closed. Its events have the given id.
func (p *Poller) Add(fd int, id uint32) error {
	return p.control("add", unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(id)})
}

// AddEdge is Add with edge-triggered events (EPOLLET): one if fd is ready when it is added,
// then one for each wake-up in the kernel, and none for unread data. A wake-up while no Wait
// runs is an event of the next Wait. The caller must therefore check for data before each Wait.
// For a memory-mapped netlink ring this avoids the poll after each level-triggered event, which
// scans the whole ring.
func (p *Poller) AddEdge(fd int, id uint32) error {
	return p.control("add", unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(id)})
}

// Remove removes fd, which must still be open. It does not affect events that Wait has
// returned.
func (p *Poller) Remove(fd int) error {
	return p.control("remove", unix.EPOLL_CTL_DEL, fd, nil)
}

func (p *Poller) control(name string, op, fd int, ev *unix.EpollEvent) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return ErrClosed
	}
	if err := unix.EpollCtl(p.epfd, op, fd, ev); err != nil {
		return fmt.Errorf("epoll %s descriptor %d: %w", name, fd, err)
	}
	return nil
}

// Brief is the longest timeout for which Wait keeps Go's processor: it does not announce the
// sleep to the scheduler. A thread that announces it loses its processor after about 20 us and
// must get one back when it wakes, and both wake the runtime's monitor. A thread that does not
// announce it delays other goroutines, and a garbage collection, until it is preempted by a
// signal. Use it for a thread that expects to be woken soon, where a processor is to spare.
const Brief = 2 * time.Millisecond

const briefMS = int(Brief / time.Millisecond)

// afterInterrupt is the pause after a signal interrupts a long wait. Signals are rare; most
// often the process continues after it was stopped. Another signal may then end it, such as the
// service manager's, and work that the waiter began before the runtime handles that signal
// would be lost.
const afterInterrupt = 10 * time.Millisecond

// Wait waits until a descriptor is ready, Wake was called or the timeout has passed (rounded up
// to milliseconds; negative: no timeout), and fills events, which must not be empty. See Brief
// for short timeouts. It returns the number of events: 0 after the timeout or after Wake alone,
// and ErrClosed once the Poller is closed. It allocates only when events is longer than before.
func (p *Poller) Wait(events []Event, timeout time.Duration) (int, error) {
	if len(events) == 0 {
		return 0, fmt.Errorf("epoll wait: no room for events: %w", unix.EINVAL)
	}
	p.waiting.Lock()
	defer p.waiting.Unlock()
	p.mu.RLock()
	closed := p.closed
	p.mu.RUnlock()
	if closed {
		return 0, ErrClosed
	}
	if len(p.raw) < len(events) {
		p.raw = make([]unix.EpollEvent, len(events))
	}
	n, err := p.wait(p.raw[:len(events)], timeout)
	if err != nil {
		return 0, fmt.Errorf("epoll wait: %w", err)
	}
	return p.collect(events, p.raw[:n])
}

// wait is epoll_wait that retries EINTR with the time that remains.
func (p *Poller) wait(raw []unix.EpollEvent, timeout time.Duration) (int, error) {
	ms, deadline := -1, time.Time{}
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	for {
		if timeout >= 0 {
			ms = milliseconds(timeout)
		}
		n, err := epollWait(p.epfd, raw, ms)
		if err == nil && (n > 0 || timeout <= 0) {
			return n, nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return 0, err
		}
		if err != nil && (ms < 0 || ms > briefMS) {
			time.Sleep(afterInterrupt)
		}
		if timeout > 0 {
			if timeout = time.Until(deadline); timeout <= 0 {
				return 0, nil
			}
		}
	}
}

// epollWait is epoll_wait, without an announcement to Go's scheduler if it is brief.
//
// The events' address is converted to uintptr in the argument list of the call,
// which keeps them in place until it returns (unsafe.Pointer, rule 4).
func epollWait(epfd int, raw []unix.EpollEvent, ms int) (int, error) {
	if ms < 0 || ms > briefMS {
		return unix.EpollWait(epfd, raw, ms)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(&raw[0])),
		uintptr(len(raw)), uintptr(ms), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// milliseconds rounds up, so that a short timeout does not become a busy loop.
func milliseconds(d time.Duration) int {
	ms := d / time.Millisecond
	if d%time.Millisecond != 0 {
		ms++
	}
	return int(min(ms, math.MaxInt32))
}

// collect converts the kernel's events and removes the wake-up.
func (p *Poller) collect(events []Event, raw []unix.EpollEvent) (int, error) {
	n := 0
	for i := range raw {
		ev := &raw[i]
		if ev.Pad == wakeMark {
			p.mu.RLock()
			closed := p.closed
			p.mu.RUnlock()
			if closed {
				return 0, ErrClosed
			}
			if err := p.drain(); err != nil {
				return 0, err
			}
			continue
		}
		events[n] = Event{ID: uint32(ev.Fd), Err: ev.Events&unix.EPOLLERR != 0}
		n++
	}
	return n, nil
}

// drain resets the eventfd. Only Wait reads it.
func (p *Poller) drain() error {
	var count [8]byte
	for {
		_, err := unix.Read(p.wakefd, count[:])
		switch {
		case err == nil || errors.Is(err, unix.EAGAIN):
			return nil
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("epoll wake-up: %w", err)
		}
	}
}

// Wake makes the running Wait return, or else the next one. Several calls before that count as
// one.
func (p *Poller) Wake() error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return ErrClosed
	}
	return p.signal()
}

func (p *Poller) signal() error {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	for {
		_, err := unix.Write(p.wakefd, one[:])
		switch {
		case err == nil || errors.Is(err, unix.EAGAIN):
			// EAGAIN: the counter is at its maximum, which wakes as well.
			return nil
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("epoll wake-up: %w", err)
		}
	}
}

// Close ends a running Wait, waits for it to return, and closes the epoll
// instance. It is idempotent.
func (p *Poller) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		// Another Close may still be waiting for the waiter.
		p.waiting.Lock()
		defer p.waiting.Unlock()
		return nil
	}
	p.closed = true
	err := p.signal()
	p.mu.Unlock()
	if err != nil {
		return err
	}
	p.waiting.Lock()
	defer p.waiting.Unlock()
	return errors.Join(unix.Close(p.wakefd), unix.Close(p.epfd))
}
