package daemon

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/vswitch"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// lossInterval is how often losses are looked for, and so how often one port
// and cause may appear in the log.
const lossInterval = time.Second

// statsLog writes stats, port_stats and upcalls_lost from the server's
// counters.
type statsLog struct {
	daemon *run
	server *vswitch.Server
	dp     zap.Field

	mu       sync.Mutex         // guards the rest
	start    dpif.DatapathStats // the kernel's counters when the run began
	previous interval
	total    vswitch.PortCounters // as of the last look
	// reported holds what upcalls_lost has said of the ports there are, next
	// is filled by the look under way.
	reported, next map[lossKey]uint64
	failing        bool
	evicted        map[odp.PortNo]uint64 // as macs_evicted has said
	overflows      map[string]uint64     // as request_overflow has said, by owner
}

// interval is what the deltas of a stats line are against.
type interval struct {
	at    time.Time
	dp    dpif.DatapathStats
	total vswitch.PortCounters
}

// lossKey names one count of losses.
type lossKey struct {
	port   odp.PortNo
	serial uint64 // tells apart ports that had the same number one after another
	cause  string
}

// wholeDatapath stands for the port in losses that belong to none.
const wholeDatapath = odp.PortNo(odp.MaxPorts)

func newStatsLog(d *run, server *vswitch.Server) *statsLog {
	s := &statsLog{daemon: d, server: server, dp: zap.String("datapath", d.cfg().Datapath.Name),
		reported: map[lossKey]uint64{}, next: map[lossKey]uint64{}, overflows: map[string]uint64{}, previous: interval{at: time.Now(), total: d.past}, total: d.past}
	if st, err := server.Stats(); err == nil {
		s.start, s.previous.dp = st.Datapath.Stats, st.Datapath.Stats
		d.takeCheckpoint(&st.Datapath)
	}
	return s
}

// run looks for losses every lossInterval, and writes stats every
// log.stats_interval unless that is 0, until ctx ends.
func (s *statsLog) run(ctx context.Context) {
	loss := time.NewTicker(lossInterval)
	defer loss.Stop()
	stats := time.NewTimer(0)
	defer stats.Stop()
	var every time.Duration
	for {
		// A reload may change the interval.
		if now := s.daemon.cfg().Log.StatsInterval; now != every {
			every = now
			stats.Stop()
			if every > 0 {
				stats.Reset(every)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-loss.C:
			s.look(false)
		case <-stats.C:
			if every > 0 {
				stats.Reset(every)
				s.look(true)
			}
		}
	}
}

// last writes what there is to say when the server has stopped.
func (s *statsLog) last() { s.look(s.daemon.cfg().Log.StatsInterval > 0) }

// look reads all counters once.
func (s *statsLog) look(print bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := s.server.Losses
	if print {
		count = s.server.Stats
	}
	st, err := count()
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) {
		// The datapath has gone, which the server says.
		s.total = s.server.Totals()
		s.total.Add(s.daemon.past)
		return
	}
	if err != nil {
		if !s.failing {
			s.daemon.log.emit(evStatsFailed, s.dp, zap.Error(err))
		}
		s.failing = true
		return
	}
	s.failing = false
	s.total = st.Total()
	s.total.Add(s.daemon.past)
	s.losses(&st)
	s.evictions(&st)
	s.requestOverflows(&st)
	s.daemon.leaveCheckpoint(&st.Datapath, nil)
	if print {
		s.print(s.daemon.log, &st, s.server.LongestBatch())
		s.previous = interval{time.Now(), st.Datapath.Stats, s.total}
	}
}

// losses writes upcalls_lost for each port and cause whose count has grown.
func (s *statsLog) losses(st *vswitch.Stats) {
	s.eachLoss(st, func(k lossKey, port string, n uint64) { s.lossGrew(k, port, n, st) })
	s.reported, s.next = s.next, s.reported
	clear(s.next)
}

// loss is how much was lost for one cause.
type loss struct {
	cause string
	n     uint64
}

