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
	// ringRescan limits the sleep of a handler with rings: aborted messages do not wake it, and
	// after a ring was full the kernel uses no COPY frames before a poll.
	ringRescan = time.Second
	// ringPasses is the maximum number of successive passes over rings without calling epoll;
	// mixedPasses is the same for a handler that also owns sockets without ring.
	ringPasses, mixedPasses = 64, 4
	// After maxMisses failed attempts in a row, the handler speculates on every
	// speculateEvery-th pass only.
	maxMisses, speculateEvery = 4, 16
	// minBackoff and maxBackoff limit the pause after a wake-up without messages. After
	// maxFruitless of these in a row, a stopping handler no longer waits for its sockets to
	// become empty.
	minBackoff, maxBackoff = 20 * time.Microsecond, 2 * time.Millisecond
	maxFruitless           = 16

	// batchSize is the number of upcalls received, decided and answered
	// together (UPCALL_MAX_BATCH of Open vSwitch's ofproto-dpif-upcall.c).
	batchSize = 64
	// sharedPass is the number of upcalls that a handler of several vports takes in one pass,
	// and so the number for which a newly ready vport waits. A quarter of a batch costs a few
	// per cent of throughput in system calls, and reduces the wait of the first packet on
	// another port to a quarter.
	sharedPass = batchSize / 4
	// shedBatches limits the additional batches that one pass takes from the ring of a port
	// above its limit. Shedding a batch takes a few microseconds.
	shedBatches = 16
	// minQuota is the minimum that each of many ready vports may send in one pass.
	minQuota = 4
)

// Tracer is called for each upcall with the decision. It runs on the handler's thread and must
// not keep its arguments.
type Tracer func(port string, u *dpif.Upcall, v *policy.Verdict)

// poller is the part of epoll.Poller that a handler uses. Tests replace it by the epoll of an
// emulated kernel.
type poller interface {
	Add(fd int, id uint32) error
	AddEdge(fd int, id uint32) error
	Remove(fd int) error
	Wait(events []epoll.Event, timeout time.Duration) (int, error)
	Wake() error
	Close() error
}

// Budget limits the number of installed flows. All handlers call its methods.
type Budget interface {
	// Reserve takes a place for a flow, and returns false if there is none.
	Reserve() bool
	// Sent records that n flows with a place were sent to the kernel.
	Sent(n int)
	// Release returns the place of a flow that the kernel refused.
	Release()
	// Ample reports whether there is room for flows that may not be used.
	Ample() bool
	// PutSpoofed says that a flow with a place drops what its port may not send.
	PutSpoofed()
}

// Config configures a Handler.
type Config struct {
	ID int // its place among the handlers
	// Datapath has a separate request socket, which Close closes.
	Datapath *dpif.Datapath
	Policy   policy.Policy
	Budget   Budget
	Hasher   *odp.MaskedHasher // for UFIDs
	Ports    *Table            // for counting the upcalls of shared sockets
	Notify   event.Sink
	// Primer decides whether the flow of the answers to a packet is installed together with the
	// packet's own. All handlers share one; nil installs none.
	Primer *Primer
	// HasDrop: flows that drop have an action for it, see policy.Verdict.FlowActions.
	HasDrop bool
}

// Handler receives, decides and answers the upcalls of the sockets it owns. It
// is one goroutine on one locked OS thread.
type Handler struct {
	id     int
	dp     *dpif.Datapath
	policy policy.Policy
	staged policy.StagedPolicy // nil unless policy is one
	notify event.Sink
	sends  netlink.Transport // how requests are sent
	budget Budget
	hasher *odp.MaskedHasher
	table  *Table
	shared *Socket // gets the upcalls of all ports, nil with per-vport dispatch
	trace  atomic.Pointer[Tracer]
	primer *Primer // nil if no flow is installed before its packets
	// hasDrop is as in Config.
	hasDrop bool

	readiness
	batch
	calls
	timing
	handlerCounts
}

// batch is a set of upcalls received together, and the requests that answer it.
type batch struct {
	in      *netlink.Batch
	owner   [batchSize]*Socket // of each datagram
	out     *dpif.Batch
	ops     []request             // what each request of out is
	put     [2 * batchSize]uint64 // hashes of the UFIDs of the batch's flows
	nPut    int
	putBits [4]uint64 // a bit for the hash of each
	l2Key   odp.L2Key // of a flow
	// answerKey is the key of the flow of its answers.
	answerKey odp.L2Key
	upcall    dpif.Upcall
	verdict   policy.Verdict
	reverse   policy.Verdict // of the packets that answer the upcall
	stages
	failed func(i int, errno unix.Errno)
}

