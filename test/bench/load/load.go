// Package load sends numbered Ethernet frames through a switch and measures which of them arrive
// and when.
//
// A frame carries its number and the time of its sending. The kernel stamps each arrival at the
// receiving socket, which is read only after everything was sent, so that measuring takes no CPU
// from the switch. Both times are of CLOCK_REALTIME.
package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

const (
	// etherType marks test frames: a local experimental EtherType of IEEE 802.
	etherType = 0x88b6
	// headerLen is the length of Ethernet header, number and time.
	headerLen = 14 + 4 + 8
	// receiveQueue holds 10,000 frames of 1,500 bytes with the kernel's overhead.
	receiveQueue = 128 << 20
	sendQueue    = 4 << 20
)

// Sink is the station that frames are sent to; no station has the address Nobody.
var (
	Sink   = net.HardwareAddr{0x02, 0x51, 0x4c, 0, 0, 0x99}
	Nobody = net.HardwareAddr{0x02, 0x51, 0x4c, 0, 0, 0x66}

	everyone = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// Socket is a raw packet socket that receives the frames of one device and sends on it.
type Socket struct{ Source }

// Open opens a socket for frames that Frame has built on a device of the thread's network
// namespace.
func Open(device string) (*Socket, error) { return open(device, etherType) }

// OpenAll opens a socket for all frames, those that the device sends included.
func OpenAll(device string) (*Socket, error) { return open(device, unix.ETH_P_ALL) }

func open(device string, protocol uint16) (*Socket, error) {
	// Protocol 0 until bind, so that no frames of other devices are queued.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket on %s: %w", device, err)
	}
	source, err := newSource(fd, device, protocol)
	s := &Socket{source}
	if err == nil {
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveQueue),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendQueue),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{
				Ifindex: int32(s.to.Ifindex), Type: unix.PACKET_MR_PROMISC}),
			unix.Bind(fd, s.to))
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("packet socket on %s: %w", device, err)
	}
	return s, nil
}

// Close closes the socket.
func (s *Socket) Close() error { return unix.Close(s.fd) }

// Frame builds the frame of the given number; size is at least 60. Stations of
// different numbers have different addresses.
func Frame(to net.HardwareAddr, number uint32, size int) []byte {
	f := make([]byte, max(size, 60))
	copy(f, to)
	f[6], f[7] = 0x02, 0xad
	binary.BigEndian.PutUint16(f[12:], etherType)
	Renumber(f, number)
	return f
}

// Renumber changes a frame's number, and with it the source address.
func Renumber(frame []byte, number uint32) {
	binary.BigEndian.PutUint32(frame[8:], number)
	binary.BigEndian.PutUint32(frame[14:], number)
}

// pairSinks is the number of receiving stations for pairs.
const pairSinks = 512

// pairSink is the address of a receiving station for pairs.
func pairSink(number int) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0x51, 0x4d, 0, byte(number >> 8), byte(number)}
}

// Pair sets a frame's addresses to those of the pair with a number. Each pair needs a flow of its
// own, but few stations form many pairs, so that switches learn few MACs.
func Pair(frame []byte, number int) {
	Renumber(frame, uint32(number/pairSinks))
	copy(frame, pairSink(number%pairSinks))
}

// Conversation returns the frames of a conversation between two stations, alternately from each
// side: an ARP request, its reply, a UDP request, the response.
func Conversation(number uint32) (frames [4][]byte, err error) {
	var macs, ips [2][]byte
	for side := range macs {
		macs[side] = binary.BigEndian.AppendUint32([]byte{0x02, 0xc0 | byte(side)}, number)
		ips[side] = binary.BigEndian.AppendUint32(nil, 198<<24|18<<16|uint32(side)<<16|number&0xffff)
	}
	for i := range frames {
		from, to := i%2, 1-i%2
		eth := layers.Ethernet{SrcMAC: macs[from], DstMAC: macs[to], EthernetType: layers.EthernetTypeIPv4}
		ip := layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: ips[from], DstIP: ips[to]}
		udp := layers.UDP{SrcPort: layers.UDPPort(4000 + from), DstPort: layers.UDPPort(4000 + to)}
		arp := layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4,
			HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply, SourceHwAddress: macs[from],
			SourceProtAddress: ips[from], DstHwAddress: macs[to], DstProtAddress: ips[to]}
		payload := gopacket.Payload(make([]byte, 32))
		packet := []gopacket.SerializableLayer{&eth, &ip, &udp, payload}
		if i < 2 {
			eth.EthernetType = layers.EthernetTypeARP
			packet = []gopacket.SerializableLayer{&eth, &arp, payload}
		}
		if i == 0 {
			eth.DstMAC, arp.Operation, arp.DstHwAddress = everyone, layers.ARPRequest, make([]byte, 6)
		}
		buf := gopacket.NewSerializeBuffer()
		err := errors.Join(udp.SetNetworkLayerForChecksum(&ip), gopacket.SerializeLayers(buf,
			gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, packet...))
		if err != nil {
			return frames, err
		}
		frames[i] = buf.Bytes()
	}
	return frames, nil
}

