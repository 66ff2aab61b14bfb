package vswitch

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"dpifd/internal/cgroup"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/fdstore"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/reconciler"
	"dpifd/internal/revalidator"
	"dpifd/internal/transport"
	"dpifd/internal/upcall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Config configures a Server.
type Config struct {
	Handlers int // 0: one per CPU that the process may use, by affinity and cgroup quota
	Dispatch dpif.Dispatch
	RcvBuf   int // as in transport.Config
	Ring     transport.RingConfig
	Flows    revalidator.Limits
	Prime    bool // install the flow of a packet's answers with its own, while answers arrive
	Policy   policy.Policy
	// Ports are attached if they are missing. Other vports of the datapath are served as well. An
	// entry with a pattern may match any number of ports.
	Ports []reconciler.PortConfig
	// Inherited are descriptors of upcall sockets that this process did not open. A vport whose
	// upcalls go to one of them is served by it; the others are closed when all ports are served.
	// The Server owns them from NewServer on, also after an error.
	Inherited []fdstore.Descriptor
	// Store keeps each upcall socket, so that it outlives the process; nil is none. The caller
	// closes it after the Server.
	Store *fdstore.Store
	// Devices prepares the devices of Ports; nil is none.
	Devices reconciler.Devices
	// Notify is called with each event, by several goroutines at once. It must not block for long,
	// nor call the Server.
	Notify event.Sink
}

// ErrDatapathGone means that the datapath was deleted while it was served.
var ErrDatapathGone = errors.New("datapath is gone")

// Server serves all vports of one datapath.
type Server struct {
	cfg         Config // without Ports, which Reconfigure changes
	dp          *dpif.Datapath
	sockets     *transport.Sockets
	dispatcher  *transport.Dispatcher
	handlers    []*upcall.Handler
	revalidator *revalidator.Revalidator
	budget      *revalidator.Budget
	reconciler  *reconciler.Reconciler
	restores    *reconciler.Restores
	notifier    *notifier
	statistics  statistics

	wanted           atomic.Pointer[[]reconciler.PortConfig] // by Reconfigure, not in force yet
	leaving          atomic.Bool                             // the next end is a hand-over
	abandoned        int                                     // see Abandoned
	rounds           atomic.Uint64                           // of the port poll
	featuresRestored atomic.Uint64
}

// NewServer prepares to serve dp, which it owns from then on. Sockets are opened in the network
// namespace of the calling thread, here and in Run, so both must run on the same locked thread if
// that is not the process's namespace. The caller closes the Server, also after Run.
func NewServer(dp *dpif.Datapath, cfg Config) (*Server, error) {
	if cfg.Handlers <= 0 {
		cfg.Handlers = cgroup.UsableCPUs()
	}
	s := &Server{dp: dp, budget: revalidator.NewBudget(0), restores: reconciler.NewRestores()}
	if err := s.open(cfg); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// open builds the parts.
func (s *Server) open(cfg Config) (err error) {
	s.sockets, err = transport.New(transport.Config{RcvBuf: cfg.RcvBuf, Ring: cfg.Ring, Inherited: cfg.Inherited,
		Store: cfg.Store, Notify: cfg.Notify})
	ports := cfg.Ports
	cfg.Inherited, cfg.Ports = nil, nil
	s.cfg = cfg
	if err != nil {
		return err
	}
	table, hasher, hasDrop := new(upcall.Table), odp.NewMaskedHasher(), s.dp.HasDrop()
	if err := s.openHandlers(table, hasher, hasDrop); err != nil {
		return err
	}
	s.sockets.SetHandlers(s.handlers)
	s.dispatcher = transport.NewDispatcher(s.dp, s.sockets)
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{RcvBuf: requestBuf, SndBuf: requestBuf})
	if err != nil {
		return fmt.Errorf("revalidator: %w", err)
	}
	s.revalidator = revalidator.New(revalidator.Config{Datapath: s.dp.Clone(conn), Policy: cfg.Policy, Limits: cfg.Flows,
		Budget: s.budget, Hasher: hasher, Notify: cfg.Notify, Barrier: s.barrier, CreditSpoofed: s.creditSpoofed,
		HasDrop: hasDrop})
	if conn, err = netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{}); err != nil {
		return fmt.Errorf("statistics: %w", err)
	}
	s.statistics.dp = s.dp.Clone(conn)
	s.reconciler = reconciler.New(reconciler.Config{Kernel: s.dp, Sockets: s.sockets, Ports: ports, Devices: cfg.Devices,
		Sweeps: s.revalidator, Restores: s.restores, Handlers: table, Progress: func() { s.rounds.Add(1) },
		Notify: cfg.Notify})
	s.notifier, err = openNotifier(s.dp, s.reconciler.ConcernedByLink, cfg.Notify)
	return err
}

// openHandlers opens the handlers, which with per-CPU dispatch receive upcalls of all ports in
// table.
func (s *Server) openHandlers(table *upcall.Table, hasher *odp.MaskedHasher, hasDrop bool) error {
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
			Hasher: hasher, Ports: table, Notify: s.cfg.Notify, Primer: primer,
			HasDrop: hasDrop})
		if err != nil {
			conn.Close()
			return err
		}
		s.handlers = append(s.handlers, h)
		s.cfg.Notify(HandlerStarted{Handler: id, Transport: h.Transport(), Reason: why})
	}
	return nil
}

