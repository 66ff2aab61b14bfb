package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"dpifd/internal/config"
	"dpifd/internal/dpif"
	"dpifd/internal/forward"
	"dpifd/internal/mmapring"
	"dpifd/internal/netlink"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Options say what to run besides the configuration itself.
type Options struct {
	Config     *config.Config
	ConfigPath string    // as given, for the log
	Version    string    // of the program, for the log
	Log        io.Writer // where the log goes
}

// run is one run of the daemon.
type run struct {
	cfg     *config.Config
	log     *logger
	policy  dpif.Policy
	macs    func() forward.Stats // nil unless the policy learns
	started time.Time
	stats   *statsLog
}

// Run serves the configured datapath until ctx ends, and returns nil then. The
// cause of ctx is logged as the reason. An error is logged as event failed,
// and returned. READY, STOPPING and STATUS go to the service manager if
// there is one.
func Run(ctx context.Context, o Options) error {
	log, err := newLogger(o.Log, o.Config.Log.Format, o.Config.Log.Level)
	if err != nil {
		return err
	}
	d := &run{cfg: o.Config, log: log, started: time.Now()}
	log.emit(evStarting, zap.String("version", o.Version), zap.Int("pid", os.Getpid()),
		zap.String("config", o.ConfigPath), zap.String("netns", o.Config.Netns))
	err = inNetns(o.Config.Netns, func() error { return d.serve(ctx) })
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = nil // stopped before there was anything to serve
	}
	if err != nil {
		log.emit(evFailed, zap.Error(err))
	}
	return err
}

func (d *run) newPolicy() error {
	switch d.cfg.Policy.Type {
	case config.PolicyLearning:
		l, err := forward.NewLearning(forward.Config{MACAging: d.cfg.Policy.MACAging, MACLimit: d.cfg.Policy.MACLimit})
		if err != nil {
			return err
		}
		d.policy, d.macs = l, l.Stats
	case config.PolicyFlood:
		d.policy = forward.NewFlood()
	case config.PolicyDrop:
		d.policy = forward.NewDrop()
	default:
		return fmt.Errorf("policy %q is not known", d.cfg.Policy.Type)
	}
	return nil
}

// serve is all of a run that belongs to the network namespace.
func (d *run) serve(ctx context.Context) error {
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{})
	if err != nil {
		return err
	}
	defer conn.Close()
	fam, err := d.resolve(ctx, conn)
	if err != nil {
		return err
	}
	if err := d.newPolicy(); err != nil {
		return err
	}
	dp, err := d.openDatapath(conn, fam)
	if err != nil {
		return err
	}
	server, err := dpif.NewServer(dp, d.serverConfig())
	if err != nil {
		return err
	}
	defer server.Close()
	if d.log.enabled(evUpcall) {
		server.SetTracer(d.traceUpcall)
		server.SetFlowTracer(d.traceFlow)
	}
	if err := d.serveDatapath(ctx, server); err != nil {
		return err
	}
	if err := d.leave(dp); err != nil {
		return err
	}
	d.stopped()
	return nil
}

func (d *run) serverConfig() dpif.Config {
	cfg := dpif.Config{
		Handlers: d.cfg.Handlers, RcvBuf: int(d.cfg.Socket.Rcvbuf),
		Ring:    d.ringConfig(),
		MaxIdle: d.cfg.Flows.MaxIdle, FlowLimit: d.cfg.Flows.Limit,
		Policy: d.policy, Notify: d.notify,
	}
	for _, p := range d.cfg.Ports {
		t := dpif.VportNetdev
		if p.Type == config.PortInternal {
			t = dpif.VportInternal
		}
		cfg.Ports = append(cfg.Ports, dpif.PortConfig{Name: p.Name, Type: t})
	}
	return cfg
}

func (d *run) ringConfig() dpif.RingConfig {
	r := d.cfg.Ring
	modes := map[config.RingMode]dpif.RingMode{
		config.RingOff: dpif.RingOff, config.RingAuto: dpif.RingAuto, config.RingRequire: dpif.RingRequire,
	}
	return dpif.RingConfig{
		Mode:        modes[r.Mode],
		Geometry:    mmapring.Geometry{FrameSize: r.FrameSize, BlockSize: r.BlockSize, Blocks: r.Blocks},
		MemoryLimit: r.MemoryLimit,
	}
}

// serveDatapath runs the server and, once it is ready, the statistics.
func (d *run) serveDatapath(ctx context.Context, server *dpif.Server) error {
	statsCtx, stopStats := context.WithCancel(context.Background())
	defer stopStats()
	var stats errgroup.Group
	d.stats = newStatsLog(d, server)
	said := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		defer close(said)
		d.log.emit(evStopping, zap.String("datapath", d.cfg.Datapath.Name), zap.String("reason", context.Cause(ctx).Error()))
		d.tellManager(sd.SdNotifyStopping)
	})
	defer func() {
		if !unwatch() {
			<-said // before what comes after the stop is said
		}
	}()
	err := server.Run(ctx, func(waiting int) {
		d.ready(server, waiting)
		stats.Go(func() error { d.stats.run(statsCtx); return nil })
	})
	stopStats()
	_ = stats.Wait() // it has no error to return
	d.stats.last()
	return err
}

func (d *run) ready(server *dpif.Server, waiting int) {
	ports := len(server.Ports())
	d.log.emit(evReady, zap.String("datapath", d.cfg.Datapath.Name), zap.String("policy", string(d.cfg.Policy.Type)),
		zap.Int("handlers", server.Handlers()), zap.Int("ports", ports), zap.Int("ports_waiting", waiting),
		zap.Int64("startup_ms", time.Since(d.started).Milliseconds()))
	d.tellManager(sd.SdNotifyReady, fmt.Sprintf("STATUS=serving %d ports of %s", ports, d.cfg.Datapath.Name))
}

// tellManager sends to the service manager; without one it does nothing. A
// manager that does not listen is no reason to stop forwarding.
func (d *run) tellManager(lines ...string) { _, _ = sd.SdNotify(false, strings.Join(lines, "\n")) }

func (d *run) stopped() {
	t := d.stats.total
	d.log.emit(evStopped, zap.String("datapath", d.cfg.Datapath.Name),
		zap.Int64("uptime_s", int64(time.Since(d.started).Seconds())), zap.Uint64("upcalls", t.Upcalls),
		zap.Uint64("executed", t.Executed), zap.Uint64("flows_put", t.FlowsPut), zap.Uint64("lost", lost(&t)))
}
