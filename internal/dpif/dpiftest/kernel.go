package dpiftest

import (
	"encoding/binary"
	"sync"
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

// kernel plays the kernel's side of request sockets over socket pairs. It calls answer for
// each request, one at a time, and sends the attributes that it returns, one message for
// each element, or refuses the request with errno.
type kernel struct {
	answer func(Request) (attrs [][]byte, errno unix.Errno)

	t  testing.TB
	mu sync.Mutex
	mmapring.Kernel
}

// NewDatapath returns a datapath whose requests answer gets. It ends with the test.
func NewDatapath(t testing.TB, answer func(Request) (attrs [][]byte, errno unix.Errno)) *dpif.Datapath {
	t.Helper()
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{Kernel: &kernel{answer: answer, t: t}})
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
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return -1, err
	}
	done := make(chan struct{})
	go func() {
		k.serve(fds[1], uint32(fds[0]))
		close(done)
	}()
	k.t.Cleanup(func() { <-done })
	return fds[0], nil
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

// serve answers what comes from the socket with that port id, until it is closed.
func (k *kernel) serve(fd int, portID uint32) {
	defer unix.Close(fd)
	b := make([]byte, 1<<20)
	for {
		n, err := unix.Read(fd, b)
		if n <= 0 || err != nil {
			return
		}
		for rest := b[:n]; len(rest) > 0; {
			h, payload, next, err := netlink.SplitMessage(rest)
			if err != nil || len(payload) < 8 {
				k.t.Errorf("request of %d bytes: %v", len(rest), err)
				return
			}
			rest = next
			k.request(fd, portID, h, payload)
		}
	}
}

func (k *kernel) request(fd int, portID uint32, h netlink.Header, payload []byte) {
	dump := h.Flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP
	k.mu.Lock()
	list, errno := k.answer(Request{Family: h.Type, Cmd: payload[0], Dump: dump, Attrs: payload[8:]})
	k.mu.Unlock()
	send := func(typ, flags uint16, body []byte) {
		m := make([]byte, 16, 16+len(body))
		binary.NativeEndian.PutUint32(m, uint32(16+len(body)))
		binary.NativeEndian.PutUint16(m[4:], typ)
		binary.NativeEndian.PutUint16(m[6:], flags)
		binary.NativeEndian.PutUint32(m[8:], h.Seq)
		binary.NativeEndian.PutUint32(m[12:], portID)
		if _, err := unix.Write(fd, append(m, body...)); err != nil && err != unix.EPIPE {
			k.t.Errorf("answer: %v", err)
		}
	}
	for _, attrs := range list {
		body := make([]byte, 8, 8+len(attrs))
		genl.PutHeader(body, payload[0], 1)
		binary.NativeEndian.PutUint32(body[4:], Index)
		send(h.Type, 0, append(body, attrs...))
	}
	// struct nlmsgerr; its first number alone ends a dump.
	end := make([]byte, 20)
	binary.NativeEndian.PutUint32(end, uint32(-int32(errno)))
	switch {
	case dump && errno == 0:
		send(unix.NLMSG_DONE, 0, end[:4])
	case dump || errno != 0 || h.Flags&unix.NLM_F_ACK != 0:
		send(unix.NLMSG_ERROR, unix.NLM_F_CAPPED, end)
	}
}
