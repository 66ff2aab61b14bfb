package dpif

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"dpifd/internal/epoll"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

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
	// minBackoff and maxBackoff bound the pause after a wake-up that brought
	// nothing. After maxFruitless of these in a row a handler that is to stop does
	// not wait any longer for what is in its sockets.
	minBackoff, maxBackoff = 20 * time.Microsecond, 2 * time.Millisecond
	maxFruitless           = 16

	// batchSize is the number of upcalls received, decided and answered
	// together (UPCALL_MAX_BATCH of Open vSwitch's ofproto-dpif-upcall.c).
	batchSize = 64
	// minQuota is what each of many ready vports may still send in one pass.
	minQuota = 4
)

// Tracer is told of each upcall and what was decided. It runs on the
// handler's thread and must not keep what it is given.
type Tracer func(port string, u *Upcall, v *Verdict)

// poller is what a handler asks of an epoll.Poller. Tests put the epoll of an
// emulated kernel in its place.
type poller interface {
	Add(fd int, id uint32) error
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
	dp     *Datapath
	policy Policy
	notify func(Event)
	sends  netlink.Transport // how requests are sent
	denied error             // why it was not to have a TX ring, nil if it was
	budget *flowBudget
	hasher *odp.UFIDHasher
	trace  *atomic.Pointer[Tracer]

	in      *netlink.Batch
	owner   [batchSize]*channel // who a datagram of the batch came for
	out     *Batch
	ops     []request // what each request of out is
	put     [batchSize]UFID
	nPut    int
	upcall  Upcall
	verdict Verdict
	events  [batchSize]epoll.Event
	slots   []*channel // by id of their epoll events
	rings   []*channel // those that have a ring
	owned   int
	ready   []*channel // of the pass under way

	rescan    time.Duration // bound of the sleep where there are rings
	unpolled  int           // passes since epoll was asked
	fruitless int           // passes in a row over vports that brought nothing
	called    atomic.Bool   // pending or stopping was set

	failed func(i int, errno unix.Errno)

	mu       sync.Mutex
	pending  []func() // to be run by the handler's goroutine
	stopping bool
	finished bool

	polls               atomic.Uint64 // times that epoll was asked
	batches, sendErrors atomic.Uint64
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

func newHandler(id int, dp *Datapath, cfg *Config, budget *flowBudget, hasher *odp.UFIDHasher, trace *atomic.Pointer[Tracer]) (*Handler, error) {
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
		trace: trace, in: in, out: dp.NewBatch(), sends: dp.conn.Transport(), rescan: ringRescan}
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
			ch.counters() // reads the socket's drops while it can
			ch.sock.Close()
		}
	}
	h.poller.Close()
	h.in.Close()
	h.dp.conn.Close()
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
	if err := h.poller.Add(ch.sock.FD(), ch.slot); err != nil {
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
	last := ch.counters()
	ch.sock.Close()
	h.slots[ch.slot] = nil
	h.owned--
	h.rings = slices.DeleteFunc(h.rings, func(c *channel) bool { return c == ch })
	h.ready = slices.DeleteFunc(h.ready, func(c *channel) bool { return c == ch })
	return last
}

// wait fills h.ready with the vports that have upcalls. Heads of rings are
// looked at in memory; only when all are empty, or when it is time to see to
// sockets without ring, does it make a system call.
func (h *Handler) wait() error {
	h.ready = h.ready[:0]
	for _, ch := range h.rings {
		if ch.sock.Ready() {
			h.makeReady(ch)
		}
	}
	if h.fruitless > 0 {
		// What there is could not be received: a frame is still in the
		// kernel's hands, or an error persists.
		time.Sleep(min(minBackoff<<(h.fruitless-1), maxBackoff))
	}
	timeout := time.Duration(-1)
	switch {
	case len(h.ready) > 0:
		if h.unpolled++; h.unpolled < h.maxUnpolled() && h.fruitless == 0 && !h.called.Load() {
			return nil
		}
		timeout = 0
	case len(h.rings) > 0:
		timeout = h.rescan
	}
	h.unpolled = 0
	h.endCongestion()
	h.polls.Add(1)
	n, err := h.poller.Wait(h.events[:], timeout)
	if err != nil {
		return err
	}
	for _, ev := range h.events[:n] {
		if int(ev.ID) >= len(h.slots) || h.slots[ev.ID] == nil {
			continue
		}
		ch := h.slots[ev.ID]
		if ev.Err && ch.sock.SocketError() != nil {
			ch.congested = true
		}
		h.makeReady(ch)
	}
	if len(h.ready) == 0 && !h.called.Load() {
		// The bound of the sleep was reached: rings are looked at and polled
		// before the next one.
		for _, ch := range h.rings {
			ch.congested = true
		}
	}
	return nil
}

