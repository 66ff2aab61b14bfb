package vswitch

import (
	"fmt"
	"sync"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/metric"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/revalidator"
	"dpifd/internal/transport"
	"dpifd/internal/upcall"

	"golang.org/x/sys/unix"
)

// Stats has all counters of a served datapath.
type Stats struct {
	Datapath    dpif.DatapathInfo
	Ports       []PortStats         // in order of their numbers
	Past        upcall.PortCounters // the sum over removed ports
	Shared      []PortStats         // the sockets of per-CPU dispatch: No is MaxPorts; upcalls of known ports count there
	Revalidator revalidator.Counters
	FlowLimit   int64                        // in force now
	Storm       map[string]policy.StormDrops // of Revalidator.Storm, by the name of a port's entry
	StaticFlows int                          // of the datapath's flows, those of the configuration
	Polls       uint64                       // calls of epoll by handlers
	Batches     uint64                       // batches of upcalls answered
	BatchTime   time.Duration                // from receipt of a batch until its answers were sent, sum over Batches
	CPUWait     time.Duration                // of the handlers' threads, summed, see upcall.Handler.CPUWait; 0 from Losses
	SendErrors  uint64                       // batches that could not be sent completely
	LastRefusal unix.Errno
	Requests    netlink.Counters // of the handlers' request sockets, summed
	RingBytes   uint64           // memory of all RX rings
	Restored    RestoredCounters
	Notifiers   netlink.Counters // of the sockets of the port poll, summed
	// RequestSockets are all request sockets, the handlers' first.
	RequestSockets []RequestSocket
}

// RestoredCounters count, since the Server was created, changes by other programs that were
// restored, and lost notifications.
type RestoredCounters struct {
	Features          uint64 // changes of the datapath's user features
	UpcallPIDs        uint64 // changes of a vport's upcall PIDs
	NotifierOverflows uint64 // everything was listed again after each
}

// RequestSocket is one request socket.
type RequestSocket struct {
	Owner    string // "handler 0", "revalidator", "control" or "statistics"
	Counters netlink.Counters
}

// PortStats are one served port's counters, the daemon's and the kernel's.
type PortStats struct {
	Serial    uint64 // distinguishes successive ports with the same number
	No        odp.PortNo
	Name      string
	Handler   int
	UpcallPID uint32
	Transport netlink.Transport
	// RingFrames is the number of frames of the port's ring, 0 without ring.
	RingFrames uint32
	Counters   upcall.PortCounters
	Storm      policy.StormDrops // since the Server was created, of the port's entry
	Vport      dpif.VportStats
	Kernel     dpif.UpcallStats
}

// statistics is the request state of Stats.
type statistics struct {
	mu   sync.Mutex
	dp   *dpif.Datapath
	lost uint64 // the datapath's when drops were last read
}

// Stats collects all counters. It may be called from any goroutine while the
// Server is open.
func (s *Server) Stats() (Stats, error) { return s.stats(true) }

// Losses is Stats without the kernel's counters of each vport, for periodic checks: it makes
// one request to the kernel, independent of the number of ports, and a system call per port
// only if the datapath has lost upcalls since the last call of either.
func (s *Server) Losses() (Stats, error) { return s.stats(false) }

