package transport

import (
	"errors"
	"fmt"

	"dpifd/internal/dpif"
	"dpifd/internal/mmapring"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// ErrRingRequired means that a ring could not be set up and the configuration requires it.
var ErrRingRequired = errors.New("rings are required")

var (
	errRingsOff  = errors.New("rings are off")
	errTXOff     = errors.New("TX rings are off (ring.tx)")
	errRingLimit = errors.New("memory limit of rings is reached")
)

// haveRings is the reason for having a ring.
const haveRings = "the kernel has rings"

// rings decides which sockets have rings, and keeps their memory below the limit.
type rings struct {
	cfg  RingConfig
	noRX error  // why upcall sockets have no rings, nil if they may
	noTX error  // why request sockets have none
	used uint64 // bytes of all rings mapped
}

// probe finds out whether sockets may have rings.
func (r *rings) probe() error {
	if r.cfg.Mode != mmapring.ModeAuto && r.cfg.Mode != mmapring.ModeRequire {
		r.noRX, r.noTX = errRingsOff, errRingsOff
		return nil
	}
	probe := mmapring.Probe
	if k := r.cfg.Kernel; k != nil {
		probe = (&mmapring.Prober{Syscalls: k}).Probe
	}
	r.noRX, r.noTX = probe(mmapring.RX), errTXOff
	if r.cfg.TX {
		r.noTX = probe(mmapring.TX)
	}
	if r.noRX != nil && r.cfg.Mode == mmapring.ModeRequire {
		return fmt.Errorf("%w: %w", ErrRingRequired, r.noRX)
	}
	return nil
}

// features are the user features of the datapath to request.
func (r *rings) features() dpif.Features {
	f := dpif.FeatureVportPIDs
	if r.noRX != nil && r.used == 0 {
		// With a ring, even one of the previous process, an upcall larger than its frame would
		// overwrite the header of the next frame.
		f |= dpif.FeatureUnaligned
	}
	return f
}

// fit reports whether an inherited socket fits the configuration. Others are drained before
// they are closed.
func (r *rings) fit(sock *netlink.Receiver) bool {
	if sock.Transport() == netlink.Ring {
		return r.noRX == nil && sock.Geometry() == r.cfg.Geometry
	}
	return r.cfg.Mode != mmapring.ModeRequire
}

// receiver opens an upcall socket, with a ring if possible, and returns the reason if it has
// none.
func (r *rings) receiver(rcvBuf int) (sock *netlink.Receiver, denied, err error) {
	cfg := netlink.ReceiverConfig{RcvBuf: rcvBuf}
	size := r.cfg.Geometry.Bytes()
	denied = r.noRX
	if denied == nil && r.used+size > r.cfg.MemoryLimit {
		denied = errRingLimit
	}
	if denied == nil {
		cfg.Ring, cfg.Kernel = r.cfg.Geometry, r.cfg.Kernel
	}
	if sock, err = netlink.OpenReceiver(unix.NETLINK_GENERIC, cfg); err != nil {
		return nil, nil, err
	}
	if sock.Transport() == netlink.Ring {
		r.used += size
		return sock, nil, nil
	}
	if denied == nil {
		denied = sock.RingError()
	}
	return sock, denied, nil
}

// A handler's TX ring has few large frames, each for many requests. A batch of 64 upcalls with
// full Ethernet frames takes 8 of them. The kernel copies a frame to contiguous memory, which
// it may lack for larger frames.
const (
	txBlocks    = 8
	txFrameSize = 16 << 10
)

// txGeometry is the geometry of a handler's TX ring if its RX rings have geometry rx.
func txGeometry(rx mmapring.Geometry) mmapring.Geometry {
	rx.Blocks = min(rx.Blocks, txBlocks)
	rx.FrameSize = max(rx.FrameSize, min(rx.BlockSize, txFrameSize))
	return rx
}

// dial opens a request socket, with a TX ring if possible, and returns the reason for having
// one or not.
func (r *rings) dial(cfg netlink.Config) (conn *netlink.Conn, why string, err error) {
	var denied error
	rx, g := r.cfg.Geometry, txGeometry(r.cfg.Geometry)
	switch {
	case r.noTX != nil:
		denied = r.noTX
	case r.used+g.Bytes()+rx.Bytes() > r.cfg.MemoryLimit:
		denied = errRingLimit // the rest is for a port
	default:
		cfg.TXRing, cfg.Kernel = g, r.cfg.Kernel
	}
	if conn, err = netlink.Dial(unix.NETLINK_GENERIC, cfg); err != nil {
		return nil, "", err
	}
	if conn.Transport() == netlink.Ring {
		r.used += g.Bytes()
		return conn, haveRings, nil
	}
	if denied == nil {
		denied = conn.RingError()
	}
	return conn, reason(denied), nil
}

// reason converts err to a reason for having no ring.
func reason(err error) string {
	var errno unix.Errno
	if errors.Is(err, mmapring.ErrNotSupported) && errors.As(err, &errno) {
		return fmt.Sprintf("%v (%v)", mmapring.ErrNotSupported, errno)
	}
	return err.Error()
}

// ringBytes is the memory of a socket's ring, 0 without.
func ringBytes(sock *netlink.Receiver) uint64 {
	g := sock.Geometry()
	return g.Bytes()
}
