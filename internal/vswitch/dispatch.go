package vswitch

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/upcall"

	"golang.org/x/sys/unix"
)

// Dispatch says by what the kernel chooses the socket for an upcall.
type Dispatch uint8

const (
	// DispatchPerVport is by the vport that the packet came in on. A vport that
	// floods fills its own queue only, and its packets stay in order.
	DispatchPerVport Dispatch = iota
	// DispatchPerCPU is by the CPU that the packet came up on, one socket for
	// each handler (OVS_DP_F_DISPATCH_UPCALL_PER_CPU, Linux >= 5.15). Sockets
	// are as many as handlers, however many vports there are; ports share
	// their queues.
	DispatchPerCPU
)

func (d Dispatch) String() string {
	switch d {
	case DispatchPerVport:
		return "per-vport"
	case DispatchPerCPU:
		return "per-cpu"
	default:
		return "unknown"
	}
}

// cpuPoll is how often a Server with per-CPU dispatch looks which CPUs are
// online.
const cpuPoll = time.Second

// noPerCPU is why dispatch is not by CPU where that was configured.
const noPerCPU = "the kernel cannot dispatch by CPU (Linux >= 5.15)"

// negotiate sets the user features, and with them the dispatch: the one
// configured where the kernel has it.
func (s *Server) negotiate(k dpif.FeatureKernel) error {
	before, err := k.Info()
	if err != nil {
		return err
	}
	asked, why := s.wantedFeatures(), "configured"
	if s.cfg.Dispatch == DispatchPerCPU {
		if err := s.openShared(before); err != nil {
			return err
		}
		asked |= dpif.FeatureDispatchPerCPU
	}
	if s.features, err = dpif.SetFeatures(k, asked, s.perCPUPIDs()); err != nil {
		return err
	}
	if s.cfg.Dispatch == DispatchPerCPU {
		has, err := s.dispatchesByCPU(k)
		if err != nil {
			return err
		}
		if !has {
			why = noPerCPU
			s.closeShared()
		}
	}
	for _, h := range s.handlers {
		s.cfg.Notify(HandlerStarted{Handler: h.ID(), Transport: h.Transport(), Reason: s.requestReasons[h.ID()]})
	}
	s.cfg.Notify(FeaturesSet{Asked: asked, Kept: s.features, Before: before.Features, Rings: s.noRings == nil})
	chosen := DispatchSelected{Dispatch: s.dispatch(), Reason: why, CPUs: s.cpus.list}
	for _, ch := range s.shared {
		chosen.UpcallPIDs = append(chosen.UpcallPIDs, ch.sock.PortID())
		chosen.RcvBuf = ch.sock.RcvBuf()
	}
	s.cfg.Notify(chosen)
	return nil
}

// dispatchesByCPU reports whether the kernel does what was asked of it. That it
// keeps the feature is not enough, see RefusesUnknown; one that has the table of
// PIDs knows what it is for, but Linux < 6.1 does not tell it. Where it does not,
// the feature is taken back.
func (s *Server) dispatchesByCPU(k dpif.FeatureKernel) (bool, error) {
	if s.features&dpif.FeatureDispatchPerCPU == 0 {
		return false, nil
	}
	info, err := k.Info()
	if err != nil || info.PerCPUPIDs != nil {
		return err == nil, err
	}
	if refuses, err := dpif.RefusesUnknown(k); err != nil || refuses {
		return refuses, err
	}
	s.features, err = dpif.SetFeatures(k, s.features&^dpif.FeatureDispatchPerCPU, nil)
	return false, err
}

// dispatch is the one in force.
func (s *Server) dispatch() Dispatch {
	if s.shared != nil {
		return DispatchPerCPU
	}
	return DispatchPerVport
}

