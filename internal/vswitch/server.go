package vswitch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"dpifd/internal/backoff"
	"dpifd/internal/binding"
	"dpifd/internal/cgroup"
	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/epoll"
	"dpifd/internal/event"
	"dpifd/internal/fdstore"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/revalidator"
	"dpifd/internal/transport"
	"dpifd/internal/upcall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// PortConfig is a port that the datapath is to have.
type PortConfig struct {
	Name string
	// Match, if not empty, is a pattern of path.Match for names: the entry stands for the
	// devices and vports of the type that match and that no other entry names. Config only
	// has Match without Name; a port that is there because of a pattern has both.
	Match string
	Type  dpif.VportType // VportNetdev or VportInternal
	// MaxUpcalls is how many upcalls a second are served, 0 all of them. Those
	// beyond are dropped before they are decoded, and counted as shed. After a
	// second without any, as many may come at once.
	MaxUpcalls uint32
}

// vport is p without what can be changed without touching the vport.
func (p PortConfig) vport() PortConfig {
	p.MaxUpcalls, p.Match = 0, ""
	return p
}

// Config says how a Server serves a datapath.
type Config struct {
	Handlers int // 0: one per CPU that the process may use, by affinity and cgroup quota
	Dispatch transport.Dispatch
	RcvBuf   int // as transport.Config has it
	Ring     transport.RingConfig
	Flows    revalidator.Limits
	Prime    bool // put the flow of a packet's answers with its own, while answers come
	Policy   policy.Policy
	// Ports are attached where they are not. Vports of the datapath beyond
	// these are served as well.
	// An entry with a pattern stands for any number of ports.
	Ports []PortConfig
	// Inherited are descriptors of upcall sockets that this process did not
	// open. A vport whose upcalls go to one of them is served by it; the others
	// are closed once all ports are served. They are the Server's from NewServer
	// on, whatever it returns.
	Inherited []fdstore.Descriptor
	// Store is given each upcall socket to keep, so that it outlives the
	// process; nil is none. The caller closes it after the Server.
	Store *fdstore.Store
	// Devices sees to the devices behind Ports; nil if nobody does.
	Devices Devices
	// Notify is called with each event, by several goroutines at once. It
	// must not block for long, nor call the Server.
	Notify event.Sink
}

// ErrDatapathGone says that the datapath was deleted while it was served.
var ErrDatapathGone = errors.New("datapath is gone")

// Server serves all vports of one datapath.
type Server struct {
	cfg         Config
	dp          *dpif.Datapath
	handlers    []*upcall.Handler
	revalidator *revalidator.Revalidator
	budget      *revalidator.Budget
	hasher      *odp.MaskedHasher
	sockets     *transport.Sockets
	dispatcher  *transport.Dispatcher
	table       upcall.Table

	poller  *epoll.Poller
	ovs     *netlink.Receiver // groups ovs_vport and ovs_datapath
	link    *netlink.Receiver // RTNLGRP_LINK
	notices *netlink.Batch
	// maxUpcalls are the configured limits, by name.
	maxUpcalls map[string]uint32
	patterns   []PortConfig   // entries for any number of ports, see matchPatterns
	bound      *binding.Table // which vport belongs to which configured port
	nextLook   time.Duration  // when the port poll looks without being told to, by internal/clock
	hurried    bool           // reconcile was called because something changed
	restores   restores
	retries    map[string]backoff.Backoff // of configured ports that wait
	waiting    map[string]string          // configured ports not attached: name to reason
	setUp      map[string]string          // configured ports attached and set up: name to what failed, or ""
	arrived    []event.Event              // of new ports, not told yet
	unprepared []deviceSetup              // configured ports whose devices are to be set up
	stale      bool                       // there may be devices of ports that are not configured any more
	broken     map[odp.PortNo]string
	quarantine quarantine
	running    bool                         // the start is over
	restored   restored                     // what other programs changed
	suspect    atomic.Bool                  // something may have changed: look
	wanted     atomic.Pointer[[]PortConfig] // by Reconfigure, not in force yet
	abandoned  int                          // see Abandoned
	leaving    atomic.Bool                  // the next end is a hand-over
	rounds     atomic.Uint64                // of the port poll

	statsMu   sync.Mutex // guards the next four
	statsDP   *dpif.Datapath
	dropTable *netlink.DropTable // nil where SO_MEMINFO tells
	drops     map[uint32]uint64  // by upcall PID
	lost      uint64             // the datapath's when drops were last read
	mu        sync.Mutex         // guards channels, devices and past
	channels  map[odp.PortNo]*channel
	devices   map[uint32]*channel // of these, by ifindex where the kernel tells it
	past      upcall.PortCounters // of ports that have gone
}

