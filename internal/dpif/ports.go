package dpif

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"dpifd/internal/epoll"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

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
		if s.shared != nil {
			if err := s.checkCPUs(); err != nil {
				return err
			}
		}
		if ctx.Err() == nil {
			s.shareRings(monotonic())
		}
		changed := s.suspect.Swap(false)
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
		if !changed || ctx.Err() != nil {
			continue
		}
		if err := s.reconcile(); err != nil {
			return err
		}
	}
	return nil
}

// pollTimeout is how long the port poll may sleep.
func (s *Server) pollTimeout() time.Duration {
	if s.shared != nil {
		return cpuPoll // the kernel's notices of CPUs come by another protocol
	}
	return s.untilShare(monotonic())
}

// drain reads all notifications queued, and reports whether one of them, or
// an overflow, calls for a look.
func (s *Server) drain(r *netlink.Receiver, source string, concerns func(netlink.Header, []byte) bool) (changed bool, err error) {
	for {
		n, err := r.Receive(s.notices, batchSize)
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
	r, err := parseReply(payload)
	return err != nil || r.index == s.dp.idx
}

// concernsLink reports whether a link notification is about a device that a
// configured port waits for, be it to see it gone, or tells a new name of a
// port: of that the ovs groups say nothing.
func (s *Server) concernsLink(h netlink.Header, payload []byte) bool {
	if h.Type != unix.RTM_NEWLINK && h.Type != unix.RTM_DELLINK || len(payload) < sizeofIfinfomsg {
		return false
	}
	it := netlink.NewAttrs(payload[sizeofIfinfomsg:])
	for it.Next() {
		if it.Type() == iflaIfname {
			name := it.String()
			_, waits := s.waiting[name]
			return waits || s.renamed(binary.NativeEndian.Uint32(payload[offIfiIndex:]), name)
		}
	}
	return false
}

// renamed reports whether the device of a served port has another name now.
func (s *Server) renamed(ifindex uint32, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ch := range s.channels {
		if ch.ifindex == ifindex {
			return ch.name.get() != name
		}
	}
	return false
}

// reconcile compares what the kernel has with what is served, and mends the
// difference. Only the loss of the datapath, or of the means to ask about
// it, is an error.
func (s *Server) reconcile() error {
	if err := s.checkFeatures(); err != nil {
		return s.gone(err)
	}
	if err := s.takeWanted(); err != nil {
		return s.gone(err)
	}
	s.sweepDevices()
	vports, err := s.dp.Vports()
	if err != nil {
		return s.gone(err)
	}
	if gone := s.dropMissing(vports); len(gone) > 0 {
		// Before a number has a new owner the policy forgets what it knew
		// about the former one.
		s.tellPolicy(slices.DeleteFunc(slices.Clone(vports), func(v Vport) bool { return !s.serves(v.No) }))
		s.vacate(gone)
	}
	for _, v := range vports {
		if err := s.serve(v); err != nil {
			return err
		}
	}
	added, err := s.addConfigured(vports)
	if err != nil {
		return s.gone(err)
	}
	s.tellPolicy(append(vports, added...))
	return nil
}

// gone turns what the kernel says about a datapath that is not there into
// ErrDatapathGone: ENODEV, or ENOENT when the family has gone with the module.
func (s *Server) gone(err error) error {
	if isGone(err) {
		return fmt.Errorf("%s: %w", s.dp.name, ErrDatapathGone)
	}
	return err
}

// isGone reports whether err says that what a request was about is not there
// any more.
func isGone(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT)
}

func (s *Server) checkFeatures() error {
	info, err := s.dp.Info()
	if err != nil || info.Features == s.features && s.samePIDs(info.PerCPUPIDs) {
		return err
	}
	kept, err := s.dp.SetFeatures(s.features, s.perCPUPIDs())
	if err == nil {
		s.restored.features.Add(1)
		s.cfg.Notify(FeaturesRestored{Found: info.Features, Kept: kept})
		// The change is notified like anybody's: what the kernel does not keep
		// must not be asked for again and again.
		s.features = kept
	}
	return err
}

