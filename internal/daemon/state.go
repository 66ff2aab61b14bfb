package daemon

import (
	"os"
	"runtime"
	"time"

	"dpifd/internal/vswitch"
)

// dumpState logs the state of the daemon and the configuration in force.
func (d *run) dumpState() {
	d.mu.Lock() // the server stays open, and the configuration is consistent
	defer d.mu.Unlock()
	cfg := d.cfg()
	var st vswitch.Stats
	var sockets []vswitch.PortSocket
	handlers := 0
	if d.server != nil {
		var err error
		if st, err = d.server.Stats(); err != nil {
			d.log.emit(evStatsFailed{Err: err})
		}
		sockets, handlers = d.server.PortSockets(), d.server.Handlers()
	}
	macs := d.policy.Stats()
	d.log.emit(evStateDaemon{PID: os.Getpid(), Uptime: time.Since(d.started), Served: d.server != nil,
		LogLevel: d.log.level.String(), Policy: string(cfg.Policy.Type), Features: st.Datapath.Features,
		Handlers: handlers, Goroutines: runtime.NumGoroutine(), Ports: len(st.Ports),
		Flows: st.Datapath.Stats.Flows, FlowLimit: st.FlowLimit, Masks: st.Datapath.Stats.Masks,
		MACs: macs.Entries, MACLimit: cfg.Policy.MACLimit, RingBytes: st.RingBytes,
		LimitBytes: cfg.Ring.MemoryLimit})
	for _, p := range sockets {
		d.log.emit(evStatePort{Port: p.Name, No: p.No, Type: p.Type, Handler: p.Handler, UpcallPID: p.UpcallPID,
			Transport: p.Transport, Reason: p.Reason, RcvBuf: p.RcvBuf, QueuedBytes: p.QueuedBytes,
			RingBytes: p.RingBytes, RingFrames: p.RingFrames, RingUsed: p.RingUsed, Drops: p.Drops,
			MaxUpcalls: p.MaxUpcalls, MACs: macs.PortEntries[p.No], upcallTimes: upcallTimesOf(&p.UpcallTimes)})
	}
	d.log.emit(evStateConfig{Config: d.path, Set: d.set, YAML: string(cfg.Effective())})
}