// NewServer prepares to serve dp, which it uses from then on. Sockets are
// opened in the network namespace of the calling thread, here and in Run, so
// both belong on the same locked thread if that is not the process's own.
// The caller closes the Server, also after Run.
func NewServer(dp *dpif.Datapath, cfg Config) (*Server, error) {
	if cfg.Handlers <= 0 {
		cfg.Handlers = cgroup.UsableCPUs()
	}
	s := &Server{cfg: cfg, dp: dp, hasher: odp.NewMaskedHasher(), budget: revalidator.NewBudget(0),
		bound: binding.NewTable(), retries: map[string]backoff.Backoff{}, restores: newRestores(),
		waiting: map[string]string{}, setUp: map[string]string{}, stale: true,
		broken: map[odp.PortNo]string{}, channels: map[odp.PortNo]*channel{}, devices: map[uint32]*channel{}}
	s.configure(cfg.Ports)
	if err := s.open(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// open opens what the Server needs besides upcall sockets.
func (s *Server) open() (err error) {
	s.sockets, err = transport.New(transport.Config{RcvBuf: s.cfg.RcvBuf, Ring: s.cfg.Ring, Inherited: s.cfg.Inherited, Store: s.cfg.Store,
		Notify: s.cfg.Notify})
	s.cfg.Inherited = nil
	if err != nil {
		return err
	}
	var primer *upcall.Primer
	if s.cfg.Prime {
		primer = upcall.NewPrimer()
	}
	for id := range s.cfg.Handlers {
		conn, why, err := s.sockets.Dial(netlink.Config{RcvBuf: requestBuf, SndBuf: requestBuf})
		if err != nil {
			return fmt.Errorf("handler %d: %w", id, err)
		}
		h, err := upcall.New(upcall.Config{ID: id, Datapath: s.dp.Clone(conn), Policy: s.cfg.Policy, Budget: s.budget,
			Hasher: s.hasher, Ports: &s.table, Notify: s.cfg.Notify, Primer: primer})
		if err != nil {
			conn.Close()
			return err
		}
		s.handlers = append(s.handlers, h)
		s.cfg.Notify(HandlerStarted{Handler: id, Transport: h.Transport(), Reason: why})
	}
	s.sockets.SetHandlers(s.handlers)
	s.dispatcher = transport.NewDispatcher(s.dp, s.sockets)
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{RcvBuf: requestBuf, SndBuf: requestBuf})
	if err != nil {
		return fmt.Errorf("revalidator: %w", err)
	}
	s.revalidator = revalidator.New(revalidator.Config{Datapath: s.dp.Clone(conn), Policy: s.cfg.Policy, Limits: s.cfg.Flows,
		Budget: s.budget, Hasher: s.hasher, Notify: s.cfg.Notify, Barrier: s.barrier})
	s.quarantine = newQuarantine(s.revalidator)
	if conn, err = netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{}); err != nil {
		return fmt.Errorf("statistics: %w", err)
	}
	s.statsDP = s.dp.Clone(conn)
	if s.notices, err = netlink.NewBatch(noticeBatch); err != nil {
		return fmt.Errorf("port poll: %w", err)
	}
	if s.poller, err = epoll.New(); err != nil {
		return fmt.Errorf("port poll: %w", err)
	}
	datapaths, vports, _ := s.dp.Families().Groups()
	if s.ovs, err = netlink.OpenNotifier(unix.NETLINK_GENERIC, []uint32{vports, datapaths}, netlink.ReceiverConfig{RcvBuf: requestBuf}); err != nil {
		return fmt.Errorf("port poll: %w", err)
	}
	if s.link, err = netlink.OpenNotifier(unix.NETLINK_ROUTE, []uint32{unix.RTNLGRP_LINK}, netlink.ReceiverConfig{RcvBuf: requestBuf}); err != nil {
		return fmt.Errorf("link notifier: %w", err)
	}
	if _, err := s.ovs.MemInfo(); errors.Is(err, unix.ENOPROTOOPT) {
		if s.dropTable, err = netlink.OpenDropTable(); err != nil {
			return fmt.Errorf("statistics: %w", err)
		}
		s.drops = map[uint32]uint64{}
	}
	if err = s.poller.Add(s.ovs.FD(), pollOVS); err == nil {
		err = s.poller.Add(s.link.FD(), pollLink)
	}
	return err
}

