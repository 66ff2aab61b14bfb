package vswitch

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// Where the memory limit has no room for the rings of all ports, the busiest are
// to have them. While a port waits for one, the port poll compares from time to
// time how many upcalls each had. A ring moves in two steps: the port that has
// it gets a linear socket, and once its former socket is closed and the memory
// free, the other one gets a socket with a ring.

const (
	// shareInterval is how often ports are compared; after a ring that could not
	// be had, the double each time, up to maxShareBackoff times.
	shareInterval   = 10 * time.Second
	maxShareBackoff = 6
	// shareGrace is how long a former socket is served: a CPU in the kernel's
	// upcall path may have read the PID before it was changed (RCU).
	shareGrace = time.Second
	// shareSettle is how long upcalls wait on a port's new socket before it is
	// served. The kernel's upcall path takes some microseconds.
	shareSettle = 10 * time.Millisecond
	// A port takes another one's ring if it had busyRatio times as many upcalls,
	// and busyRate a second at least: below, a ring saves nothing.
	busyRatio, busyRate = 2, 100
	// maxMoves bounds the rings that change hands after one look, and a port that
	// was part of that is left as it is for restLooks.
	maxMoves, restLooks = 4, 6
)

// ringClaim is what the port poll knows of a port to tell whether it should have
// a ring.
type ringClaim struct {
	wanted  bool   // there is none for want of memory
	seen    uint64 // upcalls as of the last look
	upcalls uint64 // between the last two looks
	rest    int    // looks until it may gain or lose a ring
}

// ringShare is the port poll's account of moving rings.
type ringShare struct {
	interval, grace, settle time.Duration
	comparing               bool          // ports were looked at, at
	at                      time.Duration // monotonic
	failures                int           // rings in a row that could not be had
	moves                   []ringMove    // under way, oldest first
}

// ringMove is a port with a former socket, and who gets the ring of that.
type ringMove struct {
	ch       *channel
	due      time.Duration // when the former socket may be closed
	to       *channel      // nil if there is no ring to pass on
	from     PortUse
	upcalls  uint64 // of to
	interval time.Duration
}

func newRingShare() ringShare {
	return ringShare{interval: shareInterval, grace: shareGrace, settle: shareSettle}
}

// untilShare is how long the port poll may sleep before shareRings has something
// to do, negative for ever.
func (s *Server) untilShare(now time.Duration) time.Duration {
	switch {
	case len(s.share.moves) > 0:
		return max(0, s.share.moves[0].due-now)
	case !s.ringWanted():
		return -1
	case !s.share.comparing:
		return 0
	default:
		return max(0, s.share.nextLook()-now)
	}
}

func (r *ringShare) nextLook() time.Duration {
	return r.at + r.interval<<min(r.failures, maxShareBackoff)
}

// ringWanted reports whether a port is without ring only for want of memory.
func (s *Server) ringWanted() bool {
	if s.noRings != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ch := range s.channels {
		if ch.claim.wanted {
			return true
		}
	}
	return false
}

// shareRings moves rings to the ports that use them most, as far as it is time
// for that.
func (s *Server) shareRings(now time.Duration) {
	s.endMoves(now)
	if !s.ringWanted() {
		s.share.comparing = false
		return
	}
	if s.share.comparing && (len(s.share.moves) > 0 || now < s.share.nextLook()) {
		return
	}
	interval, comparing := now-s.share.at, s.share.comparing
	s.share.at, s.share.comparing = now, true
	rings, linear := s.ranking()
	if comparing {
		s.startMoves(rings, linear, interval, now)
	}
}

// ranking counts what upcalls ports had since it was last called. It returns
// those with a ring, least busy first, and those that want one, busiest first.
func (s *Server) ranking() (rings, linear []*channel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ch := range s.channels {
		c := &ch.claim
		n := ch.upcalls.Load() + ch.shed.Load()
		c.upcalls, c.seen, c.rest = n-c.seen, n, max(0, c.rest-1)
		switch {
		case ch.transport() == netlink.Ring:
			rings = append(rings, ch)
		case c.wanted:
			linear = append(linear, ch)
		}
	}
	slices.SortFunc(rings, func(a, b *channel) int {
		return cmp.Or(cmp.Compare(a.claim.upcalls, b.claim.upcalls), cmp.Compare(b.no, a.no))
	})
	slices.SortFunc(linear, func(a, b *channel) int {
		return cmp.Or(cmp.Compare(b.claim.upcalls, a.claim.upcalls), cmp.Compare(a.no, b.no))
	})
	return rings, linear
}

