package upcall

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/epoll"
	"dpifd/internal/event"
	"dpifd/internal/mmapring"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

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
	// After maxMisses failed attempts in a row, the handler speculates on every
	// speculateEvery-th pass only.
	maxMisses, speculateEvery = 4, 16
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

// Budget is what flows are installed under. Its methods are called by all handlers.
type Budget interface {
	// Reserve takes a place for a flow, and reports false if there is none.
	Reserve() bool
	// Sent says that n flows with a place were sent to the kernel.
	Sent(n int)
	// Release gives up the place of a flow that the kernel did not take.
	Release()
	// Ample reports whether there is room for flows that may be of no use.
	Ample() bool
	// PutSpoofed says that a flow with a place drops what its port may not send.
	PutSpoofed()
}

// HandlerConfig says what a Handler works with.
type Config struct {
	ID int // its place among the handlers
	// Datapath has a request socket of its own, which Close closes.
	Datapath *dpif.Datapath
	Policy   policy.Policy
	Budget   Budget
	Hasher   *odp.MaskedHasher // that UFIDs are made with
	Ports    *Table            // that upcalls of shared sockets are counted by
	Notify   event.Sink
	// Primer has the flow of a packet's answers put with its own, while answers
	// come. All handlers share one; nil puts none.
	Primer *Primer
}

// Handler receives, decides and answers the upcalls of the sockets it owns. It
// is one goroutine on one locked OS thread.
type Handler struct {
	id     int
	dp     *dpif.Datapath
	policy policy.Policy
	notify event.Sink
	sends  netlink.Transport // how requests are sent
	budget Budget
	hasher *odp.MaskedHasher
	table  *Table
	shared *Socket // that upcalls of all ports come to, nil under per-vport dispatch
	trace  atomic.Pointer[Tracer]
	primer *Primer // nil if no flow is put before its packets

	readiness
	batch
	calls
	timing
	handlerCounts
}

// batch is what was received together, and the requests that answer it.
type batch struct {
	in      *netlink.Batch
	owner   [batchSize]*Socket // that a datagram of the batch came by
	out     *dpif.Batch
	ops     []request             // what each request of out is
	put     [2 * batchSize]uint64 // hashes of the UFIDs of the batch's flows
	nPut    int
	putBits [4]uint64 // a bit for the hash of each
	l2Key   odp.L2Key // of a flow
	upcall  dpif.Upcall
	verdict policy.Verdict
	reverse policy.Verdict // of the packets that answer the upcall
	failed  func(i int, errno unix.Errno)
}

// readiness is which sockets there are, and which have upcalls.
type readiness struct {
	poller  poller
	events  [batchSize]epoll.Event
	slots   []*Socket // by id of their epoll events
	rings   []*Socket // those that have a ring
	owned   int
	ready   []*Socket // of the pass under way
	busy    []*Socket // of these, those that had upcalls
	worked  bool      // a pass since the last sleep brought upcalls
	guessed bool      // the pass under way began without asking epoll, see pollSpeculatively
	misses  int       // chances to speculate since one was right

	rescan    time.Duration // bound of the sleep where there are rings
	unpolled  int           // passes since epoll was asked
	fruitless int           // passes in a row over sockets that brought nothing
}

// handlerCounts are what a handler counts beside what it counts of ports.
type handlerCounts struct {
	rounds              atomic.Uint64
	polls               atomic.Uint64 // times that epoll was asked
	batches, sendErrors atomic.Uint64
	batchTime, longest  atomic.Int64  // time spent on batches in ns: on all, and on one since LongestBatch
	fill                atomic.Uint32 // greatest of a ring since RingFill
	lastRefusal         atomic.Int32  // errno of the last refused request
	thread              atomic.Int32  // id of the handler's thread, 0 if it does not run
	cpuWait             atomic.Int64  // ns, as last read
}

// request says what a request of a batch was, for when the kernel refuses it.
type request struct {
	port *Port
	kind requestKind
}

type requestKind uint8

const (
	requestFlow requestKind = iota
	requestExecute
)

