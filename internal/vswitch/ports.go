package vswitch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/epoll"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/upcall"

	"golang.org/x/sys/unix"
)

// noticeBatch is the number of notifications received together.
const noticeBatch = 64

// ids of the port poll's epoll events.
const (
	pollOVS = iota
	pollLink
)

// iflaIfname is IFLA_IFNAME, linux/if_link.h; sizeofIfinfomsg is
// sizeof(struct ifinfomsg), linux/rtnetlink.h, and offIfiIndex the place of its
// ifi_index.
const (
	iflaIfname      = 3
	sizeofIfinfomsg = 16
	offIfiIndex     = 4
)

// pollPorts waits for notifications and reconciles after each, until ctx
// ends. What a notification says is not relied upon: it only tells when to
// look.
func (s *Server) pollPorts(ctx context.Context) error {
	// A failed wake-up can only mean that the poller is closed.
	stop := context.AfterFunc(ctx, func() { _ = s.poller.Wake() })
	defer stop()
	var events [2]epoll.Event
	for ctx.Err() == nil {
		n, err := s.poller.Wait(events[:], s.pollTimeout())
		if err != nil {
			return fmt.Errorf("port poll: %w", err)
		}
		s.rounds.Add(1)
		if err := s.dispatcher.CheckCPUs(); err != nil {
			return s.gone(err)
		}
		changed := s.suspect.Swap(false)
		now := clock.Now()
		periodic := now >= s.nextLook
		for _, ev := range events[:n] {
			source, name, concerns := s.ovs, "ovs", s.concernsDatapath
			if ev.ID == pollLink {
				source, name, concerns = s.link, "link", s.concernsLink
			}
			concerned, err := s.drain(source, name, concerns)
			if err != nil {
				return err
			}
			changed = changed || concerned
		}
		if !changed && !periodic || ctx.Err() != nil {
			continue
		}
		s.hurried = changed
		if err := s.reconcile(); err != nil {
			return err
		}
		s.nextLook = s.nextRetry(clock.Now())
		if s.restores.postponed() {
			s.nextLook = min(s.nextLook, clock.Now()+restoreEvery)
		}
	}
	return nil
}

// cpuPoll is how often the port poll looks which CPUs are online under per-CPU dispatch.
const cpuPoll = time.Second

// pollTimeout is how long the port poll may sleep.
func (s *Server) pollTimeout() time.Duration {
	left := max(s.nextLook-clock.Now(), 0)
	if s.sockets.Shared() != nil {
		return min(left, cpuPoll) // the kernel's notices of CPUs come by another protocol
	}
	return left
}

// drain reads all notifications queued, and reports whether one of them, or
// an overflow, calls for a look.
func (s *Server) drain(r *netlink.Receiver, source string, concerns func(netlink.Header, []byte) bool) (changed bool, err error) {
	for {
		n, err := r.Receive(s.notices, noticeBatch)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			s.restored.overflows.Add(1)
			s.cfg.Notify(NotifierOverflow{Source: source})
			changed = true
			continue
		case err != nil:
			return changed, fmt.Errorf("%s notifier: %w", source, err)
		case n == 0:
			return changed, nil
		}
		for i := range n {
			h, payload, _, err := netlink.SplitMessage(s.notices.Data(i))
			changed = changed || err != nil || concerns(h, payload)
		}
		s.notices.Release()
	}
}

// concernsDatapath reports whether a notification of the ovs groups is about
// this datapath.
func (s *Server) concernsDatapath(_ netlink.Header, payload []byte) bool {
	return s.dp.ConcernedBy(payload)
}

// concernsLink reports whether a link notification is about a device that a
// configured port waits for, be it to see it gone, or tells a new name of a
// port, or that an internal port has moved to another network namespace: of that the
// ovs groups say nothing.
func (s *Server) concernsLink(h netlink.Header, payload []byte) bool {
	if h.Type != unix.RTM_NEWLINK && h.Type != unix.RTM_DELLINK || len(payload) < sizeofIfinfomsg {
		return false
	}
	it := netlink.NewAttrs(payload[sizeofIfinfomsg:])
	for it.Next() {
		if it.Type() == iflaIfname {
			name := it.String()
			_, waits := s.waiting[name]
			index := binary.NativeEndian.Uint32(payload[offIfiIndex:])
			return waits || s.renamed(index, name) || s.matches(name) != nil && !s.isDevice(index) ||
				h.Type == unix.RTM_DELLINK && s.isDevice(index)
		}
	}
	return false
}

// renamed reports whether the device of a served port has another name now.
func (s *Server) renamed(ifindex uint32, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := s.devices[ifindex]
	return ch != nil && ch.Name() != name
}

// isDevice reports whether a device is that of a served port.
func (s *Server) isDevice(ifindex uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.devices[ifindex] != nil
}