// requestBuf is the buffer size, in bytes, asked for request and notifier
// sockets.
const requestBuf = 1 << 20

// Run serves the datapath until ctx ends, then turns upcalls off, answers
// what is queued, and returns nil. After HandOver it leaves upcalls and what is
// queued as they are. ready is called once every port that
// exists is served, with the number of configured ports that wait. Other errors end the run: ErrDatapathGone, or what the
// kernel refused.
func (s *Server) Run(ctx context.Context, ready func(waiting int)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var handlers errgroup.Group
	for _, h := range s.handlers {
		handlers.Go(func() error {
			defer cancel()
			return h.Run()
		})
	}
	err := s.gone(s.start())
	if err == nil {
		revalidated := make(chan struct{})
		go func() {
			defer close(revalidated)
			s.revalidator.Run(ctx, s.suspectGone)
		}()
		ready(len(s.waiting))
		err = s.pollPorts(ctx)
		cancel()
		<-revalidated
	}
	s.sockets.DropInherited() // of a start that failed
	staying, shared := s.Ports(), s.sockets.Shared() != nil
	if err == nil && s.leaving.Load() {
		staying, shared = s.leave()
		s.abandoned = len(staying)
		if shared {
			s.abandoned = len(s.Ports())
		}
	}
	if offErr := s.upcallsOff(staying, shared); err == nil && offErr != nil {
		err = offErr
	}
	for _, h := range s.handlers {
		h.Stop()
	}
	if handlerErr := handlers.Wait(); err == nil {
		err = handlerErr
	}
	s.sockets.RemoveClosed(s.everySocket())
	return err
}

// suspectGone has the port poll compare with the kernel, and look whether the
// datapath is still there.
func (s *Server) suspectGone() {
	s.suspect.Store(true)
	_ = s.poller.Wake() // it fails only when the poller is closed
}

// start sets the features, learns from the flows found, and serves the ports.
func (s *Server) start() error {
	if err := s.dispatcher.Negotiate(s.cfg.Dispatch); err != nil {
		return err
	}
	vports, err := s.vports()
	if err == nil {
		vports, err = s.removeFormer(vports)
	}
	if err != nil {
		return err
	}
	s.bind(vports)
	if err := s.sockets.CheckDescriptors(s.expectedPorts(vports)); err != nil {
		return err
	}
	s.tellPolicy(vports)
	flows, err := s.revalidator.Adopt()
	if err != nil {
		return err
	}
	if flows > 0 && s.lacksConfigured() {
		// What was adopted may lead to ports that have gone since, whose
		// numbers are free for the ports to come.
		if err := s.revalidator.Cycle(context.Background(), true); err != nil {
			return err
		}
	}
	if err := s.dispatcher.Serve(); err != nil {
		return err
	}
	err = s.reconcile()
	counted := s.sockets.DrainInherited()
	s.mu.Lock()
	s.past.Add(counted)
	s.mu.Unlock()
	s.running = true
	s.nextLook = s.nextRetry(clock.Now())
	return err
}

// Close releases everything that Run did not. It is idempotent.
func (s *Server) Close() error {
	for _, h := range s.handlers {
		h.Close()
	}
	if s.dispatcher != nil {
		s.dispatcher.Close() // sockets of a start that failed have no owner
	}
	if s.sockets != nil {
		s.sockets.DropInherited()
	}
	if s.revalidator != nil {
		s.revalidator.Close()
	}
	if s.statsDP != nil {
		s.statsDP.Conn().Close()
	}
	if s.dropTable != nil {
		s.dropTable.Close()
	}
	for _, r := range []*netlink.Receiver{s.ovs, s.link} {
		if r != nil {
			r.Close()
		}
	}
	if s.poller != nil {
		s.poller.Close()
	}
	if s.notices != nil {
		s.notices.Close()
	}
	return nil
}

// SetTracer installs t, which is called for each upcall; nil removes it.
func (s *Server) SetTracer(t upcall.Tracer) {
	for _, h := range s.handlers {
		h.SetTracer(t)
	}
}

// SetFlowTracer installs t, which is called for each flow that the revalidator
// changes; nil removes it.
func (s *Server) SetFlowTracer(t revalidator.Tracer) { s.revalidator.SetTracer(t) }

// Ports returns the numbers of the ports that are served, in no order.
func (s *Server) Ports() []odp.PortNo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.channels))
}

// Handlers returns the number of handlers.
func (s *Server) Handlers() int { return len(s.handlers) }