func lossesOf(c *vswitch.PortCounters) [7]loss {
	return [...]loss{
		{"socket_overflow", c.SocketDrops - c.RingDrops},
		{"ring_full", c.RingDrops},
		{"decode_error", undecodable(c)},
		{"kernel_refused", c.ExecuteRefused},
		{"policy_error", c.PolicyErrors},
		{"action_upcall", c.ActionUpcalls},
		{"shed", c.Shed},
	}
}

// eachLoss calls fn with what each port has lost, by cause, zeros included.
func (s *statsLog) eachLoss(st *vswitch.Stats, fn func(k lossKey, port string, n uint64)) {
	var drops uint64
	for _, list := range [...][]vswitch.PortStats{st.Ports, st.Shared} {
		for i := range list {
			p := &list[i]
			for _, l := range lossesOf(&p.Counters) {
				fn(lossKey{p.No, p.Serial, l.cause}, p.Name, l.n)
			}
			drops += p.Counters.SocketDrops
		}
	}
	drops += st.Past.SocketDrops
	// The kernel counts in one number what no port's socket took. Its number
	// was read before the sockets', so what is left over is never too large.
	if lost := st.Datapath.Stats.Lost - s.start.Lost; lost > drops {
		fn(lossKey{wholeDatapath, 0, "no_listener"}, "", lost-drops)
	}
}

func (s *statsLog) lossGrew(k lossKey, port string, n uint64, st *vswitch.Stats) {
	if n == 0 {
		return
	}
	before := s.reported[k]
	s.next[k] = max(n, before)
	if n <= before {
		return
	}
	errno := ""
	if k.cause == "kernel_refused" {
		errno = st.LastRefusal.Error()
	}
	s.daemon.log.emit(evUpcallsLost, s.dp, zap.String("port", port), zap.Uint32("port_no", uint32(k.port)),
		zap.String("cause", k.cause), zap.Uint64("lost", n-before), zap.Uint64("lost_total", n), zap.String("last_errno", errno))
}

