package daemon

import (
	"dpifd/internal/vswitch"
	"os"
	"runtime"
	"time"

	"go.uber.org/zap"
)

// dumpState logs what the daemon is about, and the configuration in force.
func (d *run) dumpState() {
	d.mu.Lock() // the server stays open, and the configuration is of one piece
	defer d.mu.Unlock()
	cfg := d.cfg()
	dp := zap.String("datapath", cfg.Datapath.Name)
	var st vswitch.Stats
	var sockets []vswitch.PortSocket
	handlers := 0
	if d.server != nil {
		var err error
		if st, err = d.server.Stats(); err != nil {
			d.log.emit(evStatsFailed, dp, zap.Error(err))
		}
		sockets, handlers = d.server.PortSockets(), d.server.Handlers()
	}
	macs := d.policy.macs()
	d.log.emit(evStateDaemon, dp, zap.Int("pid", os.Getpid()), zap.Int64("uptime_s", int64(time.Since(d.started).Seconds())),
		zap.Bool("served", d.server != nil), zap.Stringer("log_level", d.log.level.Level()), zap.String("policy", string(cfg.Policy.Type)),
		zap.Stringer("features", st.Datapath.Features), zap.Int("handlers", handlers), zap.Int("goroutines", runtime.NumGoroutine()),
		zap.Int("ports", len(st.Ports)), zap.Uint64("flows", st.Datapath.Stats.Flows), zap.Int64("flow_limit", st.FlowLimit),
		zap.Uint32("masks", st.Datapath.Stats.Masks), zap.Int("macs", macs.Entries), zap.Int("mac_limit", cfg.Policy.MACLimit),
		zap.Uint64("ring_bytes", st.RingBytes), zap.Uint64("limit_bytes", cfg.Ring.MemoryLimit))
	for _, p := range sockets {
		d.log.emit(evStatePort, dp, zap.String("port", p.Name), zap.Uint32("port_no", uint32(p.No)), zap.Stringer("type", p.Type),
			zap.Int("handler", p.Handler), zap.Uint32("upcall_pid", p.UpcallPID), zap.Stringer("transport", p.Transport), zap.String("reason", p.Reason),
			zap.Int("rcvbuf_bytes", p.RcvBuf), zap.Uint32("queued_bytes", p.QueuedBytes), zap.Uint64("ring_bytes", p.RingBytes),
			zap.Uint32("max_upcalls", p.MaxUpcalls), zap.Int("macs", macs.PortEntries[p.No]))
	}
	d.log.emit(evStateConfig, dp, zap.String("config", d.path), zap.Strings("set", d.set), zap.ByteString("yaml", cfg.Effective()))
}