func (s *Server) stats(all bool) (Stats, error) {
	s.statistics.mu.Lock()
	defer s.statistics.mu.Unlock()
	var st Stats
	var err error
	if st.Datapath, err = s.statistics.dp.Info(); err != nil {
		return st, err
	}
	vports := map[odp.PortNo]*dpif.Vport{}
	if all {
		list, err := s.statistics.dp.Vports()
		if err != nil {
			return st, err
		}
		for i := range list {
			vports[list[i].No] = &list[i]
		}
	}
	// The datapath does not count drops of rings as lost.
	if lost := st.Datapath.Stats.Lost; all || lost != s.statistics.lost || s.sockets.HasRings() {
		s.statistics.lost = lost
		s.sockets.ReadDrops(s.everySocket())
	}
	st.Storm = s.revalidator.StormDrops()
	storm := s.stormDrops(st.Storm)
	ports := s.reconciler.Table().Load()
	st.Past = ports.Past
	st.Ports = make([]PortStats, 0, len(ports.List))
	for _, port := range ports.List {
		p := portStats(port.Port, port.Socket)
		p.Storm = storm[port.No]
		if v := vports[port.No]; v != nil {
			p.Vport, p.Kernel = v.Stats, v.Upcalls
		}
		if port.Socket != nil {
			st.RingBytes += port.Socket.RingBytes
		}
		st.Ports = append(st.Ports, p)
	}
	for _, sock := range s.sockets.Shared() {
		st.Shared = append(st.Shared, portStats(sock.Port(), sock))
	}
	st.Revalidator, st.FlowLimit = s.revalidator.Counters(), s.budget.Limit()
	st.StaticFlows = s.revalidator.InstalledStaticFlows()
	for _, h := range s.handlers {
		c := h.Counters()
		st.Polls += c.Polls
		st.Batches += c.Batches
		st.BatchTime += c.BatchTime
		if all {
			st.CPUWait += h.CPUWait()
		}
		st.SendErrors += c.SendErrors
		st.Requests.Add(c.Requests)
		st.RequestSockets = append(st.RequestSockets, RequestSocket{fmt.Sprintf("handler %d", h.ID()), c.Requests})
		if c.LastRefusal != 0 {
			st.LastRefusal = c.LastRefusal
		}
	}
	st.RequestSockets = append(st.RequestSockets, RequestSocket{"revalidator", s.revalidator.Requests()},
		RequestSocket{"control", s.dp.Conn().Counters()}, RequestSocket{"statistics", s.statistics.dp.Conn().Counters()})
	st.Notifiers = s.notifier.counters()
	st.Restored = RestoredCounters{s.featuresRestored.Load(), s.restores.UpcallPIDs(), s.notifier.overflows.Load()}
	return st, nil
}

// portStats are the daemon's counters of a port.
func portStats(p *upcall.Port, sock *transport.Socket) PortStats {
	return PortStats{Serial: p.Serial(), No: p.No, Name: p.Name(), Handler: sock.HandlerID(), UpcallPID: sock.PortID(),
		Transport: sock.Transport(), RingFrames: sock.RingFrames(), Counters: p.Counters()}
}

// LongestBatch returns the longest time that a batch took since the last call, of
// all handlers. It may be called from any goroutine.
func (s *Server) LongestBatch() time.Duration {
	var longest time.Duration
	for _, h := range s.handlers {
		longest = max(longest, h.LongestBatch())
	}
	return longest
}

// UpcallTimes returns the upcall latencies of all handlers since their start, see
// upcall.Handler.AddUpcallTimes. It may be called from any goroutine.
func (s *Server) UpcallTimes() (d metric.Distribution) {
	for _, h := range s.handlers {
		h.AddUpcallTimes(&d)
	}
	return d
}

// RingFill returns the maximum number of used frames in any ring since the last call. It may be
// called from any goroutine.
func (s *Server) RingFill() uint32 {
	var most uint32
	for _, h := range s.handlers {
		most = max(most, h.RingFill())
	}
	return most
}

// StaticFlows returns the static flows with their state, including those that wait for a port.
// It may be called from any goroutine.
func (s *Server) StaticFlows() []revalidator.StaticFlowStats { return s.revalidator.StaticFlows() }

// stormDrops converts the drops by entry to drops by port.
func (s *Server) stormDrops(byEntry map[string]policy.StormDrops) map[odp.PortNo]policy.StormDrops {
	byPort := make(map[odp.PortNo]policy.StormDrops, len(byEntry))
	if len(byEntry) == 0 {
		return byPort
	}
	for _, p := range s.Entries() {
		if drops, is := byEntry[p.Entry]; is {
			byPort[p.No] = drops
		}
	}
	return byPort
}

// Totals returns the sum of the counters of all ports, including removed ones, without querying
// the datapath, which may be gone. It may be called from any goroutine, also after Run.
func (s *Server) Totals() upcall.PortCounters {
	ports := s.reconciler.Table().Load()
	sum := ports.Past
	for _, p := range ports.List {
		sum.Add(p.CurrentCounters())
	}
	for _, sock := range s.sockets.Shared() {
		sum.Add(sock.Port().CurrentCounters())
	}
	return sum
}

// Total returns the sum of the counters of all ports, including removed ones.
func (st *Stats) Total() upcall.PortCounters {
	sum := st.Past
	for _, ports := range [][]PortStats{st.Ports, st.Shared} {
		for i := range ports {
			sum.Add(ports[i].Counters)
		}
	}
	return sum
}