// maxUnpolled is how many passes over rings there may be without asking epoll.
func (h *Handler) maxUnpolled() int {
	if len(h.rings) < h.owned {
		return mixedPasses
	}
	return ringPasses
}

// endCongestion polls the rings that overran and have been emptied since: only
// then does the kernel take up COPY frames again.
func (h *Handler) endCongestion() {
	for _, ch := range h.rings {
		if ch.congested && !ch.sock.Ready() {
			ch.congested = false
			_ = ch.sock.Poll() // fails on closed sockets only
		}
	}
}

// makeReady adds ch to h.ready once.
func (h *Handler) makeReady(ch *channel) {
	if !ch.ready {
		ch.ready = true
		h.ready = append(h.ready, ch)
	}
}

// pass takes from each ready vport at most its quota, so that one that floods
// costs the others no more than a batch.
func (h *Handler) pass() {
	quota := batchSize
	if len(h.ready) > 1 {
		quota = max(minQuota, batchSize/len(h.ready))
	}
	got := 0
	for _, ch := range h.ready {
		if h.in.Free() == 0 {
			h.answer()
		}
		got += h.receive(ch, quota)
		ch.ready = false
	}
	h.answer()
	switch {
	case got > 0 || len(h.ready) == 0:
		h.fruitless = 0
	default:
		h.fruitless = min(h.fruitless+1, maxFruitless)
	}
}

// receive adds up to quota upcalls of ch to the batch.
func (h *Handler) receive(ch *channel, quota int) int {
	from := h.in.Len()
	n, err := ch.sock.Receive(h.in, quota)
	if errors.Is(err, unix.ENOBUFS) {
		// The socket counted the overflow; what is queued comes with the
		// next call.
		n, err = ch.sock.Receive(h.in, quota)
	}
	if err != nil {
		ch.receiveErrors.Add(1)
	}
	for i := range n {
		h.owner[from+i] = ch
	}
	return n
}

// answer decides on the batch, sends all requests in one call, and gives the
// batch's memory back.
func (h *Handler) answer() {
	if h.in.Len() == 0 {
		h.in.Release() // frames that held nothing go back all the same
		return
	}
	h.begin()
	now := nowMS()
	trace := h.trace.Load()
	for i := range h.in.Len() {
		h.decide(h.owner[i], h.in.Data(i), now, trace)
	}
	if err := h.send(); err != nil {
		h.sendErrors.Add(1)
	}
	h.batches.Add(1)
	h.in.Release()
}

// begin starts a batch of requests.
func (h *Handler) begin() {
	h.out.Reset()
	h.ops, h.nPut = h.ops[:0], 0
}

// send sends the batch of requests in one call.
func (h *Handler) send() error {
	if h.out.Len() == 0 {
		return nil
	}
	err := h.dp.Send(h.out, h.failed)
	h.budget.landed(h.nPut)
	if h.sends == netlink.Ring && h.dp.conn.Transport() != netlink.Ring {
		h.sends = netlink.Linear
		h.notify(TXRingGivenUp{Handler: h.id, Err: h.dp.conn.RingError()})
	}
	return err
}