// print writes the stats line, and one for each port. longest is the longest
// batch of the interval.
func (s *statsLog) print(out emitter, st *vswitch.Stats, longest time.Duration) {
	now := time.Now()
	k, was, start := &st.Datapath.Stats, &s.previous.dp, &s.start
	t, b := &s.total, &s.previous.total
	r := &st.Revalidator
	macs := s.daemon.policy.macs()
	out.emit(evStats, s.dp,
		zap.Int64("uptime_s", int64(now.Sub(s.daemon.started).Seconds())),
		zap.Int64("interval_ms", now.Sub(s.previous.at).Milliseconds()),
		zap.Int("goroutines", runtime.NumGoroutine()), zap.Int("ports", len(st.Ports)),
		zap.Uint64("hit", k.Hit-start.Hit), zap.Uint64("hit_delta", k.Hit-was.Hit),
		zap.Uint64("missed", k.Missed-start.Missed), zap.Uint64("missed_delta", k.Missed-was.Missed),
		zap.Uint64("lost", k.Lost-start.Lost), zap.Uint64("lost_delta", k.Lost-was.Lost),
		zap.Uint64("flows", k.Flows), zap.Int("flows_static", st.StaticFlows), zap.Int64("flow_limit", st.FlowLimit), zap.Uint32("masks", k.Masks),
		zap.Uint64("mask_hit", k.MaskHit-start.MaskHit), zap.Uint64("cache_hit", k.CacheHit-start.CacheHit),
		zap.Uint64("upcalls", t.Upcalls), zap.Uint64("upcalls_delta", t.Upcalls-b.Upcalls),
		zap.Uint64("upcall_bytes", t.Bytes), zap.Uint64("upcall_bytes_delta", t.Bytes-b.Bytes),
		zap.Uint64("executed", t.Executed), zap.Uint64("executed_delta", t.Executed-b.Executed),
		zap.Uint64("dropped", t.Dropped), zap.Uint64("dropped_delta", t.Dropped-b.Dropped),
		zap.Uint64("flows_put", t.FlowsPut), zap.Uint64("flows_put_delta", t.FlowsPut-b.FlowsPut),
		zap.Uint64("flows_existing", t.FlowsExisting), zap.Uint64("flows_refused", t.FlowsRefused),
		zap.Uint64("flows_over_limit", t.FlowsOverLimit),
		zap.Uint64("flows_expired", r.Expired), zap.Uint64("flows_deleted", r.Deleted), zap.Uint64("flows_corrected", r.Corrected), zap.Uint64("sweeps_refused", r.Failed),
		zap.Uint64("revalidator_cycles", r.Cycles), zap.Int64("revalidator_dump_ms", r.LastDump.Milliseconds()),
		zap.Uint64("action_upcalls", t.ActionUpcalls), zap.Uint64("execute_refused", t.ExecuteRefused),
		zap.Uint64("decode_errors", t.DecodeErrors), zap.Uint64("receive_errors", t.ReceiveErrors),
		zap.Uint64("foreign", t.Foreign+t.Socket.Foreign+t.Socket.RingForeign+foreignRequests(st)),
		zap.Uint64("policy_errors", t.PolicyErrors), zap.Uint64("socket_drops", t.SocketDrops), zap.Uint64("shed", t.Shed),
		zap.Uint64("received_linear", t.Socket.ReceivedLinear), zap.Uint64("received_ring", t.Socket.ReceivedRing),
		zap.Uint64("received_copy", t.Socket.ReceivedCopy), zap.Uint64("received_bytes", t.Socket.Bytes),
		zap.Uint64("jumbo", t.Socket.Jumbo), zap.Uint64("aborted", t.Socket.Aborted),
		zap.Uint64("truncated", t.Socket.Truncated),
		zap.Uint64("malformed", t.Socket.Malformed+t.Socket.Oversized+t.Socket.UnknownStatus),
		zap.Uint64("overflows", t.Socket.Overflows), zap.Uint64("overruns", t.Socket.Overruns),
		zap.Uint64("ring_bytes", st.RingBytes),
		zap.Uint64("sent_linear", st.Requests.SentLinear), zap.Uint64("sent_ring", st.Requests.SentRing),
		zap.Uint64("request_overflows", st.Requests.Overflows),
		zap.Uint64("features_restored", st.Restored.Features), zap.Uint64("upcall_pids_restored", st.Restored.UpcallPIDs),
		zap.Uint64("notifier_overflows", st.Restored.NotifierOverflows),
		zap.Uint64("epoll_waits", st.Polls), zap.Uint64("batches", st.Batches), zap.Int64("batch_us", st.BatchTime.Microseconds()),
		zap.Int64("batch_max_us", longest.Microseconds()), zap.Uint64("send_errors", st.SendErrors),
		zap.Int("macs", macs.Entries), zap.Uint64("macs_learned", macs.Learned), zap.Uint64("macs_moved", macs.Moved),
		zap.Uint64("macs_expired", macs.Expired), zap.Uint64("macs_evicted", macs.Evicted))
	if l, ok := out.(*logger); ok && !l.enabled(evPortStats) {
		return
	}
	for i := range st.Ports {
		p := &st.Ports[i]
		out.emit(evPortStats, s.dp, zap.String("port", p.Name), zap.Uint32("port_no", uint32(p.No)),
			zap.Int("handler", p.Handler), zap.Uint64("upcalls", p.Counters.Upcalls),
			zap.Uint64("executed", p.Counters.Executed), zap.Uint64("dropped", p.Counters.Dropped),
			zap.Uint64("lost", lost(&p.Counters)), zap.Uint64("socket_drops", p.Counters.SocketDrops), zap.Uint64("shed", p.Counters.Shed),
			zap.Uint64("decode_errors", undecodable(&p.Counters)), zap.Uint64("execute_refused", p.Counters.ExecuteRefused),
			zap.Uint64("upcall_success", p.Kernel.Success), zap.Uint64("upcall_fail", p.Kernel.Fail),
			zap.Uint64("rx_packets", p.Vport.RxPackets), zap.Uint64("tx_packets", p.Vport.TxPackets),
			zap.Uint64("rx_bytes", p.Vport.RxBytes), zap.Uint64("tx_bytes", p.Vport.TxBytes),
			zap.Uint64("rx_dropped", p.Vport.RxDropped), zap.Uint64("tx_dropped", p.Vport.TxDropped))
	}
}
