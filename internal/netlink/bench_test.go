package netlink

import (
	"fmt"
	"testing"
	"time"

	mdlayher "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// BenchmarkReceive compares ways to receive a queue of 64 messages. Filling the queue
// is part of ns/op but not of ns/msg; it does not allocate.
func BenchmarkReceive(b *testing.B) {
	const queue = 64
	type receiver struct {
		port    uint32
		receive func(b *testing.B) // all of the queue
	}
	open := map[string]func(b *testing.B) receiver{
		"batch": func(b *testing.B) receiver {
			r, in := openAnySender(b, socketConfig{rcvbuf: 4 << 20}), newBatch(b, queue)
			return receiver{port: r.PortID(), receive: func(b *testing.B) {
				if n, err := r.Receive(in, queue); n != queue || err != nil {
					b.Fatal(n, err)
				}
				in.Release()
			}}
		},
		"single": func(b *testing.B) receiver {
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
		for _, name := range []string{"batch", "single", "mdlayher", "vishvananda"} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
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

// BenchmarkSend sends messages of 1,500 bytes that the kernel skips, 64 to a call.
func BenchmarkSend(b *testing.B) {
	c := dial(b, unix.NETLINK_ROUTE, Config{})
	batch, payload := &SendBatch{}, pattern(1, 1500)
	failed := func(i int, errno unix.Errno) { b.Fatal(i, errno) }
	b.ReportAllocs()
	for b.Loop() {
		batch.Reset()
		for range 64 {
			batch.Begin(unix.NLMSG_NOOP, 0)
			batch.Gather(1, payload)
			batch.End()
		}
		if err := c.Send(batch, failed); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(batch.Size()))
}
