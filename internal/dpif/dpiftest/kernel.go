package dpiftest

import (
	"encoding/binary"
	"errors"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/genl"
	"dpifd/internal/mmapring"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// Message types of the families of NewDatapath.
const (
	DatapathFamily = unix.NLMSG_MIN_TYPE + iota
	VportFamily
	FlowFamily
	PacketFamily
	MeterFamily
)

// Request is one request: its family, command and attributes.
type Request struct {
	Family uint16
	Cmd    uint8
	Dump   bool
	Attrs  []byte
}

// kernel is the kernel's side of request sockets, over socket pairs. It calls answer for each
// request, within the call that sends it, as a kernel does. Then it queues the returned attributes,
// one message for each element, or rejects the request with errno.
type kernel struct {
	mmapring.Kernel
	t      testing.TB
	answer func(Request) (attrs [][]byte, errno unix.Errno)
	peers  map[int]int // kernel's end by descriptor
	in     []byte      // received request
	queued []byte      // datagram under construction
}

// NewDatapath returns a datapath whose requests are handled by answer, until the test ends.
func NewDatapath(t testing.TB, answer func(Request) (attrs [][]byte, errno unix.Errno)) *dpif.Datapath {
	t.Helper()
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{
		Kernel: &kernel{t: t, answer: answer, peers: map[int]int{}, in: make([]byte, 1<<20)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fam := &dpif.Families{
		Datapath: genl.Family{ID: DatapathFamily}, Vport: genl.Family{ID: VportFamily}, Flow: genl.Family{ID: FlowFamily},
		Packet: genl.Family{ID: PacketFamily}, Meter: &genl.Family{ID: MeterFamily},
	}
	return dpif.NewDatapath(conn, fam, "dp0", Index)
}

// Socket implements mmapring.Syscalls.
func (k *kernel) Socket(int, int, int) (int, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	k.peers[fds[0]] = fds[1]
	return fds[0], nil
}

// Close implements mmapring.Syscalls.
func (k *kernel) Close(fd int) error {
	return errors.Join(unix.Close(k.peers[fd]), unix.Close(fd))
}

// Recv implements netlink.RingKernel.
func (k *kernel) Recv(fd int, p []byte) (int, error) { return unix.Read(fd, p) }

// Poll implements netlink.RingKernel.
func (k *kernel) Poll(fd int) (int16, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	_, err := unix.Poll(fds, 0)
	return fds[0].Revents, err
}

// SoError implements netlink.RingKernel.
func (k *kernel) SoError(int) (unix.Errno, error) { return 0, nil }

// Sendmsg implements mmapring.Syscalls.
func (k *kernel) Sendmsg(fd int, msg *unix.Msghdr, flags int) (int, error) {
	sent, err := k.Kernel.Sendmsg(fd, msg, flags)
	if err != nil {
		return 0, err
	}
	n, err := unix.Read(k.peers[fd], k.in)
	if err != nil {
		return 0, err
	}
	for rest := k.in[:n]; len(rest) > 0; {
		h, payload, next, err := netlink.SplitMessage(rest)
		if err != nil || len(payload) < requestHeaders {
			k.t.Fatalf("request of %d bytes: %v", len(rest), err)
		}
		rest = next
		k.request(fd, h, payload)
	}
	k.flush(fd)
	return sent, nil
}

// requestHeaders is the length of struct genlmsghdr and struct ovs_header.
const requestHeaders = 8

func (k *kernel) request(fd int, h netlink.Header, payload []byte) {
	dump := h.Flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP
	list, errno := k.answer(Request{Family: h.Type, Cmd: payload[0], Dump: dump, Attrs: payload[requestHeaders:]})
	for _, attrs := range list {
		body := make([]byte, requestHeaders, requestHeaders+len(attrs))
		genl.PutHeader(body, payload[0], 1)
		binary.NativeEndian.PutUint32(body[4:], Index)
		k.queue(fd, h, h.Type, 0, append(body, attrs...))
	}
	// struct nlmsgerr; its first number alone ends a dump.
	end := make([]byte, 20)
	binary.NativeEndian.PutUint32(end, uint32(-int32(errno)))
	switch {
	case dump && errno == 0:
		k.queue(fd, h, unix.NLMSG_DONE, 0, end[:4])
	case dump || errno != 0 || h.Flags&unix.NLM_F_ACK != 0:
		k.queue(fd, h, unix.NLMSG_ERROR, unix.NLM_F_CAPPED, end)
	}
}

// queue adds a message that answers h to the datagram under construction. Only a few large messages
// fit in the socket's buffer.
func (k *kernel) queue(fd int, h netlink.Header, typ, flags uint16, body []byte) {
	const header, datagram = 16, 32 << 10
	if len(k.queued)+header+len(body) > datagram {
		k.flush(fd)
	}
	var m [header]byte
	binary.NativeEndian.PutUint32(m[:], uint32(header+len(body)))
	binary.NativeEndian.PutUint16(m[4:], typ)
	binary.NativeEndian.PutUint16(m[6:], flags)
	binary.NativeEndian.PutUint32(m[8:], h.Seq)
	binary.NativeEndian.PutUint32(m[12:], uint32(fd)) // used as the port id
	k.queued = append(append(k.queued, m[:]...), body...)
	for len(k.queued)%4 != 0 {
		k.queued = append(k.queued, 0)
	}
}

func (k *kernel) flush(fd int) {
	if len(k.queued) == 0 {
		return
	}
	if _, err := unix.Write(k.peers[fd], k.queued); err != nil {
		k.t.Fatalf("answer of %d bytes: %v", len(k.queued), err)
	}
	k.queued = k.queued[:0]
}
