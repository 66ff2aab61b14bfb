package load

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

func TestFrame(t *testing.T) {
	sources := make(map[string]bool)
	for _, c := range []struct {
		number     uint32
		size, want int
	}{{0, 0, 60}, {1, 60, 60}, {255, 200, 200}, {256, 1500, 1500}, {70_000, 9000, 9000}} {
		f := Frame(Sink, c.number, c.size)
		if len(f) != c.want || !bytes.Equal(f[:6], Sink) || f[6]&3 != 2 {
			t.Errorf("frame %d of %d bytes: %d bytes, % x", c.number, c.size, len(f), f[:12])
		}
		sources[string(f[6:12])] = true
		at := time.Unix(1_700_000_000+int64(c.number), 123_456_789)
		binary.BigEndian.PutUint64(f[18:], uint64(at.UnixNano()))
		if number, sent, ok := parse(f); !ok || number != c.number || !sent.Equal(at) {
			t.Errorf("parse: %d, %v, %v; want %d, %v", number, sent, ok, c.number, at)
		}
		if _, _, ok := parse(f[:headerLen-1]); ok {
			t.Error("a short frame was parsed")
		}
		f[13]++
		if _, _, ok := parse(f); ok {
			t.Error("a frame of another EtherType was parsed")
		}
	}
	if len(sources) != 5 {
		t.Errorf("%d different sources, want 5", len(sources))
	}
}

func TestConversation(t *testing.T) {
	var conversations [2][4][]byte
	for i := range conversations {
		var err error
		if conversations[i], err = Conversation(uint32(7 + i)); err != nil {
			t.Fatal(err)
		}
	}
	a, b := conversations[0], conversations[1]
	if !bytes.Equal(a[0][:6], everyone) {
		t.Errorf("the question goes to % x", a[0][:6])
	}
	for i := 1; i < 4; i++ {
		if !bytes.Equal(a[i][:6], a[i-1][6:12]) {
			t.Errorf("frame %d goes to % x, and frame %d came from % x", i, a[i][:6], i-1, a[i-1][6:12])
		}
	}
	if bytes.Equal(a[0][6:12], b[0][6:12]) || bytes.Equal(a[1][6:12], b[1][6:12]) || bytes.Equal(a[0][6:12], a[1][6:12]) {
		t.Error("stations of two conversations are the same")
	}
	for i, want := range []string{
		"198.18.0.7 request 198.19.0.7", "198.19.0.7 reply 198.18.0.7",
		"198.18.0.7:4000 198.19.0.7:4001", "198.19.0.7:4001 198.18.0.7:4000",
	} {
		if len(a[i]) < 60 {
			t.Errorf("frame %d has %d bytes", i, len(a[i]))
		}
		p := gopacket.NewPacket(a[i], layers.LayerTypeEthernet, gopacket.Default)
		got := ""
		if arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
			operation := map[uint16]string{layers.ARPRequest: "request", layers.ARPReply: "reply"}[arp.Operation]
			got = fmt.Sprint(net.IP(arp.SourceProtAddress), " ", operation, " ", net.IP(arp.DstProtAddress))
		} else if udp, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP); ok {
			ip := p.NetworkLayer().(*layers.IPv4)
			got = fmt.Sprintf("%v:%d %v:%d", ip.SrcIP, udp.SrcPort, ip.DstIP, udp.DstPort)
		}
		if got != want || p.ErrorLayer() != nil {
			t.Errorf("frame %d is %q, want %q: %v", i, got, want, p.ErrorLayer())
		}
	}
}

func TestPace(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var calls []int
	call := func(i int) error { calls = append(calls, i); return nil }
	start := time.Now()
	if sent, err := Pace(ctx, 20, 1000, call); sent != 20 || err != nil || len(calls) != 20 || calls[19] != 19 ||
		time.Since(start) < 19*time.Millisecond {
		t.Errorf("sent %d, error %v, calls %d after %v", sent, err, calls, time.Since(start))
	}
	sent, err := Pace(ctx, Endless, 0, func(i int) error {
		if i == 5 {
			cancel()
		}
		return nil
	})
	if sent != 6 || err != nil {
		t.Errorf("cancelled: sent %d, error %v; want 6", sent, err)
	}
	failure := errors.New("no")
	fail := func(i int) error { return map[int]error{2: failure}[i] }
	if sent, err := Pace(context.Background(), 3, 0, fail); sent != 2 || err != failure {
		t.Errorf("sent %d, error %v; want 2 and %v", sent, err, failure)
	}
}

func TestStamp(t *testing.T) {
	// struct cmsghdr: len 32, SOL_SOCKET, SCM_TIMESTAMPNS; struct timespec.
	oob := make([]byte, 32)
	binary.NativeEndian.PutUint64(oob, 32)
	binary.NativeEndian.PutUint32(oob[8:], 1)
	binary.NativeEndian.PutUint32(oob[12:], 35)
	binary.NativeEndian.PutUint64(oob[16:], 1_700_000_123)
	binary.NativeEndian.PutUint64(oob[24:], 987_654_321)
	if at, err := stamp(oob); err != nil || at.UnixNano() != 1_700_000_123_987_654_321 {
		t.Errorf("stamp: %v, %v", at, err)
	}
	binary.NativeEndian.PutUint32(oob[12:], 29)
	if _, err := stamp(oob); err == nil {
		t.Error("a message without a stamp was accepted")
	}
}

// TestPair: all pairs differ, although they consist of few stations.
func TestPair(t *testing.T) {
	pairs, from, to := map[string]bool{}, map[string]bool{}, map[string]bool{}
	f := Frame(Sink, 0, 60)
	const n = 3 * pairSinks
	for i := range n {
		Pair(f, i)
		pairs[string(f[:12])], to[string(f[:6])], from[string(f[6:12])] = true, true, true
	}
	if len(pairs) != n || len(from) != 3 || len(to) != pairSinks {
		t.Errorf("%d pairs of %d senders and %d sinks", len(pairs), len(from), len(to))
	}
}
