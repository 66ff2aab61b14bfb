package daemon

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"dpifd/internal/control"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/opener"
	"dpifd/internal/policy"
	"dpifd/internal/portdevice"
	"dpifd/internal/reconciler"
	"dpifd/internal/vswitch"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// serve is the part of a run in the network namespace. If the datapath is deleted, or the
// module removed, it starts again; learned MACs stay.
func (d *run) serve(ctx context.Context) error {
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{})
	if err != nil {
		return err
	}
	defer conn.Close()
	lock, err := d.lock(d.cfg().Datapath.Name, "lock")
	if err != nil {
		return err
	}
	defer lock.release()
	if err := d.openDevices(); err != nil {
		return err
	}
	defer d.devices.Close()
	open := opener.New(conn, opener.Config{Config: d.cfg, Opened: d.served, Notify: d.log.emit,
		Progress: func() { d.looks.Add(1) }})
	for {
		err = d.serveOnce(ctx, open)
		if !errors.Is(err, vswitch.ErrDatapathGone) || ctx.Err() != nil {
			break
		}
		d.log.emit(evDatapathGone{Err: err, Create: d.cfg().Datapath.Create})
		d.served, d.past = true, d.stats.total
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, vswitch.ErrDatapathGone)) {
		err = nil // stopped while there was nothing to serve
	}
	if err == nil && d.stats != nil {
		d.stopped()
	}
	return err
}

// serveOnce opens the datapath and serves it until ctx ends or the datapath is deleted.
func (d *run) serveOnce(ctx context.Context, open *opener.Opener) error {
	dp, created, err := open.Open(ctx)
	if err != nil {
		return err
	}
	d.devices.SetDatapathCreated(created)
	// The datapath may be served under another name, because its local port may have been
	// renamed.
	lock, err := d.lock(strconv.Itoa(int(dp.Index())), "index")
	if err != nil {
		return err
	}
	defer lock.release()
	if err := d.devices.SetUpLocalPort(dp); err != nil {
		d.log.emit(reconciler.PortSetupFailed{Name: dp.Name(), Err: err})
	}
	server, err := d.newServer(ctx, dp)
	if err != nil {
		return err
	}
	defer d.closeServer(server)
	if err := d.serveDatapath(ctx, server); err != nil {
		return err
	}
	if isRestart(ctx) {
		d.handOver(server)
		return nil
	}
	return d.leave(dp)
}

// openDevices opens the devices and makes them available to reloads.
func (d *run) openDevices() (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.devices, err = portdevice.New(d.cfg(), d.log.emit)
	return err
}

// newServer creates the server of dp with the current configuration, and makes it available to
// reloads.
func (d *run) newServer(ctx context.Context, dp *dpif.Datapath) (*vswitch.Server, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err // a restart stops only a server that exists
	}
	server, err := vswitch.NewServer(dp, d.serverConfig())
	d.inherited = nil
	if err != nil {
		return nil, err
	}
	d.server = server
	d.trace()
	return server, nil
}

func (d *run) closeServer(server *vswitch.Server) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.server = nil
	server.Close()
}

// trace sets the receivers of upcalls: the log at level debug, and clients that watch. The caller
// holds d.mu.
func (d *run) trace() {
	if d.server == nil {
		return
	}
	feeds := slices.Clone(d.feeds)
	switch {
	case d.log.enabled(event.Debug):
		sample := newSample(d.cfg().Log.UpcallRate)
		d.server.SetTracer(func(port string, u *dpif.Upcall, v *policy.Verdict) {
			d.traceUpcall(sample, port, u, v)
			offer(feeds, port, u, v)
		})
		d.server.SetFlowTracer(d.traceFlow)
	case len(feeds) > 0:
		d.server.SetTracer(func(port string, u *dpif.Upcall, v *policy.Verdict) { offer(feeds, port, u, v) })
		d.server.SetFlowTracer(nil)
	default:
		d.server.SetTracer(nil)
		d.server.SetFlowTracer(nil)
	}
}

// traceUpcall logs one upcall, at level debug, if it is in the sample.
func (d *run) traceUpcall(sample *tally, port string, u *dpif.Upcall, v *policy.Verdict) {
	held, ok := sample.due()
	if !ok {
		return
	}
	d.log.emit(evUpcall{Port: port, No: u.InPort, Kind: u.Kind.String(), PacketBytes: len(u.Packet), Decision: v.Reason,
		Install: v.Install, Key: string(odp.Text{}.AppendKey(nil, u.Key, nil)),
		Actions: string(odp.Text{}.AppendActions(nil, v.Actions.Bytes())), HeldBack: held})
}

// traceFlow logs a change of a flow by the revalidator, at level debug.
func (d *run) traceFlow(op, reason string, f *dpif.Flow, idle time.Duration) {
	d.log.emit(evFlowChanged{Op: op, Reason: reason, UFID: f.UFID, Packets: f.Packets, Idle: idle})
}

func offer(feeds []*control.Feed, port string, u *dpif.Upcall, v *policy.Verdict) {
	for _, f := range feeds {
		f.Offer(port, u, v)
	}
}

// serveDatapath runs the server and, once it is ready, the statistics.
func (d *run) serveDatapath(ctx context.Context, server *vswitch.Server) error {
	statsCtx, stopStats := context.WithCancel(context.Background())
	defer stopStats()
	var stats errgroup.Group
	stat := newStatsLog(d, server)
	d.mu.Lock()
	d.stats = stat
	d.mu.Unlock()
	logged := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		defer close(logged)
		d.log.emit(evStopping{Reason: context.Cause(ctx).Error()})
		d.notifyEnding(ctx)
	})
	defer func() {
		if !unwatch() {
			<-logged // before events after the stop
		}
	}()
	err := server.Run(ctx, func(waiting int) {
		d.ready(server, waiting)
		stats.Go(func() error { stat.run(statsCtx); return nil })
	})
	stopStats()
	_ = stats.Wait() // never returns an error
	stat.last()
	return err
}