// NewHandler returns a handler without sockets that does not run yet.
func New(cfg Config) (*Handler, error) {
	poller, err := epoll.New()
	if err != nil {
		return nil, fmt.Errorf("handler %d: %w", cfg.ID, err)
	}
	in, err := netlink.NewBatch(batchSize)
	if err != nil {
		poller.Close()
		return nil, fmt.Errorf("handler %d: %w", cfg.ID, err)
	}
	h := &Handler{id: cfg.ID, dp: cfg.Datapath, policy: cfg.Policy, notify: cfg.Notify, sends: cfg.Datapath.Conn().Transport(),
		budget: cfg.Budget, hasher: cfg.Hasher, table: cfg.Ports, primer: cfg.Primer}
	h.readiness = readiness{poller: poller, rescan: ringRescan}
	h.timing.clock = clock.Now()
	h.batch = batch{in: in, out: cfg.Datapath.NewBatch(), failed: h.requestFailed}
	return h, nil
}

// ID returns the handler's place among the handlers.
func (h *Handler) ID() int { return h.id }

// Transport returns how requests are sent at the start.
func (h *Handler) Transport() netlink.Transport { return h.dp.Conn().Transport() }

// SetTracer installs t, which is called for each upcall; nil removes it.
func (h *Handler) SetTracer(t Tracer) {
	if t == nil {
		h.trace.Store(nil)
		return
	}
	h.trace.Store(&t)
}

// Run serves the handler's sockets until Stop is called.
func (h *Handler) Run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	h.thread.Store(int32(unix.Gettid()))
	defer h.threadEnds()
	defer h.Close()
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

// Close releases what the handler owns. It is idempotent.
func (h *Handler) Close() {
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
	for _, s := range h.slots {
		if s != nil {
			s.ReadDrops() // while it can be asked
			s.Close()
		}
	}
	h.poller.Close()
	h.in.Close()
	h.dp.Conn().Close()
}

// attach makes the handler the owner of s. It runs on the handler's
// goroutine.
func (h *Handler) attach(s *Socket) error {
	slot := slices.Index(h.slots, nil)
	if slot < 0 {
		slot = len(h.slots)
		h.slots = append(h.slots, nil)
	}
	s.slot = uint32(slot)
	add := h.poller.Add
	if s.Transport() == netlink.Ring {
		add = h.poller.AddEdge // wait looks at the heads of rings before it sleeps
	}
	if err := add(s.FD(), s.slot); err != nil {
		return fmt.Errorf("handler %d: %w", h.id, err)
	}
	h.slots[slot] = s
	h.owned++
	if s.shared {
		h.shared = s
	}
	s.age = queueAge{since: clock.Now()} // what waited for the handler before is not told
	if s.Transport() == netlink.Ring {
		h.rings = append(h.rings, s)
	}
	return nil
}

// detach serves what is still queued on s, then closes it and returns its
// last counters. It runs on the handler's goroutine.
func (h *Handler) detach(s *Socket) PortCounters {
	for h.receive(s, batchSize) > 0 {
		h.answer()
	}
	h.in.Release()              // a frame that is lent would keep the socket alive
	_ = h.poller.Remove(s.FD()) // closing the descriptor removes it in any case
	last := s.port.CurrentCounters()
	s.Close()
	h.disown(s)
	return last
}

// disown forgets s.
func (h *Handler) disown(s *Socket) {
	h.slots[s.slot] = nil
	h.owned--
	h.rings = slices.DeleteFunc(h.rings, func(o *Socket) bool { return o == s })
	h.ready = slices.DeleteFunc(h.ready, func(o *Socket) bool { return o == s })
	h.busy = slices.DeleteFunc(h.busy, func(o *Socket) bool { return o == s })
}

// release gives the socket of s up, with what is queued on it and in its ring. It
// returns -1, and s stays as it is, if the socket cannot be handed over. It runs on the
// handler's goroutine.
func (h *Handler) release(s *Socket) (int, mmapring.State) {
	for s.HeadUnknown() && h.receive(s, batchSize) > 0 {
		h.answer()
	}
	h.in.Release() // frames that held nothing
	s.ReadDrops()  // while it can be asked
	_ = h.poller.Remove(s.FD())
	fd, ring, err := s.Detach()
	if err != nil {
		return -1, ring
	}
	h.disown(s)
	return fd, ring
}
