//go:build lab

package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// echoPause is the time from one echo request to the next.
const echoPause = 100 * time.Millisecond

// echoProtocol holds the differences between ICMP and ICMPv6.
type echoProtocol struct {
	network                 string // of package net
	number                  int    // of the protocol in IP
	request, reply          icmp.Type
	level, option, discover int // no fragments
}

var (
	echo4 = echoProtocol{"ip4:icmp", unix.IPPROTO_ICMP, ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply,
		unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO}
	echo6 = echoProtocol{"ip6:ipv6-icmp", unix.IPPROTO_ICMPV6, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply,
		unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO}
	echoID atomic.Uint32
)

// open opens a raw socket that sends no fragments.
func (p *echoProtocol) open() (*net.IPConn, error) {
	conn, err := net.ListenPacket(p.network, "")
	if err != nil {
		return nil, err
	}
	raw, err := conn.(*net.IPConn).SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), p.level, p.option, p.discover)
		}), err)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn.(*net.IPConn), nil
}

// Echo sends count ICMP or ICMPv6 echo requests with size bytes, 100 ms apart and never in
// fragments, to an address and returns how many were answered within limit after the last was sent.
// Unlike ping(8), which waits for only two round trips, it does not count stalls of the guest.
func (n *NetNS) Echo(t testing.TB, addr string, count, size int, limit time.Duration) (answered int) {
	t.Helper()
	answered, err := n.TryEcho(addr, count, size, limit)
	if err != nil {
		t.Fatal(err)
	}
	return answered
}

// TryEcho is Echo for a goroutine, which must not end the test.
func (n *NetNS) TryEcho(addr string, count, size int, limit time.Duration) (answered int, err error) {
	to := &net.IPAddr{IP: net.ParseIP(addr)}
	p := &echo6
	if to.IP.To4() != nil {
		p = &echo4
	}
	var conn *net.IPConn
	if err := n.Do(func() (err error) { conn, err = p.open(); return err }); err != nil {
		return 0, fmt.Errorf("ICMP socket in %s: %w", n.Name, err)
	}
	defer conn.Close()
	id := int(uint16(echoID.Add(1)))
	seen := map[int]bool{}
	buf := make([]byte, 1<<16)
	var within Limit
	for sent, next := 0, time.Now(); len(seen) < count; {
		until := next
		switch {
		case sent < count && !time.Now().Before(next):
			m := icmp.Message{Type: p.request, Body: &icmp.Echo{ID: id, Seq: sent, Data: make([]byte, size)}}
			b, err := m.Marshal(nil) // for ICMPv6 the kernel adds the checksum
			if err == nil {
				_, err = conn.WriteTo(b, to)
			}
			if err != nil {
				return len(seen), fmt.Errorf("echo request from %s to %s: %w", n.Name, addr, err)
			}
			sent, next, within = sent+1, next.Add(echoPause), Within(limit)
			continue
		case sent == count && within.Passed():
			return len(seen), nil
		case sent == count:
			until = time.Now().Add(within.Left())
		}
		if err := conn.SetReadDeadline(until); err != nil {
			return len(seen), err
		}
		size, _, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return len(seen), fmt.Errorf("ICMP socket in %s: %w", n.Name, err)
		}
		m, err := icmp.ParseMessage(p.number, buf[:size])
		if err != nil || m.Type != p.reply {
			continue
		}
		if echo, ok := m.Body.(*icmp.Echo); ok && echo.ID == id {
			seen[echo.Seq] = true
		}
	}
	return len(seen), nil
}

// Ping is Echo with 56 bytes and a limit of 5 s. It also returns how many requests were sent.
func (n *NetNS) Ping(t testing.TB, addr string, count int) (sent, received int) {
	t.Helper()
	return count, n.Echo(t, addr, count, 56, 5*time.Second)
}
