package vswitch

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/epoll"
	"dpifd/internal/event"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/revalidator"

	"golang.org/x/sys/unix"
)

const (
	// ringRescan bounds the sleep of a handler that owns rings: aborted messages
	// come without a wake-up, and a ring that was full takes no COPY frames before
	// it is polled.
	ringRescan = time.Second
	// ringPasses is how often in a row rings may keep a handler from asking
	// epoll, mixedPasses the same for one that owns sockets without ring too.
	ringPasses, mixedPasses = 64, 4
	// After unluckyGuesses wrong ones in a row, one chance in guessInterval to guess
	// is taken.
	unluckyGuesses, guessInterval = 4, 16
	// minBackoff and maxBackoff bound the pause after a wake-up that brought
	// nothing. After maxFruitless of these in a row a handler that is to stop does
	// not wait any longer for what is in its sockets.
	minBackoff, maxBackoff = 20 * time.Microsecond, 2 * time.Millisecond
	maxFruitless           = 16

	// batchSize is the number of upcalls received, decided and answered
	// together (UPCALL_MAX_BATCH of Open vSwitch's ofproto-dpif-upcall.c).
	batchSize = 64
	// sharedPass is the number that a handler of several vports takes in one
	// pass: a vport that has just become ready waits for no more. A quarter of a
	// batch costs a few per cent of throughput, in system calls, and a quarter
	// of the time that the first packet of another port's flow waits.
	sharedPass = batchSize / 4
	// shedBatches bounds the further batches that one pass takes from the ring of a port
	// over its limit. A batch that is shed takes a few microseconds.
	shedBatches = 16
	// minQuota is what each of many ready vports may still send in one pass.
	minQuota = 4
)

// Tracer is told of each upcall and what was decided. It runs on the
// handler's thread and must not keep what it is given.
type Tracer func(port string, u *dpif.Upcall, v *policy.Verdict)

// poller is what a handler asks of an epoll.Poller. Tests put the epoll of an
// emulated kernel in its place.
type poller interface {
	Add(fd int, id uint32) error
	AddEdge(fd int, id uint32) error
	Remove(fd int) error
	Wait(events []epoll.Event, timeout time.Duration) (int, error)
	Wake() error
	Close() error
}

// Handler receives, decides and answers the upcalls of the vports it owns. It
// is one goroutine on one locked OS thread.
type Handler struct {
	id     int
	poller poller
	dp     *dpif.Datapath
	policy policy.Policy
	notify event.Sink
	sends  netlink.Transport // how requests are sent
	denied error             // why it was not to have a TX ring, nil if it was
	budget *revalidator.Budget
	hasher *odp.MaskedHasher
	trace  *atomic.Pointer[Tracer]

	in      *netlink.Batch
	owner   [batchSize]*channel // who a datagram of the batch came for
	out     *dpif.Batch
	ops     []request             // what each request of out is
	put     [2 * batchSize]uint64 // hashes of the UFIDs of the batch\'s flows
	nPut    int
	putBits [4]uint64 // a bit for the hash of each
	l2Key   odp.L2Key // of a flow
	upcall  dpif.Upcall
	verdict policy.Verdict
	primer  *primer        // nil if no flow is put before its packets
	reverse policy.Verdict // of the packets that answer the upcall
	events  [batchSize]epoll.Event
	slots   []*channel // by id of their epoll events
	rings   []*channel // those that have a ring
	owned   int
	ready   []*channel // of the pass under way
	busy    []*channel // of these, ports that had upcalls
	worked  bool       // a pass since the last sleep brought upcalls
	guessed bool       // the pass under way began without asking epoll, see guess
	unlucky int        // chances to guess since a guess was right

	rescan    time.Duration // bound of the sleep where there are rings
	unpolled  int           // passes since epoll was asked
	fruitless int           // passes in a row over vports that brought nothing
	called    atomic.Bool   // pending or stopping was set

	shared *channel // with the socket that takes upcalls of all ports under per-CPU dispatch, else nil
	table  *atomic.Pointer[portTable]

	failed func(i int, errno unix.Errno)

	mu       sync.Mutex
	pending  []func() // to be run by the handler's goroutine
	stopping bool
	finished bool

	rounds              atomic.Uint64
	polls               atomic.Uint64 // times that epoll was asked
	batches, sendErrors atomic.Uint64
	batchTime, longest  atomic.Int64 // time spent on batches in ns: on all, and on one since LongestBatch
	lastRefusal         atomic.Int32 // errno of the last refused request
}

// request says what a request of a batch was, for when the kernel refuses it.
type request struct {
	ch   *channel
	kind requestKind
}

type requestKind uint8

const (
	requestFlow requestKind = iota
	requestExecute
)