// dropMissing ends the service of vports that have gone, or whose number now
// belongs to another device, and returns their numbers. A device that was renamed
// is the same port.
func (s *Server) dropMissing(vports []Vport) (gone []odp.PortNo) {
	for _, no := range s.Ports() {
		s.mu.Lock()
		ch := s.channels[no]
		s.mu.Unlock()
		i := slices.IndexFunc(vports, ch.isOf)
		switch {
		case i < 0:
			s.drop(ch)
			gone = append(gone, no)
		case vports[i].Name != ch.name.get():
			s.rename(ch, vports[i].Name)
		}
	}
	for no := range s.broken {
		if !slices.ContainsFunc(vports, func(v Vport) bool { return v.No == no }) {
			delete(s.broken, no)
		}
	}
	return gone
}

// isOf reports whether ch serves the vport, and not another one that had the
// number before: by the device's index, or on kernels that do not tell that by
// its name.
func (c *channel) isOf(v Vport) bool {
	if v.No != c.no || v.Type != c.typ || v.Ifindex != c.ifindex {
		return false
	}
	return v.Ifindex != 0 || v.Name == c.name.get()
}

// serves reports whether a port of that number is served.
func (s *Server) serves(no odp.PortNo) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.channels[no] != nil
}

// rename notes the new name of a port's device.
func (s *Server) rename(ch *channel, name string) {
	was := ch.name.get()
	ch.name.set(name)
	s.cfg.Notify(PortRenamed{No: ch.no, Name: name, Was: was})
}

// drop answers what is still queued for a port, and closes its socket.
func (s *Server) drop(ch *channel) {
	s.noteDrops()
	s.retire(ch)
	var last PortCounters
	if ch.sock != nil {
		ch.handler.do(func() { last = ch.handler.detach(ch) })
	} else {
		last = ch.counters()
	}
	s.mu.Lock()
	delete(s.channels, ch.no)
	s.tableChanged()
	s.past.Add(last)
	s.mu.Unlock()
	s.ringBytes -= ch.ringBytes
	s.forget(ch)
	s.cfg.Notify(PortRemoved{No: ch.no, Name: ch.name.get(), Counters: last})
}

// serve makes sure that a vport of the datapath has an upcall socket, and that
// the kernel sends its upcalls there. Only ErrRingRequired is returned.
func (s *Server) serve(v Vport) error {
	s.rounds.Add(1)
	s.mu.Lock()
	ch := s.channels[v.No]
	s.mu.Unlock()
	if ch != nil {
		s.checkPIDs(ch, v)
		return nil
	}
	ch, err := s.take(v)
	if errors.Is(err, ErrRingRequired) {
		return err
	}
	if err != nil {
		if !isGone(err) && s.broken[v.No] != err.Error() {
			s.broken[v.No] = err.Error()
			s.cfg.Notify(PortFailed{No: v.No, Name: v.Name, Err: err})
		}
		return nil
	}
	delete(s.broken, v.No)
	s.serving(ch, false)
	return nil
}

// take opens a channel for a vport, or adopts one, and has the vport's upcalls go
// there.
func (s *Server) take(v Vport) (*channel, error) {
	if ch := s.adopt(v); ch != nil {
		return ch, s.attach(ch, v.No) // its upcalls come here already
	}
	ch, err := s.openChannel(v.Name, v.Type)
	if err != nil {
		return nil, err
	}
	ch.ifindex = v.Ifindex
	// Owned by a handler before the first upcall can arrive.
	if err := s.attach(ch, v.No); err != nil || ch.sock == nil {
		return ch, err
	}
	if err := s.dp.SetUpcallPID(v.No, ch.sock.PortID()); err != nil {
		ch.handler.do(func() { ch.handler.detach(ch) })
		s.ringBytes -= ch.ringBytes
		return nil, err
	}
	return ch, nil
}