// reconcile compares what the kernel has with what is served, and mends the
// difference. Only the loss of the datapath, or of the means to ask about
// it, is an error.
func (s *Server) reconcile() error {
	// Who is told of a port may send there: the policy has to know it by then.
	defer s.tellArrived()
	s.restores.begin()
	if err := s.checkFeatures(); err != nil {
		return s.gone(err)
	}
	if err := s.takeWanted(); err != nil {
		return s.gone(err)
	}
	s.sweepDevices()
	vports, err := s.vports()
	if err != nil {
		return s.gone(err)
	}
	if gone := s.dropMissing(vports); len(gone) > 0 {
		// Before a number has a new owner the policy forgets what it knew
		// about the former one.
		s.tellPolicy(slices.DeleteFunc(slices.Clone(vports), func(v dpif.Vport) bool { return !s.serves(v.No) }))
		s.barrier()
		s.quarantine.add(gone)
	}
	s.bind(vports)
	if err := s.serve(vports); err != nil {
		return err
	}
	added, err := s.addConfigured(vports)
	if err != nil {
		return s.gone(err)
	}
	s.limitUpcalls()
	s.tellPolicy(append(vports, added...))
	// What a device sends when it is set up is forwarded: the policy knows the port.
	s.setUpDevices()
	return nil
}

// gone turns what the kernel says about a datapath that is not there into
// ErrDatapathGone: ENODEV, or ENOENT when the family has gone with the module.
func (s *Server) gone(err error) error {
	if dpif.IsGone(err) {
		return fmt.Errorf("%s: %w", s.dp.Name(), ErrDatapathGone)
	}
	return err
}

func (s *Server) checkFeatures() error {
	info, err := s.dp.Info()
	if err != nil || !s.dispatcher.Changed(info) {
		return err
	}
	if s.running && !s.restores.allow() {
		return nil
	}
	kept, err := s.dispatcher.Restore()
	if err == nil {
		s.restored.features.Add(1)
		if held, due := s.restores.say(odp.MaxPorts, time.Now()); due {
			s.cfg.Notify(FeaturesRestored{Found: info.Features, Kept: kept, HeldBack: held})
		}
	}
	return err
}

// dropMissing ends the service of vports that have gone, or whose number now
// belongs to another device, and returns their numbers. A device that was renamed
// is the same port.
func (s *Server) dropMissing(vports []dpif.Vport) (gone []odp.PortNo) {
	has := byNo(vports)
	for _, no := range s.Ports() {
		s.mu.Lock()
		ch := s.channels[no]
		s.mu.Unlock()
		switch v := has[no]; {
		case v == nil || !ch.isOf(*v):
			if len(gone) == 0 {
				s.statsMu.Lock()
				s.readDrops()
				s.statsMu.Unlock()
			}
			s.drop(ch)
			gone = append(gone, no)
		default:
			s.follow(ch, *v)
		}
	}
	for no := range s.broken {
		if has[no] == nil {
			delete(s.broken, no)
		}
	}
	return gone
}

// isOf reports whether ch serves the vport, and not another one that had the
// number before: by the device's index, or where that is not known by its name. An
// internal port that moves to another network namespace may get another index there;
// its upcalls go where they went.
func (c *channel) isOf(v dpif.Vport) bool {
	if v.No != c.No || v.Type != c.typ {
		return false
	}
	if v.Ifindex == c.ifindex {
		return v.Ifindex != 0 || v.Name == c.Name()
	}
	return v.Type == dpif.VportInternal && c.sock != nil && len(v.UpcallPIDs) == 1 && v.UpcallPIDs[0] == c.sock.PortID()
}

// serves reports whether a port of that number is served.
func (s *Server) serves(no odp.PortNo) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.channels[no] != nil
}

// follow notes the name and the index that a port's device has now.
func (s *Server) follow(ch *channel, v dpif.Vport) {
	if ch.ifindex != v.Ifindex {
		s.mu.Lock()
		if s.devices[ch.ifindex] == ch {
			delete(s.devices, ch.ifindex)
		}
		ch.ifindex = v.Ifindex
		s.devices[ch.ifindex] = ch
		s.mu.Unlock()
	}
	if was := ch.Name(); was != v.Name {
		ch.SetName(v.Name)
		s.cfg.Notify(PortRenamed{No: ch.No, Name: v.Name, Was: was})
	}
}

// drop answers what is still queued for a port, and closes its socket.
func (s *Server) drop(ch *channel) {
	var last upcall.PortCounters
	if ch.sock != nil {
		last = s.sockets.Detach(ch.sock)
	} else {
		last = ch.Counters()
	}
	s.mu.Lock()
	delete(s.channels, ch.No)
	if s.devices[ch.ifindex] == ch {
		delete(s.devices, ch.ifindex)
	}
	s.tableChanged()
	s.past.Add(last)
	s.mu.Unlock()
	s.bound.Forget(ch.No)
	s.cfg.Notify(PortRemoved{Name: ch.Name(), No: ch.No, Upcalls: last.Upcalls, Executed: last.Executed, Lost: last.Lost()})
}

func (s *Server) tellPolicy(vports []dpif.Vport) {
	ports := make([]policy.Port, len(vports))
	configured := make(map[string]bool, len(s.cfg.Ports))
	for _, p := range s.cfg.Ports {
		configured[p.Name] = true
	}
	s.mu.Lock()
	for i, v := range vports {
		ports[i] = s.policyPort(&v, configured)
		if ch := s.channels[v.No]; ch != nil {
			ports[i].SinceMS = ch.sinceMS
		} else if s.running || s.bound.Replaced(v.No) {
			ports[i].SinceMS = sinceNow() // no upcall of it is decided
		}
	}
	s.mu.Unlock()
	generation := s.cfg.Policy.Generation()
	s.cfg.Policy.SetPorts(ports)
	if s.cfg.Policy.Generation() != generation {
		s.revalidator.Wake()
	}
}