// Hello returns a broadcast frame from the sink, with number 0.
func Hello() []byte {
	f := Frame(everyone, 0, 60)
	copy(f[6:12], Sink)
	return f
}

// Arrivals describes the frames that a Socket received.
type Arrivals struct {
	Last    time.Time       // arrival of the last frame
	Latency []time.Duration // latency of each frame, ascending
}

// Receive reads frames numbered below count until each has arrived once, or until no frame has come
// for a while and done reports true.
func (s *Socket) Receive(count int, done func() (bool, error)) (Arrivals, error) {
	var a Arrivals
	seen := make([]bool, count)
	buf, oob := make([]byte, 1<<16), make([]byte, 128)
	for len(a.Latency) < count {
		n, oobn, _, _, err := unix.Recvmsg(s.fd, buf, oob, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			ready, err := s.wait(200 * time.Millisecond)
			if err != nil {
				return a, err
			}
			if ready {
				continue
			}
			if over, err := done(); err != nil || over {
				slices.Sort(a.Latency)
				return a, err
			}
			continue
		case err != nil:
			return a, fmt.Errorf("receive on %s: %w", s.device, err)
		}
		number, sent, ok := parse(buf[:n])
		if !ok || number >= uint32(count) || seen[number] {
			continue
		}
		arrived, err := stamp(oob[:oobn])
		if err != nil {
			return a, fmt.Errorf("receive on %s: %w", s.device, err)
		}
		seen[number] = true
		a.Latency = append(a.Latency, arrived.Sub(sent))
		if arrived.After(a.Last) {
			a.Last = arrived
		}
	}
	slices.Sort(a.Latency)
	return a, nil
}

// Await reads frames until the given frame arrives.
func (s *Socket) Await(frame []byte, limit time.Duration) error {
	buf := make([]byte, 1<<16)
	for deadline := time.Now().Add(limit); ; {
		n, _, err := unix.Recvfrom(s.fd, buf, unix.MSG_DONTWAIT)
		switch {
		case err == nil && bytes.Equal(buf[:n], frame):
			return nil
		case err == nil, err == unix.EINTR:
		case err == unix.EAGAIN:
			left := time.Until(deadline)
			if left <= 0 {
				return fmt.Errorf("a frame did not arrive on %s within %v", s.device, limit)
			}
			if _, err := s.wait(left); err != nil {
				return err
			}
		default:
			return fmt.Errorf("receive on %s: %w", s.device, err)
		}
	}
}

// wait waits until a frame can be read.
func (s *Socket) wait(limit time.Duration) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(limit.Milliseconds()))
	if err != nil && err != unix.EINTR {
		return false, fmt.Errorf("poll %s: %w", s.device, err)
	}
	return n > 0 || err == unix.EINTR, nil
}

// parse extracts number and send time from a frame.
func parse(f []byte) (number uint32, sent time.Time, ok bool) {
	if len(f) < headerLen || binary.BigEndian.Uint16(f[12:]) != etherType {
		return 0, time.Time{}, false
	}
	return binary.BigEndian.Uint32(f[14:]), time.Unix(0, int64(binary.BigEndian.Uint64(f[18:]))), true
}

// stamp extracts the kernel's time of arrival, a struct timespec.
func stamp(oob []byte) (time.Time, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Time{}, err
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:]))), nil
		}
	}
	return time.Time{}, errors.New("a frame without time of arrival")
}

// Dropped returns the number of frames that the socket has dropped since the last call.
func (s *Socket) Dropped() (int, error) {
	stats, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("statistics of %s: %w", s.device, err)
	}
	return int(stats.Drops), nil
}