func (s *Server) checkPIDs(ch *channel, v Vport) {
	if ch.sock == nil {
		return // the kernel does not look at them
	}
	pid := ch.sock.PortID()
	if len(v.UpcallPIDs) == 1 && v.UpcallPIDs[0] == pid {
		return
	}
	if err := s.dp.SetUpcallPID(v.No, pid); err != nil {
		if !isGone(err) {
			s.cfg.Notify(PortFailed{No: v.No, Name: v.Name, Err: err})
		}
		return
	}
	s.restored.pids.Add(1)
	s.cfg.Notify(UpcallPIDRestored{No: v.No, Name: v.Name, Found: v.UpcallPIDs, PID: pid})
}

// addConfigured attaches the configured ports that the datapath lacks.
func (s *Server) addConfigured(vports []Vport) ([]Vport, error) {
	var added []Vport
	for _, p := range s.cfg.Ports {
		if slices.ContainsFunc(vports, func(v Vport) bool { return v.Name == p.Name }) {
			delete(s.waiting, p.Name)
			s.setUpDevice(p)
			continue
		}
		delete(s.setUp, p.Name)
		v, err := s.addPort(p, s.freeNumber(vports, added))
		if err == nil {
			delete(s.waiting, p.Name)
			added = append(added, v)
			s.setUpDevice(p)
			continue
		}
		if errors.Is(err, ErrRingRequired) {
			return added, err
		}
		// ENODEV may be about the port's device or about the datapath.
		if _, infoErr := s.dp.Info(); infoErr != nil {
			return added, infoErr
		}
		if s.waiting[p.Name] != err.Error() {
			s.waiting[p.Name] = err.Error()
			s.cfg.Notify(PortWaiting{Name: p.Name, Err: err})
		}
	}
	return added, nil
}

// addPort attaches a configured port with the given number, 0 for any.
func (s *Server) addPort(p PortConfig, no odp.PortNo) (Vport, error) {
	if s.cfg.Devices != nil {
		if err := s.cfg.Devices.Prepare(p); err != nil {
			return Vport{}, err
		}
	}
	ch, err := s.openChannel(p.Name, p.Type)
	if err != nil {
		return Vport{}, err
	}
	// The socket exists before the vport does, and its queue holds what comes
	// before a handler owns it.
	v, err := s.dp.AddVport(p.Name, p.Type, no, ch.portID())
	if err != nil {
		s.discard(ch)
		return Vport{}, err
	}
	ch.ifindex = v.Ifindex
	if err := s.attach(ch, v.No); err != nil {
		return v, err
	}
	s.serving(ch, true)
	return v, nil
}

// attach gives ch to the handler with the fewest ports. On failure its socket
// is closed.
func (s *Server) attach(ch *channel, no odp.PortNo) error {
	ch.no = no
	if ch.sock == nil {
		return nil
	}
	load := make(map[*Handler]int)
	s.mu.Lock()
	for _, c := range s.channels {
		load[c.handler]++
	}
	s.mu.Unlock()
	ch.handler = slices.MinFunc(s.handlers, func(a, b *Handler) int { return load[a] - load[b] })
	var err error
	ch.handler.do(func() { err = ch.handler.attach(ch) })
	if err != nil {
		s.discard(ch)
		return fmt.Errorf("port %s: %w", ch.name.get(), err)
	}
	return nil
}

// serving enters ch among the ports served.
func (s *Server) serving(ch *channel, created bool) {
	s.mu.Lock()
	s.served++
	ch.serial = s.served
	s.channels[ch.no] = ch
	s.tableChanged()
	s.mu.Unlock()
	s.keep(ch)
	added := PortAdded{No: ch.no, Name: ch.name.get(), Type: ch.typ, Handler: ch.handlerID(), UpcallPID: ch.portID(), Created: created}
	if ch.sock != nil {
		added.Transport, added.Reason, added.RcvBuf, added.RingBytes = ch.sock.Transport(), ch.reason, ch.sock.RcvBuf(), ch.ringBytes
	}
	s.cfg.Notify(added)
}

func (s *Server) tellPolicy(vports []Vport) {
	ports := make([]Port, len(vports))
	for i, v := range vports {
		ports[i] = Port{No: v.No, Name: v.Name}
	}
	generation := s.cfg.Policy.Generation()
	s.cfg.Policy.SetPorts(ports)
	if s.cfg.Policy.Generation() != generation {
		s.revalidator.hurry()
	}
}