func newHandler(id int, dp *dpif.Datapath, cfg *Config, budget *revalidator.Budget, hasher *odp.MaskedHasher, trace *atomic.Pointer[Tracer]) (*Handler, error) {
	poller, err := epoll.New()
	if err != nil {
		return nil, fmt.Errorf("handler %d: %w", id, err)
	}
	in, err := netlink.NewBatch(batchSize)
	if err != nil {
		poller.Close()
		return nil, fmt.Errorf("handler %d: %w", id, err)
	}
	h := &Handler{id: id, poller: poller, dp: dp, policy: cfg.Policy, notify: cfg.Notify, budget: budget, hasher: hasher,
		trace: trace, in: in, out: dp.NewBatch(), sends: dp.Conn().Transport(), rescan: ringRescan}
	h.failed = h.requestFailed
	return h, nil
}

// run serves the handler's vports until stop is called.
func (h *Handler) run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer h.finish()
	for {
		if err := h.wait(); err != nil {
			return fmt.Errorf("handler %d: %w", h.id, err)
		}
		if h.runPending() && (len(h.ready) == 0 || h.fruitless == maxFruitless) {
			return nil
		}
		h.pass()
		h.rounds.Add(1)
	}
}

// do has fn run by the handler's goroutine between two passes, and waits for
// it. After the handler has ended fn runs at once.
func (h *Handler) do(fn func()) {
	done := make(chan struct{})
	h.mu.Lock()
	if h.finished {
		h.mu.Unlock()
		fn()
		return
	}
	h.pending = append(h.pending, func() { fn(); close(done) })
	h.mu.Unlock()
	h.called.Store(true)
	// A failed wake-up leaves nothing to wait for but the next event; an
	// eventfd write fails only when it is closed, that is after finish.
	_ = h.poller.Wake()
	<-done
}

// stop ends the handler once its sockets are empty.
func (h *Handler) stop() {
	h.mu.Lock()
	h.stopping = true
	h.mu.Unlock()
	h.called.Store(true)
	_ = h.poller.Wake()
}

// runPending runs what do left, and reports whether the handler is to stop.
func (h *Handler) runPending() bool {
	if !h.called.Swap(false) {
		return false
	}
	h.mu.Lock()
	fns, stopping := h.pending, h.stopping
	h.pending = nil
	h.mu.Unlock()
	for _, fn := range fns {
		fn()
	}
	if stopping {
		// Keep wait from sleeping: pass after pass until nothing is ready.
		h.called.Store(true)
		_ = h.poller.Wake()
	}
	return stopping
}

// finish releases what the handler owns. It is idempotent.
func (h *Handler) finish() {
	h.mu.Lock()
	fns, finished := h.pending, h.finished
	h.pending, h.finished = nil, true
	h.mu.Unlock()
	if finished {
		return
	}
	for _, fn := range fns {
		fn()
	}
	for _, ch := range h.slots {
		if ch != nil {
			ch.finalCounters() // reads the socket's drops while it can
			ch.sock.Close()
		}
	}
	h.poller.Close()
	h.in.Close()
	h.dp.Conn().Close()
}

// attach makes the handler the owner of ch. It runs on the handler's
// goroutine.
func (h *Handler) attach(ch *channel) error {
	slot := slices.Index(h.slots, nil)
	if slot < 0 {
		slot = len(h.slots)
		h.slots = append(h.slots, nil)
	}
	ch.slot = uint32(slot)
	add := h.poller.Add
	if ch.sock.Transport() == netlink.Ring {
		add = h.poller.AddEdge // wait looks at the heads of rings before it sleeps
	}
	if err := add(ch.sock.FD(), ch.slot); err != nil {
		return fmt.Errorf("handler %d: %w", h.id, err)
	}
	h.slots[slot] = ch
	h.owned++
	if ch.sock.Transport() == netlink.Ring {
		h.rings = append(h.rings, ch)
	}
	return nil
}

// detach serves what is still queued on ch, then closes it and returns its
// last counters. It runs on the handler's goroutine.
func (h *Handler) detach(ch *channel) PortCounters {
	for h.receive(ch, batchSize) > 0 {
		h.answer()
	}
	h.in.Release()                    // a frame that is lent would keep the socket alive
	_ = h.poller.Remove(ch.sock.FD()) // closing the descriptor removes it in any case
	last := ch.finalCounters()
	ch.sock.Close()
	h.disown(ch)
	return last
}

// disown forgets ch.
func (h *Handler) disown(ch *channel) {
	h.slots[ch.slot] = nil
	h.owned--
	h.rings = slices.DeleteFunc(h.rings, func(c *channel) bool { return c == ch })
	h.ready = slices.DeleteFunc(h.ready, func(c *channel) bool { return c == ch })
	h.busy = slices.DeleteFunc(h.busy, func(c *channel) bool { return c == ch })
}
