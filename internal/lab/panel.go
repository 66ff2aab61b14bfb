//go:build lab

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Panel is one raw packet socket for all devices of a namespace, including later ones: the far ends
// of many ports. One goroutine may send while another receives.
type Panel struct {
	fd  int
	buf []byte
}

// OpenPanel opens a panel for frames with one EtherType. It is closed when the test ends.
func (n *NetNS) OpenPanel(t testing.TB, etherType uint16) *Panel {
	t.Helper()
	p := &Panel{buf: make([]byte, 1<<16)}
	err := n.Do(func() (err error) {
		// SOCK_RAW with a protocol and no bind: all devices.
		p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(etherType)))
		return err
	})
	if err == nil {
		t.Cleanup(func() {
			if err := unix.Close(p.fd); err != nil {
				t.Errorf("close packet socket in %s: %v", n.Name, err)
			}
		})
		err = unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20)
	}
	if err != nil {
		t.Fatalf("packet socket in %s: %v", n.Name, err)
	}
	return p
}

// Send sends one frame, including its Ethernet header, on the device with the given index. The
// error matches ENXIO or ENODEV if the device does not exist, ENETDOWN if it is down, ENOBUFS if
// its queue is full.
func (p *Panel) Send(ifindex int, frame []byte) error {
	to := unix.SockaddrLinklayer{Ifindex: ifindex, Protocol: binary.NativeEndian.Uint16(frame[12:])}
	for {
		err := unix.Sendto(p.fd, frame, 0, &to)
		if err != unix.EINTR {
			return os.NewSyscallError(fmt.Sprintf("send on device %d", ifindex), err)
		}
	}
}

// Receive returns the next frame and the index of its device. The frame is valid until the next
// call. If none arrives within limit, it returns os.ErrDeadlineExceeded.
func (p *Panel) Receive(limit time.Duration) (ifindex int, frame []byte, err error) {
	deadline := time.Now().Add(limit)
	for {
		n, from, err := unix.Recvfrom(p.fd, p.buf, unix.MSG_DONTWAIT)
		switch {
		case err == nil:
			if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype != unix.PACKET_OUTGOING {
				return ll.Ifindex, p.buf[:n], nil
			}
		case errors.Is(err, unix.ENETDOWN):
			// A device went down; the socket stays usable.
		case err == unix.EAGAIN:
			left := time.Until(deadline)
			if left <= 0 {
				return 0, nil, os.ErrDeadlineExceeded
			}
			fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
			if _, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
				return 0, nil, os.NewSyscallError("poll", err)
			}
		case err != unix.EINTR:
			return 0, nil, os.NewSyscallError("receive", err)
		}
	}
}

// Dropped returns the number of frames that the kernel has dropped since the last call, because the
// socket's buffer was full.
func (p *Panel) Dropped() (int, error) {
	stats, err := unix.GetsockoptTpacketStats(p.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, os.NewSyscallError("packet statistics", err)
	}
	return int(stats.Drops), nil
}