// requestBuf is the requested buffer size of request and notifier sockets, in bytes.
const requestBuf = 1 << 20

// Run serves the datapath until ctx ends, then turns upcalls off, answers queued ones, and
// returns nil. After HandOver it leaves upcalls and queues unchanged. It calls ready when every
// port that exists is served, with the number of configured ports that wait. Other errors end
// the run: ErrDatapathGone, or an error of the kernel.
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
			s.revalidator.Run(ctx, s.notifier.requestLook)
		}()
		ready(s.reconciler.Waiting())
		err = s.gone(s.pollPorts(ctx))
		cancel()
		<-revalidated
	}
	s.sockets.DropInherited() // left by a failed start
	staying, shared := s.Ports(), s.sockets.Shared() != nil
	if err == nil && s.leaving.Load() {
		staying, shared = s.leave()
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

// start sets the features, learns from the flows found, and serves the ports.
func (s *Server) start() error {
	if err := s.dispatcher.Negotiate(s.cfg.Dispatch); err != nil {
		return err
	}
	ports, expected, err := s.reconciler.Begin()
	if err != nil {
		return err
	}
	if err := s.sockets.CheckDescriptors(expected); err != nil {
		return err
	}
	s.setPorts(ports)
	flows, err := s.revalidator.Adopt()
	if err != nil {
		return err
	}
	if flows > 0 && s.reconciler.LacksConfigured() {
		// Adopted flows may output to removed ports, whose numbers new ports may get.
		if err := s.revalidator.Cycle(context.Background(), true); err != nil {
			return err
		}
	}
	if err := s.dispatcher.Serve(); err != nil {
		return err
	}
	err = s.reconcile(reconciler.Look{Start: true})
	s.reconciler.Table().AddPast(s.sockets.DrainInherited())
	return err
}

// reconcile compares the kernel's ports with the served ones, and corrects the difference. It
// fails only if the datapath is gone or cannot be queried.
func (s *Server) reconcile(look reconciler.Look) error {
	s.restores.Begin()
	if err := s.checkFeatures(look); err != nil {
		return err
	}
	if ports := s.wanted.Swap(nil); ports != nil {
		if err := s.reconciler.Configure(*ports); err != nil {
			return err
		}
	}
	removed, err := s.reconciler.Remove(look)
	if err == nil && len(removed.Removed) > 0 {
		// Before a number has a new owner, the policy removes what it knows about the previous
		// one.
		s.setPorts(removed.Ports)
		s.barrier()
		s.reconciler.Quarantine(removed.Removed)
	}
	s.emit(&removed)
	if err != nil {
		return err
	}
	added, err := s.reconciler.Add(look)
	if err == nil {
		s.setPorts(added.Ports)
		// Packets that a device sends when it is set up are forwarded, because the policy knows
		// the port.
		s.reconciler.SetUpDevices()
	}
	// Receivers of the event may send to the port, because the policy knows it.
	s.emit(&added)
	return err
}

// emit emits the changes of a look.
func (s *Server) emit(diff *reconciler.Diff) {
	for e := range diff.Events() {
		s.cfg.Notify(e)
	}
}

// setPorts passes the current ports to the policy.
func (s *Server) setPorts(ports []policy.Port) {
	generation := s.cfg.Policy.Generation()
	s.cfg.Policy.SetPorts(ports)
	if s.cfg.Policy.Generation() != generation {
		s.revalidator.Wake()
	}
}

// checkFeatures restores user features, or the table of upcall PIDs by CPU, that another
// program has changed.
func (s *Server) checkFeatures(look reconciler.Look) error {
	info, err := s.dp.Info()
	if err != nil || !s.dispatcher.Changed(info) {
		return err
	}
	if !look.Start && !s.restores.Allow() {
		return nil
	}
	kept, err := s.dispatcher.Restore()
	if err == nil {
		s.featuresRestored.Add(1)
		if held, due := s.restores.EventDue(odp.MaxPorts, time.Now()); due {
			s.cfg.Notify(FeaturesRestored{Found: info.Features, Kept: kept, HeldBack: held})
		}
	}
	return err
}

// barrier waits until all decisions of handlers are in the kernel.
func (s *Server) barrier() {
	for _, h := range s.handlers {
		h.Barrier()
	}
}

// gone converts the kernel's errors about a missing datapath to ErrDatapathGone: ENODEV, or
// ENOENT if the family was removed with the module.
func (s *Server) gone(err error) error {
	if dpif.IsGone(err) {
		return fmt.Errorf("%s: %w", s.dp.Name(), ErrDatapathGone)
	}
	return err
}

// Close releases the remaining resources. It is idempotent.
func (s *Server) Close() error {
	for _, h := range s.handlers {
		h.Close()
	}
	if s.dispatcher != nil {
		s.dispatcher.Close()
	}
	if s.sockets != nil {
		s.sockets.Close()
	}
	if s.revalidator != nil {
		s.revalidator.Close()
	}
	if s.statistics.dp != nil {
		s.statistics.dp.Conn().Close()
	}
	if s.notifier != nil {
		s.notifier.close()
	}
	return nil
}
