package daemon

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"dpifd/internal/cgroup"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/metric"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/totals"
	"dpifd/internal/upcall"
	"dpifd/internal/vswitch"

	"golang.org/x/sys/unix"
)

// lossInterval is the interval of checks for losses, and so the minimum interval of
// upcalls_lost per port and cause.
const lossInterval = time.Second

// cpuInterval is the interval of reading the CPU limit.
const cpuInterval = 10 * time.Second

// statsLog logs stats, port_stats and upcalls_lost from the server's counters.
type statsLog struct {
	daemon *run
	server *vswitch.Server

	mu       sync.Mutex         // guards the rest
	start    dpif.DatapathStats // the kernel's counters when the run began
	previous metric.Values      // of totals.Table, as of the last stats line
	printed  time.Time          // of that line
	// upcalls are the latencies of upcalls from the start until the last stats event, and until the
	// one before.
	upcalls [2]metric.Distribution
	total   upcall.PortCounters // as of the last look
	storm   policy.StormDrops   // as of the last look
	// reported has the losses that upcalls_lost has reported for current ports; the current
	// look fills next.
	reported, next map[lossKey]uint64
	failing        bool
	evicted        map[odp.PortNo]uint64 // as reported by macs_evicted
	spoofed        spoofedLog
	overflows      map[string]uint64 // as reported by request_overflow, by owner
	logDropped     uint64            // as reported by log_dropped
	cpus           int               // of run: usable CPUs as reported by cpu_limit_changed
}

// lossKey names one count of losses.
type lossKey struct {
	port   odp.PortNo
	serial uint64 // distinguishes successive ports with the same number
	cause  string
}

// wholeDatapath is used as the port of losses that belong to no port.
const wholeDatapath = odp.PortNo(odp.MaxPorts)

func newStatsLog(d *run, server *vswitch.Server) *statsLog {
	s := &statsLog{daemon: d, server: server,
		cpus: cgroup.UsableCPUs(), reported: map[lossKey]uint64{}, next: map[lossKey]uint64{}, overflows: map[string]uint64{},
		previous: totals.Table.Read(&totals.Reading{Ports: d.past}), printed: time.Now(), total: d.past}
	if st, err := server.Stats(); err == nil {
		s.start = st.Datapath.Stats
		d.takeCheckpoint(server, &st.Datapath)
	}
	return s
}

// run checks for losses every lossInterval, and logs stats every log.stats_interval unless that
// is 0, until ctx ends.
func (s *statsLog) run(ctx context.Context) {
	loss := time.NewTicker(lossInterval)
	defer loss.Stop()
	cpus := time.NewTicker(cpuInterval)
	defer cpus.Stop()
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
		case <-cpus.C:
			s.cpuLimit()
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

// last logs the final events after the server has stopped.
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
		// The datapath is gone, which the server reports.
		s.total = s.server.Totals()
		s.total.Add(s.daemon.past)
		return
	}
	if err != nil {
		if !s.failing {
			s.daemon.log.emit(evStatsFailed{Err: err})
		}
		s.failing = true
		return
	}
	s.failing = false
	s.total = st.Total()
	s.total.Add(s.daemon.past)
	s.storm = st.Revalidator.Storm
	s.losses(&st)
	s.evictions(&st)
	s.spoofedPackets(&st, time.Now())
	s.requestOverflows(&st)
	s.droppedLines()
	s.daemon.leaveCheckpoint(s.server, &st.Datapath, nil, nil)
	if print {
		s.print(&st)
	}
}

// losses logs upcalls_lost for each port and cause whose count has increased.
func (s *statsLog) losses(st *vswitch.Stats) {
	s.eachLoss(st, func(k lossKey, port string, n uint64) { s.lossGrew(k, port, n, st) })
	s.reported, s.next = s.next, s.reported
	clear(s.next)
}

// loss is a number of losses with one cause.
type loss struct {
	cause string
	n     uint64
}

func lossesOf(c *upcall.PortCounters) [7]loss {
	return [...]loss{
		{"socket_overflow", c.SocketDrops - c.RingDrops},
		{"ring_full", c.RingDrops},
		{"decode_error", c.Undecodable()},
		{"execute_refused", c.ExecuteRefused},
		{"policy_error", c.PolicyErrors},
		{"action_upcall", c.ActionUpcalls},
		{"shed", c.Shed},
	}
}

// eachLoss calls fn with the losses of each port, by cause, including zeros.
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
	// The kernel has one counter for all losses. It was read before the counters of the
	// sockets, so the remainder is never too large.
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
	if k.cause == "execute_refused" {
		errno = st.LastRefusal.Error()
	}
	s.daemon.log.emit(evUpcallsLost{Port: port, No: k.port, Cause: k.cause, Lost: n - before, LostTotal: n,
		LastErrno: errno, Frames: ringFrames(st, k)})
}

// ringFrames returns the number of frames in a port's ring, 0 without a ring.
func ringFrames(st *vswitch.Stats, k lossKey) uint32 {
	for i := range st.Ports {
		if p := &st.Ports[i]; p.Serial == k.serial && p.No == k.port {
			return p.RingFrames
		}
	}
	return 0
}

// read collects all counters of the daemon.
func (s *statsLog) read(st *vswitch.Stats) *totals.Reading {
	return &totals.Reading{
		Uptime: time.Since(s.daemon.started), Goroutines: runtime.NumGoroutine(),
		Kernel: st.Datapath.Stats.Since(&s.start), Ports: s.total, Served: *st, MACs: s.daemon.policy.Stats(),
		Groups:     s.daemon.policy.GroupCounters(),
		LogDropped: s.daemon.lines.Dropped(),
	}
}

// print logs stats, and port_stats for each port.
func (s *statsLog) print(st *vswitch.Stats) {
	now, r := time.Now(), s.read(st)
	r.Longest, r.RingFill = s.server.LongestBatch(), s.server.RingFill()
	upcalls := s.server.UpcallTimes()
	r.Upcalls = upcalls.Since(&s.upcalls[0])
	s.upcalls[1], s.upcalls[0] = s.upcalls[0], upcalls
	values := totals.Table.Read(r)
	s.daemon.log.emit(evStats{Interval: now.Sub(s.printed), now: values, was: s.previous})
	s.printed, s.previous = now, values
	if !s.daemon.log.enabled(event.Debug) {
		return
	}
	for i := range st.Ports {
		p := &st.Ports[i]
		s.daemon.log.emit(evPortStats{Port: p.Name, No: p.No, values: vswitch.PortStatsMetrics.Read(p)})
	}
}

// cpuLimit logs a change of the number of CPUs that the process may use.
func (s *statsLog) cpuLimit() {
	cpus := cgroup.UsableCPUs()
	if s.daemon.cfg().Handlers == 0 && cpus != s.cpus {
		s.daemon.log.emit(evCPULimitChanged{CPUs: cpus, Before: s.cpus, Handlers: s.server.Handlers()})
	}
	s.cpus = cpus
}
