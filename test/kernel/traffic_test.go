//go:build lab

package kernel_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// ping sends count echo requests with size bytes, unfragmented, and requires all answers.
func ping(t *testing.T, from *lab.NetNS, addr string, count, size int) {
	t.Helper()
	if got := from.Echo(t, addr, count, size, waitLimit); got != count {
		t.Errorf("ping %s from %s with %d bytes: %d of %d answered", addr, from.Name, size, got, count)
	}
}

// stream sends size random bytes over TCP to an address in another namespace, which answers with
// their checksum.
func stream(t *testing.T, from, to *lab.NetNS, addr string, size int64) {
	t.Helper()
	var l net.Listener
	err := to.Do(func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(addr, "0"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() { served <- serveSum(l, size) }()
	sum, err := sendStream(from, l.Addr().String(), size)
	l.Close() // ends a server that got no connection
	if serr := <-served; serr != nil {
		t.Errorf("TCP server on %s: %v", addr, serr)
	}
	if err != nil {
		t.Fatalf("TCP from %s to %s: %v", from.Name, addr, err)
	}
	t.Logf("TCP to %s: %d bytes, SHA-256 %x", addr, size, sum[:4])
}

const tcpLimit = 3 * time.Minute

func serveSum(l net.Listener, size int64) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(tcpLimit)); err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.CopyN(h, c, size); err != nil {
		return err
	}
	_, err = c.Write(h.Sum(nil))
	return err
}

func sendStream(from *lab.NetNS, addr string, size int64) ([]byte, error) {
	var c net.Conn
	err := from.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", addr, tcpLimit)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(tcpLimit)); err != nil {
		return nil, err
	}
	var seed [32]byte
	binary.NativeEndian.PutUint64(seed[:], rand.Uint64())
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(h, c), rand.NewChaCha8(seed), size); err != nil {
		return nil, err
	}
	want, got := h.Sum(nil), make([]byte, sha256.Size)
	if _, err := io.ReadFull(c, got); err != nil {
		return nil, err
	}
	if !bytes.Equal(got, want) {
		return nil, fmt.Errorf("checksum %x arrived, %x was sent", got, want)
	}
	return got, nil
}

// neighbours checks that a host has resolved the addresses of another by ARP and ND.
func neighbours(t *testing.T, h, other host) {
	t.Helper()
	out := h.Run(t, "ip", "neighbor", "show")
	for _, addr := range []string{other.ip4, other.ip6} {
		if want := fmt.Sprintf("%s dev eth0 lladdr %s", addr, other.mac); !strings.Contains(out, want) {
			t.Errorf("%s: ip neighbor lacks %q:\n%s", h.Name, want, out)
		}
	}
}

func TestTraffic(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name             string
		hosts, mtu, ping int // ping: bytes
		tcp              int64
	}{
		{name: "pair", hosts: 2, tcp: 3 << 20, ping: 1452},
		{name: "three", hosts: 3, tcp: 1<<20 + 4711, ping: 73},
		{name: "jumbo", hosts: 2, mtu: 9000, tcp: 4<<20 + 1, ping: 8000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNetwork(t, tt.hosts, tt.mtu)
			d := n.run(t, nil)
			for i, from := range n.hosts {
				to := n.hosts[(i+1)%len(n.hosts)]
				for _, addr := range []string{to.ip4, to.ip6} {
					ping(t, from.NetNS, addr, 4, tt.ping)
				}
				neighbours(t, from, to)
				stream(t, from.NetNS, to.NetNS, to.ip4, tt.tcp)
				if i == 0 {
					stream(t, to.NetNS, from.NetNS, from.ip6, tt.tcp)
				}
			}
			if lost := n.view(t).info(t).Stats.Lost; lost != 0 {
				t.Errorf("the kernel lost %d upcalls", lost)
			}
			stop(t, d)
			if got := d.Events("stopped"); len(got) != 1 || got[0].Text("lost") != "0" {
				t.Errorf("stopped: %v, want lost 0", got)
			}
		})
	}
}

// TestStreamStaysInKernel: after the first packets of a stream, none cause upcalls.
func TestStreamStaysInKernel(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	addrs := []string{"172.29.3.8", "172.29.3.9"}
	for i, h := range n.hosts {
		h.Run(t, "ip", "address", "add", addrs[i]+"/24", "dev", "eth0")
	}
	d := n.run(t, settings{"flows": "{max_idle: 60s}"})
	v := n.view(t)
	a, b := n.hosts[0].NetNS, n.hosts[1].NetNS
	ping(t, a, addrs[1], 4, 300)
	// ARP and the first packet of each direction created flows; those that flood are replaced.
	eventually(t, waitLimit, "a flow each way", func() bool { return len(v.flows(t)) >= 2 })

	before := v.info(t).Stats
	stream(t, a, b, addrs[1], 3<<20)
	after := v.info(t).Stats
	if after.Missed != before.Missed {
		t.Errorf("missed rose from %d to %d during the stream", before.Missed, after.Missed)
	}
	// Segments have at most 64 KiB, and there are at least as many acknowledgements.
	if hits := after.Hit - before.Hit; hits < 3<<20/65536 {
		t.Errorf("hit rose by only %d", hits)
	}
	stop(t, d)
	show := n.sw.DPCtl(t, "show", n.dpName)
	if want := fmt.Sprintf("missed:%d lost:0", after.Missed); !strings.Contains(show, want) {
		t.Errorf("ovs-dpctl show lacks %q:\n%s", want, show)
	}
}

func TestTaggedFramesPassUnchanged(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	n.run(t, nil)
	a, b := n.hosts[0].OpenPacket(t, "eth0"), n.hosts[1].OpenPacket(t, "eth0")
	const dst, src = "02:00:5e:aa:00:01", "02:00:5e:aa:00:02"
	tests := []struct {
		name      string
		etherType uint16
		payload   []byte
	}{
		{"VLAN 100, priority 5", unix.ETH_P_8021Q, []byte{0xa0, 0x64, 0x88, 0xb5, 1, 2, 3, 4}},
		{"priority tag", unix.ETH_P_8021Q, []byte{0xe0, 0x00, 0x88, 0xb5, 5, 6}},
		{"VLAN 4094, ARP", unix.ETH_P_8021Q, append([]byte{0x0f, 0xfe, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1}, make([]byte, 20)...)},
		{"service tag and customer tag", unix.ETH_P_8021AD, []byte{0x00, 0x07, 0x81, 0x00, 0x00, 0x2a, 0x88, 0xb5, 9, 9, 9}},
		{"802.2", 0x0026, append([]byte{0x42, 0x42, 0x03}, bytes.Repeat([]byte{0x7e}, 43)...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := lab.Frame(t, dst, src, tt.etherType, tt.payload)
			for range 3 { // by the daemon, then by the flow
				send(t, a, f)
				b.Expect(t, waitLimit, among(f))
			}
		})
	}
}