// startMoves gives rings to linear ports: from the memory that is free, then
// those of less busy ports.
func (s *Server) startMoves(rings, linear []*channel, interval, now time.Duration) {
	left := maxMoves
	for ; left > 0 && len(linear) > 0 && s.ringFits(); left-- {
		to := linear[0]
		linear = linear[1:]
		if !s.giveRing(to, "there is memory for a ring again", now) {
			return
		}
		s.cfg.Notify(RingGranted{To: to.use(), Interval: interval, RingBytes: to.ringBytes, UsedBytes: s.ringBytes, LimitBytes: s.cfg.Ring.MemoryLimit})
	}
	resting := func(ch *channel) bool { return ch.claim.rest > 0 }
	rings, linear = slices.DeleteFunc(rings, resting), slices.DeleteFunc(linear, resting)
	for i := range min(left, len(rings), len(linear)) {
		from, to := rings[i], linear[i]
		if !to.busier(from, interval) {
			return
		}
		m := ringMove{ch: from, due: now + s.share.grace, to: to, from: from.use(), upcalls: to.claim.upcalls, interval: interval}
		if err := s.takeRing(from); err != nil {
			if !dpif.IsGone(err) {
				s.ringFailed(to, fmt.Errorf("port %s keeps its ring: %w", from.name.get(), err))
			}
			return
		}
		to.claim.rest = restLooks
		s.share.moves = append(s.share.moves, m)
	}
}

// use is the port with its upcalls between the last two looks.
func (c *channel) use() PortUse { return PortUse{c.no, c.name.get(), c.claim.upcalls} }

// busier reports whether c has so many more upcalls than d that it is worth
// moving the ring.
func (c *channel) busier(d *channel, interval time.Duration) bool {
	n := c.claim.upcalls
	return n >= busyRatio*d.claim.upcalls && float64(n) >= busyRate*interval.Seconds()
}

// endMoves closes the former sockets whose time has come, and gives the rings'
// memory to the ports it was freed for.
func (s *Server) endMoves(now time.Duration) {
	n := 0
	for n < len(s.share.moves) && s.share.moves[n].due <= now {
		n++
	}
	if n == 0 {
		return
	}
	s.noteDrops() // of the sockets that are closed
	due := slices.Clone(s.share.moves[:n])
	s.share.moves = slices.Delete(s.share.moves, 0, n)
	for _, m := range due {
		s.retire(m.ch)
		if m.to == nil || !s.isServed(m.to) || !s.ringFits() || !s.giveRing(m.to, "busier than a port that had a ring", now) {
			continue
		}
		s.cfg.Notify(RingMoved{From: m.from, To: PortUse{m.to.no, m.to.name.get(), m.upcalls}, Interval: m.interval, RingBytes: m.to.ringBytes})
	}
}

// isServed reports whether ch is served still.
func (s *Server) isServed(ch *channel) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.channels[ch.no] == ch
}

// ringFits reports whether the memory limit has room for another port's ring.
func (s *Server) ringFits() bool {
	return s.ringBytes+s.cfg.Ring.Geometry.Bytes() <= s.cfg.Ring.MemoryLimit
}

// takeRing has a port's upcalls come by a linear socket. Its ring is free once
// its former socket is retired.
func (s *Server) takeRing(ch *channel) error {
	sock, err := netlink.OpenReceiver(unix.NETLINK_GENERIC, netlink.ReceiverConfig{RcvBuf: s.cfg.RcvBuf, Kernel: s.cfg.Ring.Kernel})
	if err != nil {
		return err
	}
	if err := s.changeSocket(ch, sock, 0, "its ring goes to a busier port"); err != nil {
		return err
	}
	ch.claim.wanted, ch.claim.rest = true, restLooks
	return nil
}

// giveRing has a linear port's upcalls come by a socket with a ring, for which
// there is room. It reports whether they do; if not, the port stays linear.
func (s *Server) giveRing(ch *channel, why string, now time.Duration) bool {
	size := s.cfg.Ring.Geometry.Bytes()
	sock, err := netlink.OpenReceiver(unix.NETLINK_GENERIC, netlink.ReceiverConfig{
		RcvBuf: s.cfg.RcvBuf, Ring: s.cfg.Ring.Geometry, Kernel: s.cfg.Ring.Kernel})
	if err == nil && sock.Transport() != netlink.Ring {
		err = sock.RingError()
		sock.Close()
	}
	if err != nil {
		s.ringFailed(ch, err)
		return false
	}
	s.ringBytes += size
	if err := s.changeSocket(ch, sock, size, why); err != nil {
		s.ringBytes -= size
		if !dpif.IsGone(err) {
			s.ringFailed(ch, err)
		}
		return false
	}
	s.share.failures = 0
	ch.claim.wanted, ch.claim.rest = false, restLooks
	s.share.moves = append(s.share.moves, ringMove{ch: ch, due: now + s.share.grace})
	return true
}

// ringFailed tells why a port stays without ring.
func (s *Server) ringFailed(ch *channel, err error) {
	s.share.failures++
	s.cfg.Notify(RingDenied{Name: ch.name.get(), Err: err, RingBytes: s.cfg.Ring.Geometry.Bytes(),
		UsedBytes: s.ringBytes, LimitBytes: s.cfg.Ring.MemoryLimit})
}