// openShared opens a socket for each handler, or takes over one of those that
// the datapath's upcalls go to. They queue what comes until serveShared.
func (s *Server) openShared(before dpif.DatapathInfo) (err error) {
	if s.cpuReader, err = openCPUs(); err != nil {
		return err
	}
	if s.cpus, err = s.cpuReader.read(); err != nil {
		return err
	}
	pids := before.PerCPUPIDs
	if pids == nil && before.Features&dpif.FeatureDispatchPerCPU != 0 {
		// The kernel does not tell, but no others than these can be meant.
		pids = slices.Sorted(maps.Keys(s.inherited))
	}
	var shared []*channel
	for _, h := range s.handlers {
		ch := s.adoptShared(pids, h.ID())
		if ch == nil {
			sock, err := netlink.OpenReceiver(unix.NETLINK_GENERIC, netlink.ReceiverConfig{RcvBuf: s.cfg.RcvBuf})
			if err != nil {
				return fmt.Errorf("handler %d: upcall socket: %w", h.ID(), err)
			}
			ch = &channel{sock: upcall.NewSharedSocket(sock, h.ID())}
		}
		ch.reason = "dispatch by CPU has no rings"
		ch.Port, ch.handler = ch.sock.Port(), h
		s.served++
		ch.serial = s.served
		shared = append(shared, ch)
		s.keep(ch)
	}
	s.mu.Lock()
	s.shared = shared
	s.mu.Unlock()
	return nil
}

// serveShared has the handlers take what comes to their sockets. Not before the
// policy knows the ports, lest it drop what was queued while one process followed
// another.
func (s *Server) serveShared() error {
	for _, ch := range s.shared {
		for _, err := range ch.handler.Attach(ch.sock) {
			return err
		}
	}
	return nil
}

// adoptShared returns a channel with an inherited socket of per-CPU dispatch,
// nil if none is left.
func (s *Server) adoptShared(pids []uint32, handler int) *channel {
	for _, pid := range pids {
		if in, ok := s.inherited[pid]; ok {
			delete(s.inherited, pid)
			s.adopted++
			return &channel{sock: upcall.NewSharedSocket(in.sock, handler), stored: in.name}
		}
	}
	return nil
}

// closeShared gives up the sockets that no handler serves yet.
func (s *Server) closeShared() {
	for _, ch := range s.shared {
		s.forget(ch)
		ch.sock.Close()
	}
	s.cpuReader.close()
	s.mu.Lock()
	s.shared = nil
	s.mu.Unlock()
}

// perCPUPIDs are the upcall PIDs by CPU, nil without per-CPU dispatch. CPUs that
// are not online have one as well: whatever comes, the kernel finds a handler.
func (s *Server) perCPUPIDs() []uint32 {
	if s.shared == nil {
		return nil
	}
	pids := make([]uint32, len(s.shared))
	for i, ch := range s.shared {
		pids[i] = ch.sock.PortID()
	}
	return spread(s.cpus, pids)
}

// checkCPUs looks whether CPUs went or came, and has the handlers share those that
// are online.
func (s *Server) checkCPUs() error {
	now, err := s.cpuReader.read()
	if err != nil || now.list == s.cpus.list {
		return err
	}
	was := s.cpus.list
	s.cpus = now
	if _, err := s.dp.SetFeatures(s.features, s.perCPUPIDs()); err != nil {
		return s.gone(err)
	}
	s.cfg.Notify(CPUsChanged{Online: now.list, Was: was, Handlers: len(s.shared)})
	return nil
}

// upcallsOff has the kernel send no more upcalls to the sockets of these vports,
// nor to those of CPUs unless these are handed over.
func (s *Server) upcallsOff(ports []odp.PortNo, shared bool) error {
	err := s.dp.ClearUpcallPIDs(ports)
	if shared {
		_, offErr := s.dp.SetFeatures(s.features&^dpif.FeatureDispatchPerCPU, nil)
		if dpif.IsGone(offErr) {
			offErr = nil
		}
		err = errors.Join(err, offErr)
	}
	return err
}

// everyChannel lists the vports' channels and those of CPUs. s.mu is held.
func (s *Server) everyChannel() []*channel {
	return slices.AppendSeq(slices.Clone(s.shared), maps.Values(s.channels))
}

// tableChanged lets handlers with sockets of all ports see the ports there are. s.mu is held.
func (s *Server) tableChanged() {
	if s.shared == nil {
		return
	}
	t := make(map[odp.PortNo]*upcall.Port, len(s.channels))
	for no, ch := range s.channels {
		t[no] = ch.Port
	}
	s.table.Set(t)
}

// samePIDs reports whether the kernel has the upcall PIDs by CPU that it is to
// have, as far as it tells.
func (s *Server) samePIDs(found []uint32) bool {
	return s.shared == nil || found == nil || slices.Equal(found, s.perCPUPIDs())
}
