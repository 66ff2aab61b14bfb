package vswitch

import (
	"errors"
	"fmt"

	"dpifd/internal/dpif"
	"dpifd/internal/mmapring"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/upcall"

	"golang.org/x/sys/unix"
)

// ErrRingRequired says that a ring could not be had and the configuration
// demands it.
var ErrRingRequired = errors.New("rings are required")

var (
	errRingsOff  = errors.New("rings are off")
	errTXOff     = errors.New("TX rings are off (ring.tx)")
	errRingLimit = errors.New("memory limit of rings is reached")
)

// haveRings is why a socket has a ring.
const haveRings = "the kernel has rings"

// probeRings finds out whether sockets may have rings.
func (s *Server) probeRings() error {
	if s.cfg.Ring.Mode == RingOff {
		s.noRings, s.noTXRings = errRingsOff, errRingsOff
		return nil
	}
	probe := mmapring.Probe
	if k := s.cfg.Ring.Kernel; k != nil {
		probe = (&mmapring.Prober{Syscalls: k}).Probe
	}
	s.noRings, s.noTXRings = probe(mmapring.RX), errTXOff
	if s.cfg.Ring.TX {
		s.noTXRings = probe(mmapring.TX)
	}
	if s.noRings != nil && s.cfg.Ring.Mode == RingRequire {
		return fmt.Errorf("%w: %w", ErrRingRequired, s.noRings)
	}
	return nil
}

// wantedFeatures are the user features to ask for.
func (s *Server) wantedFeatures() dpif.Features {
	f := dpif.FeatureVportPIDs
	if s.noRings != nil && s.ringBytes == 0 {
		// With a ring, be it one of the process before, an upcall that exceeds the frame would be written
		// over the next frame's header.
		f |= dpif.FeatureUnaligned
	}
	return f
}

// reason is what err means to who reads why a socket has no ring.
func reason(err error) string {
	var errno unix.Errno
	if errors.Is(err, mmapring.ErrNotSupported) && errors.As(err, &errno) {
		return fmt.Sprintf("%v (%v)", mmapring.ErrNotSupported, errno)
	}
	return err.Error()
}

// txBlocks is the size of a handler's TX ring: room for the requests of a
// batch, two for each upcall, in frames of the default size.
const txBlocks = 8

// dialHandler opens a handler's request socket, with a TX ring if it can have
// one, and says why it has or has not.
func (s *Server) dialHandler() (conn *netlink.Conn, why string, err error) {
	var denied error
	cfg := netlink.Config{RcvBuf: requestBuf, SndBuf: requestBuf}
	g := s.cfg.Ring.Geometry
	rx := g.Bytes()
	g.Blocks = min(g.Blocks, txBlocks)
	switch {
	case s.noTXRings != nil:
		denied = s.noTXRings
	case s.ringBytes+g.Bytes()+rx > s.cfg.Ring.MemoryLimit:
		denied = errRingLimit // what is left is for a port
	default:
		cfg.TXRing, cfg.Kernel = g, s.cfg.Ring.Kernel
	}
	if conn, err = netlink.Dial(unix.NETLINK_GENERIC, cfg); err != nil {
		return nil, "", err
	}
	if conn.Transport() == netlink.Ring {
		s.ringBytes += g.Bytes()
		return conn, haveRings, nil
	}
	if denied == nil {
		denied = conn.RingError()
	}
	return conn, reason(denied), nil
}

// openChannel opens an upcall socket that nobody owns yet, with a ring if it
// can have one.
func (s *Server) openChannel(no odp.PortNo, name string, t dpif.VportType) (*channel, error) {
	if s.shared != nil {
		return &channel{Port: upcall.NewPort(no, name, s.maxUpcalls[name]), typ: t}, nil
	}
	cfg := netlink.ReceiverConfig{RcvBuf: s.cfg.RcvBuf}
	size := s.cfg.Ring.Geometry.Bytes()
	why := s.noRings
	if why == nil && s.ringBytes+size > s.cfg.Ring.MemoryLimit {
		why = errRingLimit
	}
	if why == nil {
		cfg.Ring, cfg.Kernel = s.cfg.Ring.Geometry, s.cfg.Ring.Kernel
	}
	sock, err := netlink.OpenReceiver(unix.NETLINK_GENERIC, cfg)
	if err != nil {
		return nil, fmt.Errorf("port %s: upcall socket: %w", name, err)
	}
	p := upcall.NewPort(no, name, s.maxUpcalls[name])
	ch := &channel{Port: p, typ: t, sock: upcall.NewSocket(sock, p), reason: haveRings}
	if sock.Transport() == netlink.Ring {
		ch.ringBytes = size
		s.ringBytes += size
		return ch, nil
	}
	if why == nil {
		why = sock.RingError()
	}
	ch.reason = reason(why)
	if s.noRings != nil {
		return ch, nil
	}
	if s.cfg.Ring.Mode == RingRequire && !s.running {
		sock.Close()
		return nil, fmt.Errorf("port %s: %w: %w", name, ErrRingRequired, why)
	}
	s.cfg.Notify(RingDenied{Name: name, Err: why, RingBytes: size, UsedBytes: s.ringBytes, LimitBytes: s.cfg.Ring.MemoryLimit})
	return ch, nil
}

// discard closes the sockets of channels that no handler owns.
func (s *Server) discard(chs ...*channel) {
	for _, ch := range chs {
		if ch.sock != nil {
			ch.sock.Close()
		}
		s.ringBytes -= ch.ringBytes
	}
}
