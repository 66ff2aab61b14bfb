//go:build lab

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Packet is a raw packet socket (AF_PACKET) on one device. It sends and
// receives whole Ethernet frames.
type Packet struct {
	fd    int
	buf   []byte
	oob   []byte
	iface string
	// arrived is when the kernel received the last returned frame.
	arrived  time.Time
	outgoing bool
}

// OpenPacket opens a packet socket on a device in the namespace. It receives each frame that
// arrives there from now on, whatever its destination, and is closed when the test ends.
func (n *NetNS) OpenPacket(t testing.TB, device string) *Packet {
	t.Helper()
	p := &Packet{buf: make([]byte, 1<<16+64), oob: make([]byte, 256), iface: device}
	if err := n.Do(p.open); err != nil {
		t.Fatalf("packet socket on %s in %s: %v", device, n.Name, err)
	}
	t.Cleanup(func() {
		if err := unix.Close(p.fd); err != nil {
			t.Errorf("close packet socket on %s: %v", device, err)
		}
	})
	return p
}

func (p *Packet) open() error {
	link, err := netlink.LinkByName(p.iface)
	if err != nil {
		return err
	}
	// Protocol 0 until bind, so that no frames of other devices are queued.
	p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = errors.Join(
		// The default buffer does not hold bursts of frames.
		unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20),
		unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
		unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptPacketMreq(p.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{
			Ifindex: int32(link.Attrs().Index),
			Type:    unix.PACKET_MR_PROMISC,
		}),
		unix.Bind(p.fd, &unix.SockaddrLinklayer{
			Protocol: htons(unix.ETH_P_ALL),
			Ifindex:  link.Attrs().Index,
		}))
	if err != nil {
		unix.Close(p.fd)
	}
	return err
}

func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// TakeOutgoing makes Receive also return frames that the device sends. The sending thread takes
// their time stamps.
func (p *Packet) TakeOutgoing() { p.outgoing = true }

// Send sends one frame, including its Ethernet header.
func (p *Packet) Send(frame []byte) error {
	for {
		_, err := unix.Write(p.fd, frame)
		if err != unix.EINTR {
			return os.NewSyscallError("send on "+p.iface, err)
		}
	}
}

// Receive returns a copy of the next frame, with its VLAN tag in place. If none arrives within
// limit, not counting stalls of the guest, it returns os.ErrDeadlineExceeded; a limit of 0 returns
// only queued frames.
func (p *Packet) Receive(limit time.Duration) ([]byte, error) {
	within := Within(limit)
	for {
		frame, err := p.receive()
		if err != unix.EAGAIN {
			return frame, err
		}
		left := within.Left()
		if left <= 0 {
			return nil, os.ErrDeadlineExceeded
		}
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
			return nil, fmt.Errorf("poll %s: %w", p.iface, err)
		}
	}
}

// receive returns the next queued frame, or EAGAIN.
func (p *Packet) receive() ([]byte, error) {
	for {
		size, oobn, _, from, err := unix.Recvmsg(p.fd, p.buf, p.oob, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return nil, unix.EAGAIN
		case err != nil:
			return nil, fmt.Errorf("receive on %s: %w", p.iface, err)
		}
		// The socket also receives what this side sends.
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING && !p.outgoing {
			continue
		}
		return p.withTag(p.buf[:size], p.oob[:oobn])
	}
}

// Arrived returns when the kernel received the frame that Receive or Expect returned last, by the
// real-time clock. This excludes the time that this process waited for a CPU afterwards.
func (p *Packet) Arrived() time.Time { return p.arrived }

// withTag returns a copy of frame with the VLAN tag that the kernel moved to the control data
// (struct tpacket_auxdata, linux/if_packet.h of Linux 6.1). It stores the time of arrival.
func (p *Packet) withTag(frame, oob []byte) ([]byte, error) {
	out := make([]byte, 0, len(frame)+4)
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("control data: %w", err)
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			p.arrived = time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	for _, m := range messages {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < 20 {
			continue
		}
		status := binary.NativeEndian.Uint32(m.Data)
		if status&unix.TP_STATUS_VLAN_VALID == 0 || len(frame) < 12 {
			continue
		}
		tpid := uint16(unix.ETH_P_8021Q)
		if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			tpid = binary.NativeEndian.Uint16(m.Data[18:])
		}
		out = append(out, frame[:12]...)
		out = binary.BigEndian.AppendUint16(out, tpid)
		out = binary.BigEndian.AppendUint16(out, binary.NativeEndian.Uint16(m.Data[16:]))
		return append(out, frame[12:]...), nil
	}
	return append(out, frame...), nil
}

// Expect receives until match accepts a frame, and returns it; other frames are discarded. It fails
// the test after limit, not counting stalls of the guest.
func (p *Packet) Expect(t testing.TB, limit time.Duration, match func(frame []byte) bool) []byte {
	t.Helper()
	within := Within(limit)
	for {
		frame, err := p.Receive(within.Left())
		if err != nil {
			t.Fatalf("wait for a frame on %s: %v", p.iface, err)
		}
		if match(frame) {
			return frame
		}
	}
}

// Count reads the queued frames and returns how many of them match accepts. To show that something
// did not arrive, first Expect something that was sent after it.
func (p *Packet) Count(t testing.TB, match func(frame []byte) bool) int {
	t.Helper()
	count := 0
	for {
		frame, err := p.Receive(0)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return count
		}
		if err != nil {
			t.Fatal(err)
		}
		if match(frame) {
			count++
		}
	}
}

// Dropped returns the number of frames that the kernel has dropped since the last call, because the
// socket's buffer was full.
func (p *Packet) Dropped(t testing.TB) int {
	t.Helper()
	stats, err := unix.GetsockoptTpacketStats(p.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		t.Fatalf("packet statistics of %s: %v", p.iface, err)
	}
	return int(stats.Drops)
}

// Frame builds an Ethernet frame, padded to 60 bytes. MAC addresses are in text form; the payload
// starts after the EtherType.
func Frame(t testing.TB, dst, src string, etherType uint16, payload []byte) []byte {
	t.Helper()
	var frame []byte
	for _, s := range []string{dst, src} {
		mac, err := net.ParseMAC(s)
		if err != nil || len(mac) != 6 {
			t.Fatalf("MAC %q: %v", s, err)
		}
		frame = append(frame, mac...)
	}
	frame = binary.BigEndian.AppendUint16(frame, etherType)
	frame = append(frame, payload...)
	return append(frame, make([]byte, max(0, 60-len(frame)))...)
}
