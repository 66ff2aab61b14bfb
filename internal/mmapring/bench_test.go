package mmapring

import (
	"fmt"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"dpifd/internal/mmapring/ringtest"
)

// The benchmarks compare ways to receive. With the timer stopped, benchBatch messages are put where
// the receiver finds them; then the timer runs while they are received. All receivers read the
// first and the last byte of each message. ns/msg is per message, allocs/op per batch.
const benchBatch = 64

var benchSizes = []int{200, 1600, 15000}

var benchSink byte

func use(p []byte) { benchSink += p[0] + p[len(p)-1] }

// benchReceive times receive, which reads the benchBatch messages that put provides.
func benchReceive(b *testing.B, put, receive func()) {
	b.ReportAllocs()
	var busy time.Duration
	messages := 0
	for b.Loop() {
		b.StopTimer()
		put()
		b.StartTimer()
		start := time.Now()
		receive()
		busy += time.Since(start)
		messages += benchBatch
	}
	b.ReportMetric(float64(busy.Nanoseconds())/float64(messages), "ns/msg")
	b.ReportMetric(0, "ns/op") // hidden: it is per batch, and includes the timer
}

// BenchmarkRing reads in place from emulated memory, a memfd mapped twice.
func BenchmarkRing(b *testing.B) { benchRing(b, func(*Reader) {}) }

// BenchmarkRingMarked also marks the frames of each batch before it releases them, as a handler
// does before it sends.
func BenchmarkRingMarked(b *testing.B) { benchRing(b, (*Reader).Mark) }

func benchRing(b *testing.B, before func(*Reader)) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			g := DefaultGeometry()
			if size > int(g.Room()) {
				g = Geometry{FrameSize: 16384, BlockSize: 65536, Blocks: 64}
			}
			o, sock := newRX(b, ringtest.Config{Memfd: true}, g)
			msg := message(size, 1)
			put := func() {
				for range benchBatch {
					if err := sock.Deliver(msg); err != nil {
						b.Fatal(err)
					}
				}
			}
			benchReceive(b, put, func() {
				n := 0
				for ; ; n++ {
					p, outcome := o.r.Read()
					if outcome != Message {
						break
					}
					use(p)
				}
				if n != benchBatch {
					b.Fatal(n)
				}
				before(o.r)
				o.r.Release(n)
			})
		})
	}
}

// linearPair is a pair of real netlink sockets (NETLINK_USERSOCK): one receives what the other
// sends through the kernel's ordinary queue.
func linearPair(b *testing.B) (send func([]byte), recv int) {
	open := func() int {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_USERSOCK)
		if err != nil {
			b.Skipf("NETLINK_USERSOCK: %v", err)
		}
		b.Cleanup(func() { _ = unix.Close(fd) })
		if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			b.Fatal(err)
		}
		return fd
	}
	tx, rx := open(), open()
	if err := unix.SetsockoptInt(rx, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20); err != nil {
		b.Skipf("a receive buffer of 4 MiB: %v", err)
	}
	if err := unix.SetsockoptInt(tx, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20); err != nil {
		b.Fatal(err)
	}
	to, err := unix.Getsockname(rx)
	if err != nil {
		b.Fatal(err)
	}
	return func(msg []byte) {
		if err := unix.Sendto(tx, msg, 0, to); err != nil {
			b.Fatal(err)
		}
	}, rx
}

// mmsghdr is struct mmsghdr of linux/socket.h (6.1).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// BenchmarkRecvmmsg receives up to 64 messages per call from a real socket.
func BenchmarkRecvmmsg(b *testing.B) { benchLinear(b, benchBatch) }

// BenchmarkRecvmsg receives one message per call from a real socket.
func BenchmarkRecvmsg(b *testing.B) { benchLinear(b, 1) }

func benchLinear(b *testing.B, perCall int) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			send, fd := linearPair(b)
			msgs := make([]mmsghdr, perCall)
			iovs := make([]unix.Iovec, perCall)
			bufs := make([][]byte, perCall)
			for i := range msgs {
				bufs[i] = make([]byte, 65536)
				iovs[i].Base, iovs[i].Len = &bufs[i][0], 65536
				msgs[i].hdr.Iov, msgs[i].hdr.Iovlen = &iovs[i], 1
			}
			receive := func() int {
				// The third argument of recvmsg is flags, that of recvmmsg the number of messages.
				trap, third := uintptr(unix.SYS_RECVMMSG), uintptr(perCall)
				if perCall == 1 {
					trap, third = unix.SYS_RECVMSG, unix.MSG_DONTWAIT
				}
				n, _, errno := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), third, unix.MSG_DONTWAIT, 0, 0)
				if errno != 0 {
					b.Fatal(errno)
				}
				if perCall == 1 {
					msgs[0].len, n = uint32(n), 1
				}
				return int(n)
			}
			msg := message(size, 1)
			put := func() {
				for range benchBatch {
					send(msg)
				}
			}
			benchReceive(b, put, func() {
				for left := benchBatch; left > 0; {
					n := receive()
					for i := range n {
						use(bufs[i][:msgs[i].len])
					}
					left -= n
				}
			})
		})
	}
}
