package probe

import (
	"errors"
	"fmt"

	"dpifd/internal/genl"
	"dpifd/internal/mmapring"
	"dpifd/internal/netlink"
	"dpifd/internal/transport"

	"golang.org/x/sys/unix"
)

// socketTrials need no datapath.
var socketTrials = []trial[struct{}]{
	{"rx_ring", rxRing, "upcalls are received by recvmmsg"},
	{"tx_ring", txRing, "requests are sent by sendmsg, as with ring.tx: off, the default"},
	{"recvmmsg", recvmmsg, "dpifd does not start"},
	{"so_meminfo", memInfo, "drops of upcall sockets are read from /proc/net/netlink"},
	{"rcvbuf", rcvbuf, "bursts of upcalls beyond the buffer are lost: raise net.core.rmem_max or give " +
		"CAP_NET_ADMIN in the initial user namespace"},
}

// geometry finds the largest geometry, from dpifd's default down, with which open creates a
// ring. open returns the reason if it cannot.
func geometry(open func(mmapring.Geometry) error) (string, error) {
	g := mmapring.DefaultGeometry()
	for {
		err := open(g)
		if err == nil {
			return fmt.Sprintf("%v", g), nil
		}
		if !errors.Is(err, unix.ENOMEM) || g.Blocks == 1 {
			return "", err
		}
		g.Blocks /= 2
	}
}

func rxRing(struct{}) (string, error) {
	if err := mmapring.Probe(mmapring.RX); err != nil {
		return "", err
	}
	return geometry(func(g mmapring.Geometry) error {
		r, err := netlink.OpenReceiver(unix.NETLINK_GENERIC, netlink.ReceiverConfig{Ring: g})
		if err != nil {
			return err
		}
		return errors.Join(r.RingError(), r.Close())
	})
}

// txRing sends a request through the ring: kernels before 4.2 have a ring that
// does not send.
func txRing(struct{}) (string, error) {
	if err := mmapring.Probe(mmapring.TX); err != nil {
		return "", err
	}
	size, err := geometry(func(g mmapring.Geometry) error {
		c, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{TXRing: g})
		if err != nil {
			return err
		}
		defer c.Close()
		var b netlink.SendBatch
		e := b.Begin(unix.GENL_ID_CTRL, unix.NLM_F_REQUEST)
		genl.AppendHeader(e, unix.CTRL_CMD_GETFAMILY, 1)
		e.Uint16(unix.CTRL_ATTR_FAMILY_ID, unix.GENL_ID_CTRL)
		b.End()
		if err := c.Send(&b, func(int, unix.Errno) {}); err != nil {
			return err
		}
		if c.Transport() != netlink.Ring {
			return c.RingError()
		}
		return nil
	})
	return size + "; for ring.tx: auto only", err
}

// recvmmsg receives two waiting answers with one call, on an rtnetlink socket, which needs no
// privilege.
func recvmmsg(struct{}) (string, error) {
	r, err := netlink.OpenReceiver(unix.NETLINK_ROUTE, netlink.ReceiverConfig{})
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := netlink.NewBatch(2)
	if err != nil {
		return "", err
	}
	defer b.Close()
	var e netlink.Encoder
	e.Begin(unix.RTM_GETLINK, unix.NLM_F_REQUEST)
	e.RawUint32(unix.AF_UNSPEC) // struct ifinfomsg
	e.RawUint32(1)              // the loopback device
	e.RawUint32(0)
	e.RawUint32(0)
	e.End()
	for range 2 {
		if err := unix.Sendto(r.FD(), e.Bytes(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return "", fmt.Errorf("ask for the loopback device: %w", err)
		}
	}
	n, err := r.Receive(b, 2)
	if err == nil && n != 2 {
		err = fmt.Errorf("one call returned %d of 2 messages", n)
	}
	return "one call returned 2 messages", err
}

func memInfo(struct{}) (string, error) {
	r, err := netlink.OpenReceiver(unix.NETLINK_GENERIC, netlink.ReceiverConfig{})
	if err != nil {
		return "", err
	}
	defer r.Close()
	_, err = r.MemInfo()
	return "drops of a socket are read from the socket", err
}

// rcvbuf requests the receive buffer of upcall sockets.
func rcvbuf(struct{}) (string, error) {
	r, err := netlink.OpenReceiver(unix.NETLINK_GENERIC, netlink.ReceiverConfig{RcvBuf: transport.DefaultRcvBuf})
	if err != nil {
		return "", err
	}
	defer r.Close()
	// The kernel doubles the requested value to allow for its overhead.
	if got := r.RcvBuf(); got < 2*transport.DefaultRcvBuf {
		return "", fmt.Errorf("%d bytes granted of %d", got/2, transport.DefaultRcvBuf)
	}
	return fmt.Sprintf("%d bytes granted", transport.DefaultRcvBuf), nil
}
