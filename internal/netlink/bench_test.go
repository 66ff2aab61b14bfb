package netlink

import (
	"fmt"
	"testing"
	"time"

	mdlayher "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// BenchmarkReceive compares ways to receive a queue of 64 messages; raw is only recvmmsg, recvmsg
// one read per message. Filling the queue counts in ns/op but not in ns/msg; it does not allocate.
func BenchmarkReceive(b *testing.B) {
	const queue = 64
	type receiver struct {
		port    uint32
		receive func(b *testing.B) // receives the whole queue
	}
	open := map[string]func(b *testing.B) receiver{
		"raw": func(b *testing.B) receiver {
			r := openAnySender(b, socketConfig{rcvbuf: 4 << 20})
			var s slots
			if err := s.mmap(queue); err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.munmap() })
			return receiver{port: r.PortID(), receive: func(b *testing.B) {
				if n, errno := s.receive(r.FD(), 0, queue); n != queue {
					b.Fatal(n, errno)
				}
			}}
		},
		"dpifd": func(b *testing.B) receiver {
			r, in := openAnySender(b, socketConfig{rcvbuf: 4 << 20}), newBatch(b, queue)
			return receiver{port: r.PortID(), receive: func(b *testing.B) {
				if n, err := r.Receive(in, queue); n != queue || err != nil {
					b.Fatal(n, err)
				}
				in.Release()
			}}
		},
		"recvmsg": func(b *testing.B) receiver {
			r, buf := openAnySender(b, socketConfig{rcvbuf: 4 << 20}), make([]byte, maxDatagram)
			return receiver{port: r.PortID(), receive: func(b *testing.B) {
				for range queue {
					if n, err := unix.Read(r.FD(), buf); n == 0 || err != nil {
						b.Fatal(n, err)
					}
				}
			}}
		},
		"mdlayher": func(b *testing.B) receiver {
			c, err := mdlayher.Dial(unix.NETLINK_USERSOCK, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { c.Close() })
			if err := c.SetReadBuffer(4 << 20); err != nil {
				b.Fatal(err)
			}
			return receiver{port: c.PID(), receive: func(b *testing.B) {
				for range queue {
					if _, err := c.Receive(); err != nil {
						b.Fatal(err)
					}
				}
			}}
		},
		"vishvananda": func(b *testing.B) receiver {
			s, err := nl.Subscribe(unix.NETLINK_USERSOCK)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(s.Close)
			if err := s.SetReceiveBufferSize(4<<20, true); err != nil {
				b.Fatal(err)
			}
			port, err := s.GetPid()
			if err != nil {
				b.Fatal(err)
			}
			return receiver{port: port, receive: func(b *testing.B) {
				for range queue {
					if _, _, err := s.Receive(); err != nil {
						b.Fatal(err)
					}
				}
			}}
		},
	}
	for _, size := range []int{200, 1600, 15000} {
		for _, name := range []string{"raw", "recvmsg", "dpifd", "mdlayher", "vishvananda"} {
			b.Run(fmt.Sprintf("size=%d/lib=%s", size, name), func(b *testing.B) {
				r, tx := open[name](b), newSender(b)
				to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: r.port}
				msg := message(20, 0, 1, 0, pattern(1, size-headerLen)...)
				var spent time.Duration
				b.ReportAllocs()
				for b.Loop() {
					for range queue {
						if err := unix.Sendto(tx.fd, msg, 0, to); err != nil {
							b.Fatal(err)
						}
					}
					start := time.Now()
					r.receive(b)
					spent += time.Since(start)
				}
				b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N*queue), "ns/msg")
			})
		}
	}
}