// started tells how the handler sends, and why.
func (h *Handler) started() HandlerStarted {
	why := "the kernel has rings"
	if h.sends != netlink.Ring {
		denied := h.denied
		if denied == nil {
			denied = h.dp.conn.RingError()
		}
		why = reason(denied)
	}
	return HandlerStarted{Handler: h.id, Transport: h.sends, Reason: why}
}

func (h *Handler) decide(ch *channel, datagram []byte, now int64, trace *Tracer) {
	u, v := &h.upcall, &h.verdict
	switch err := ParseUpcall(datagram, h.dp.fam.Packet.ID, h.dp.idx, u); {
	case err == nil:
	case errors.Is(err, ErrForeign):
		ch.foreign.Add(1)
		return
	default:
		ch.decodeErrors.Add(1)
		return
	}
	ch.upcalls.Add(1)
	ch.bytes.Add(uint64(len(u.Packet)))
	if u.Kind == Action {
		// No flow of ours has a userspace action. A flow left by another
		// program is corrected when the revalidator sees it.
		ch.actionUpcalls.Add(1)
		return
	}
	v.Clear()
	h.policy.Decide(u, now, v)
	if v.Actions.Err() != nil || v.Mask.Err() != nil {
		ch.policyErrors.Add(1)
		return
	}
	if trace != nil {
		(*trace)(ch.name, u, v)
	}
	if v.Actions.Len() > 0 {
		h.out.Execute(u, v.Actions.Bytes())
		h.ops = append(h.ops, request{ch, requestExecute})
		ch.executed.Add(1)
	} else {
		ch.dropped.Add(1)
	}
	if v.Install {
		h.install(ch, u, v)
	}
}

// install adds a request for the verdict's flow, unless this batch has one
// already or the table is full.
func (h *Handler) install(ch *channel, u *Upcall, v *Verdict) {
	id := UFID(h.hasher.HashMasked(u.Key, v.Mask.Bytes()))
	if slices.Contains(h.put[:h.nPut], id) {
		return
	}
	if !h.budget.reserve() {
		ch.flowsOverLimit.Add(1)
		return
	}
	h.put[h.nPut] = id
	h.nPut++
	h.out.PutFlow(&Flow{UFID: id, HasUFID: true, Key: u.Key, Mask: v.Mask.Bytes(), Actions: v.Actions.Bytes()}, Create)
	h.ops = append(h.ops, request{ch, requestFlow})
	ch.flowsPut.Add(1)
}

func (h *Handler) requestFailed(i int, errno unix.Errno) {
	if i >= len(h.ops) {
		return
	}
	switch r := h.ops[i]; r.kind {
	case requestExecute:
		r.ch.executeRefused.Add(1)
		h.lastRefusal.Store(int32(errno))
	case requestFlow:
		h.budget.release()
		if errno == unix.EEXIST {
			r.ch.flowsExisting.Add(1)
			return
		}
		r.ch.flowsRefused.Add(1)
		h.lastRefusal.Store(int32(errno))
	}
}

// flowBudget holds the number of flows under the limit over all handlers.
type flowBudget struct {
	limit    atomic.Int64
	count    atomic.Int64 // flows in the kernel, and those on their way there
	inFlight atomic.Int64 // the latter
}

// reserve takes a place for a flow that is about to be put.
func (b *flowBudget) reserve() bool {
	if b.count.Add(1) > b.limit.Load() {
		b.count.Add(-1)
		return false
	}
	b.inFlight.Add(1)
	return true
}

// landed says that n reserved flows were sent to the kernel.
func (b *flowBudget) landed(n int) { b.inFlight.Add(int64(-n)) }

// release gives up the place of a flow that the kernel did not take.
func (b *flowBudget) release() { b.count.Add(-1) }

// settle corrects the count by the kernel's, which flows asks for. Flows that
// land meanwhile may be counted twice until the next time, never not at all.
func (b *flowBudget) settle(flows func() (int64, error)) error {
	count, inFlight := b.count.Load(), b.inFlight.Load()
	n, err := flows()
	if err == nil {
		b.count.Add(n + inFlight - count)
	}
	return err
}
