package daemon

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dpifd/internal/checkpoint"
	"dpifd/internal/config"
	"dpifd/internal/control"
	"dpifd/internal/fdstore"
	"dpifd/internal/logqueue"
	"dpifd/internal/policyswitch"
	"dpifd/internal/portdevice"
	"dpifd/internal/revalidator"
	"dpifd/internal/transport"
	"dpifd/internal/upcall"
	"dpifd/internal/vswitch"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"
)

// Options are the parameters of a run.
type Options struct {
	Config     *config.Config
	ConfigPath string    // as given, for the log
	Version    string    // of the program, for the log
	Log        io.Writer // where the log goes
	Priorities bool      // begin each line with its level for journald, <6>
	// Overrides override the file, in the form of config.Load, when it is read again.
	Overrides []string
	// Dump requests logging of the state; nil is never.
	Dump <-chan os.Signal
	// Reload requests a reload of the file at ConfigPath; nil is never.
	Reload <-chan os.Signal
	// Inherited are the descriptors passed to this process. Run owns them.
	Inherited []fdstore.Descriptor
	// Restart requests a hand-over of the upcall sockets: to the service manager's store, after
	// which the daemon exits, or to the program that Exec starts in this process; nil is never.
	Restart <-chan os.Signal
	// Check reports whether that program could run the configuration. Exec returns only if the
	// program cannot be started.
	Check func(context.Context) error
	Exec  func(descriptors []fdstore.Descriptor) error
}

// logFlush limits the wait for the log's reader at the end of a run.
const logFlush = time.Second

// run is one run of the daemon.
type run struct {
	path    string
	set     []string                      // overrides of the file
	config  atomic.Pointer[config.Config] // in force; it does not change
	log     *logger
	lines   *logqueue.Queue // between the log and its reader
	policy  *policyswitch.Switch
	started time.Time
	served  bool                // a datapath was served before
	past    upcall.PortCounters // of previous datapaths
	stats   *statsLog           // of the current datapath

	clients clients // of the control socket

	store     *fdstore.Store       // of the service manager, nil if it has none
	inherited []fdstore.Descriptor // not given to a server yet
	left      []fdstore.Descriptor // handed over by the server

	looks atomic.Uint64 // number of looks for the module or the datapath, while there is none

	now checkpoint.Checkpoint // of the current datapath; none is written without Namespace

	mu      sync.Mutex          // orders reloads and the opening of datapaths; guards stats
	server  *vswitch.Server     // nil while no datapath is open
	feeds   []*control.Feed     // of clients that watch upcalls
	devices *portdevice.Manager // nil before the network namespace is entered
}

func (d *run) cfg() *config.Config { return d.config.Load() }

// Run serves the configured datapath until ctx ends, and returns nil then. The cause of ctx is
// logged as the reason. An error is logged as event failed, and returned. READY, STOPPING and
// STATUS are sent to the service manager if there is one.
func Run(ctx context.Context, o Options) error {
	lines := logqueue.New(o.Log)
	defer lines.Close(logFlush)
	log, err := newLogger(lines, o.Config, o.Priorities)
	if err != nil {
		return err
	}
	d := &run{path: o.ConfigPath, set: o.Overrides, log: log, lines: lines, started: time.Now(), inherited: o.Inherited,
		clients: newClients()}
	d.config.Store(o.Config)
	d.policy = policyswitch.New(log.emit)
	if err := d.policy.Use(o.Config); err != nil {
		log.emit(evFailed{Err: err})
		return err
	}
	host, _ := os.Hostname() // "" if unknown
	log.emit(evStarting{Host: host, Version: o.Version, PID: os.Getpid(), Config: o.ConfigPath, Netns: o.Config.Netns})
	stopControl := d.listen()
	reloading, stopReloads := context.WithCancel(ctx)
	var reloads errgroup.Group
	reloads.Go(func() error { d.reloads(reloading, o.Reload, o.Dump); return nil })
	reloads.Go(func() error { d.watch(reloading); return nil })
	reloads.Go(func() error { d.policy.ReportFlapping(reloading); return nil })
	reloads.Go(func() error { d.guardLoops(reloading); return nil })
	err = d.serveAcrossRestarts(ctx, &o)
	stopReloads()
	_ = reloads.Wait() // never returns an error
	stopControl()
	if err != nil {
		log.emit(evFailed{Err: err})
	}
	return err
}

// Fail logs the event failed for a start without Run, because the configuration cannot be used.
// It reads only Log, Priorities, and the datapath's name and log format of Config.
func Fail(o Options, err error) {
	log, logErr := newLogger(o.Log, o.Config, o.Priorities)
	if logErr != nil {
		return // the level is a default or has been checked
	}
	log.emit(evFailed{Err: err})
}

func (d *run) serverConfig() vswitch.Config {
	cfg := d.cfg()
	return vswitch.Config{
		Handlers: cfg.Handlers, Dispatch: cfg.Dispatch, RcvBuf: int(cfg.Socket.Rcvbuf),
		Ring: transport.RingConfig{Mode: cfg.Ring.Mode, TX: cfg.Ring.TX == config.TXAuto, Geometry: cfg.Ring.Geometry(),
			MemoryLimit: cfg.Ring.MemoryLimit},
		Flows: flowLimits(cfg), Prime: cfg.Flows.Prime,
		Policy: d.policy, Notify: d.log.emit,
		Ports: portdevice.Ports(cfg), Devices: d.devices,
		Inherited: d.inherited, Store: d.store,
	}
}

func (d *run) ready(server *vswitch.Server, waiting int) {
	ports := len(server.Ports())
	d.log.emit(evReady{Policy: string(d.cfg().Policy.Type), Handlers: server.Handlers(), Ports: ports,
		PortsWaiting: waiting, Startup: time.Since(d.started)})
	d.notifyManager(sd.SdNotifyReady, fmt.Sprintf("STATUS=serving %d ports of %s", ports, d.cfg().Datapath.Name))
	// Memory used by the start is garbage now, and little will be allocated later.
	debug.FreeOSMemory()
}

// notifyManager sends lines to the service manager, if there is one. It ignores errors:
// forwarding continues without the manager.
func (d *run) notifyManager(lines ...string) { _, _ = sd.SdNotify(false, strings.Join(lines, "\n")) }

func (d *run) stopped() {
	t := d.stats.total
	d.log.emit(evStopped{Uptime: time.Since(d.started), Upcalls: t.Upcalls, Executed: t.Executed,
		FlowsPut: t.FlowsPut, Lost: t.Lost() + d.stats.storm.Sum()})
}

// flowLimits returns the limits of the datapath's flows.
func flowLimits(cfg *config.Config) revalidator.Limits {
	return revalidator.Limits{MaxIdle: cfg.Flows.MaxIdle, Flows: cfg.Flows.Limit, MaxDump: cfg.Flows.MaxDump}
}