// readiness tracks the handler's sockets and which of them have upcalls.
type readiness struct {
	poller  poller
	events  [batchSize]epoll.Event
	slots   []*Socket // by id of their epoll events
	rings   []*Socket // those that have a ring
	owned   int
	ready   []*Socket // of the current pass
	busy    []*Socket // of these, those that had upcalls
	worked  bool      // a pass since the last sleep brought upcalls
	guessed bool      // the current pass began without calling epoll, see pollSpeculatively
	misses  int       // attempts to speculate since a successful one

	rescan    time.Duration // bound of the sleep if there are rings
	unpolled  int           // passes since epoll was called
	fruitless int           // successive passes without messages
}

// handlerCounts are a handler's own counters, besides those of ports.
type handlerCounts struct {
	rounds              atomic.Uint64
	polls               atomic.Uint64 // calls of epoll
	batches, sendErrors atomic.Uint64
	batchTime, longest  atomic.Int64  // time spent on batches in ns: on all, and on one since LongestBatch
	fill                atomic.Uint32 // maximum of any ring since RingFill
	lastRefusal         atomic.Int32  // errno of the last refused request
	thread              atomic.Int32  // id of the handler's thread, 0 if it does not run
	cpuWait             atomic.Int64  // ns, as last read
}

// request describes a request of a batch, in case the kernel refuses it.
type request struct {
	port *Port
	kind requestKind
}

type requestKind uint8

const (
	requestFlow requestKind = iota
	requestExecute
	requestRenew
)

// New returns a handler without sockets that is not running.
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
	h := &Handler{id: cfg.ID, dp: cfg.Datapath, policy: cfg.Policy, notify: cfg.Notify,
		sends: cfg.Datapath.Conn().Transport(), budget: cfg.Budget, hasher: cfg.Hasher, table: cfg.Ports,
		primer: cfg.Primer, hasDrop: cfg.HasDrop}
	h.staged, _ = cfg.Policy.(policy.StagedPolicy)
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

// Close releases the handler's resources. It is idempotent.
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
			s.ReadDrops() // while the socket is open
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
		add = h.poller.AddEdge // wait checks the heads of rings before it sleeps
	}
	if err := add(s.FD(), s.slot); err != nil {
		return fmt.Errorf("handler %d: %w", h.id, err)
	}
	h.slots[slot] = s
	h.owned++
	if s.shared {
		h.shared = s
	}
	s.age = queueAge{since: clock.Now()} // earlier waiting time is unknown
	if s.Transport() == netlink.Ring {
		h.rings = append(h.rings, s)
	}
	return nil
}

// detach serves the upcalls queued on s, then closes it and returns its final counters. It runs
// on the handler's goroutine.
func (h *Handler) detach(s *Socket) PortCounters {
	for h.receive(s, batchSize) > 0 {
		h.answer()
	}
	h.in.Release()              // a lent frame would keep the socket alive
	_ = h.poller.Remove(s.FD()) // closing the descriptor removes it anyway
	last := s.port.CurrentCounters()
	s.Close()
	h.disown(s)
	return last
}

// disown removes s from the handler.
func (h *Handler) disown(s *Socket) {
	h.slots[s.slot] = nil
	h.owned--
	h.rings = slices.DeleteFunc(h.rings, func(o *Socket) bool { return o == s })
	h.ready = slices.DeleteFunc(h.ready, func(o *Socket) bool { return o == s })
	h.busy = slices.DeleteFunc(h.busy, func(o *Socket) bool { return o == s })
}

// release gives up the socket of s with its queue and ring. If the socket cannot be handed
// over, it returns -1 and s does not change. It runs on the handler's goroutine.
func (h *Handler) release(s *Socket) (int, mmapring.State) {
	for s.HeadUnknown() && h.receive(s, batchSize) > 0 {
		h.answer()
	}
	h.in.Release() // frames without messages
	s.ReadDrops()  // while the socket is open
	_ = h.poller.Remove(s.FD())
	fd, ring, err := s.Detach()
	if err != nil {
		return -1, ring
	}
	h.disown(s)
	return fd, ring
}
