//go:build lab

package kernel_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"dpifd/internal/lab"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"
)

// vlanPorts are the ports of the matrix: a and b are access ports, n is a trunk with a native VLAN,
// t a trunk of all VLANs.
var vlanPorts = []struct{ name, setting string }{
	{"a", "vlan: {access: 10}"},
	{"b", "vlan: {access: 20}"},
	{"n", "vlan: {trunk: [10, 20-29], native: 1}"},
	{"t", ""},
}

// vlanMatrix lists where a flooded frame arrives and with which tags. Tags are written outermost
// first: 20p5+7 is VLAN 20 with priority 5, then VLAN 7; s20 has the TPID of 802.1ad; "-" is no
// tag.
var vlanMatrix = []struct {
	in, tags string
	out      map[string]string
}{
	{"a", "-", map[string]string{"n": "10", "t": "10"}},
	{"a", "0p5", map[string]string{"n": "10p5", "t": "10p5"}},
	{"a", "10", nil},
	{"a", "20", nil},
	{"a", "20+7", nil},
	{"b", "-", map[string]string{"n": "20", "t": "20"}},
	{"b", "0", map[string]string{"n": "20", "t": "20"}},
	{"b", "10", nil},
	{"n", "-", map[string]string{"t": "1"}},
	{"n", "0p3", map[string]string{"t": "1p3"}},
	{"n", "1", map[string]string{"t": "1"}},
	{"n", "10", map[string]string{"a": "-", "t": "10"}},
	{"n", "10p6", map[string]string{"a": "-", "t": "10p6"}},
	{"n", "20", map[string]string{"b": "-", "t": "20"}},
	{"n", "29", map[string]string{"t": "29"}},
	{"n", "30", nil},
	{"n", "10+7", map[string]string{"a": "7", "t": "10+7"}},
	{"n", "s20+7", map[string]string{"b": "7", "t": "s20+7"}},
	{"n", "30+10", nil},
	{"t", "-", nil},
	{"t", "0p5", nil},
	{"t", "1", map[string]string{"n": "-"}},
	{"t", "1p5", map[string]string{"n": "-"}},
	{"t", "10", map[string]string{"a": "-", "n": "10"}},
	{"t", "20", map[string]string{"b": "-", "n": "20"}},
	{"t", "20p1", map[string]string{"b": "-", "n": "20p1"}},
	{"t", "30", nil},
	{"t", "4095", nil},
	{"t", "10+20", map[string]string{"a": "20", "n": "10+20"}},
	{"t", "s10+s7", map[string]string{"a": "s7", "n": "s10+s7"}},
	{"t", "1+9p2", map[string]string{"n": "9p2"}},
}

// tagBytes returns tags as in a frame.
func tagBytes(t *testing.T, tags string) []byte {
	t.Helper()
	var b []byte
	if tags == "-" {
		return nil
	}
	for tag := range strings.SplitSeq(tags, "+") {
		tag, service := strings.CutPrefix(tag, "s")
		vid, pcp, _ := strings.Cut(tag, "p")
		v, err := strconv.Atoi(vid)
		p, pcpErr := strconv.Atoi("0" + pcp)
		if err != nil || pcpErr != nil {
			t.Fatalf("tags %q", tags)
		}
		tpid := uint16(unix.ETH_P_8021Q)
		if service {
			tpid = unix.ETH_P_8021AD
		}
		b = binary.BigEndian.AppendUint16(b, tpid)
		b = binary.BigEndian.AppendUint16(b, uint16(p<<13|v))
	}
	return b
}

// retag returns an untagged frame with the given tags added.
func retag(t *testing.T, f []byte, tags string) []byte {
	t.Helper()
	return bytes.Join([][]byte{f[:12], tagBytes(t, tags), f[12:]}, nil)
}

// udpFrame builds a UDP frame, of IPv4 or IPv6, with a unique payload. An empty dst stands for the
// broadcast address, or the multicast address of all nodes.
func udpFrame(t *testing.T, six bool, dst, src string) []byte {
	t.Helper()
	id := serialFrame.Add(1)
	parse := func(mac string) net.HardwareAddr {
		m, err := net.ParseMAC(mac)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	udp := &layers.UDP{SrcPort: 4000, DstPort: layers.UDPPort(5000 + id%7)}
	eth := &layers.Ethernet{SrcMAC: parse(src), EthernetType: layers.EthernetTypeIPv4}
	var ip gopacket.SerializableLayer
	var network gopacket.NetworkLayer
	if six {
		l := &layers.IPv6{Version: 6, HopLimit: 9, NextHeader: layers.IPProtocolUDP, SrcIP: net.ParseIP("fd00::1"),
			DstIP: net.ParseIP("ff02::1")}
		eth.EthernetType, ip, network = layers.EthernetTypeIPv6, l, l
		if dst == "" {
			dst = "33:33:00:00:00:01"
		}
	} else {
		l := &layers.IPv4{Version: 4, TTL: 9, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{10, 0, 0, 1},
			DstIP: net.IP{255, 255, 255, 255}}
		ip, network = l, l
		if dst == "" {
			dst = broadcast
		}
	}
	eth.DstMAC = parse(dst)
	if err := udp.SetNetworkLayerForChecksum(network); err != nil {
		t.Fatal(err)
	}
	payload := fmt.Appendf(nil, "frame %08d %s", id, strings.Repeat("v", int(id%900)))
	b := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(b, options, eth, ip, udp, gopacket.Payload(payload)); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

// dump is a tcpdump on a host's device that writes the frames which arrive there to a file.
type dump struct{ file string }

func startDump(t *testing.T, h host) dump {
	t.Helper()
	d := dump{filepath.Join(t.TempDir(), "pcap")}
	p := h.Start(t, "tcpdump", "-Z", "root", "-i", "eth0", "-Q", "in", "-U", "-s", "0", "-w", d.file)
	p.WaitLine(t, lab.DaemonLimit, func(line string) bool { return strings.Contains(line, "listening on eth0") })
	return d
}

// frames counts the frames captured so far, by their bytes.
func (d dump) frames(t *testing.T) map[string]int {
	t.Helper()
	f, err := os.Open(d.file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := map[string]int{}
	r, err := pcapgo.NewReader(f)
	for err == nil {
		var data []byte
		if data, _, err = r.ReadPacketData(); err == nil {
			seen[string(data)]++
		}
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	return seen
}

// vlanLab is the network of the matrix with a running daemon.
type vlanLab struct {
	net   *network
	index map[string]int // of hosts, by the port's name in the matrix
	socks []*lab.Packet
	dumps []dump
	want  []map[string]int // of each dump
}

func newVLANLab(t *testing.T) *vlanLab {
	l := &vlanLab{net: newQuietNetwork(t, len(vlanPorts)), index: map[string]int{}}
	for i, p := range vlanPorts {
		l.index[p.name] = i
		l.dumps = append(l.dumps, startDump(t, l.net.hosts[i]))
		l.want = append(l.want, map[string]int{})
	}
	l.socks = l.net.sockets(t)
	return l
}

// expect records that a frame will arrive at a port.
func (l *vlanLab) expect(port string, f []byte) { l.want[l.index[port]][string(f)]++ }

func (l *vlanLab) send(t *testing.T, port string, f []byte) { send(t, l.socks[l.index[port]], f) }

// settle waits until all expected frames have arrived, then sends a last frame on each path and
// waits for it, so that unexpected frames have arrived too, and compares everything that tcpdump
// captured.
func (l *vlanLab) settle(t *testing.T) {
	t.Helper()
	arrived := func() bool {
		for i, d := range l.dumps {
			seen := d.frames(t)
			for f, n := range l.want[i] {
				if seen[f] < n {
					return false
				}
			}
		}
		return true
	}
	eventually(t, 3*waitLimit, "all frames have arrived", func() bool { return arrived() || t.Failed() })
	for _, way := range []struct{ in, tags string }{{"a", "-"}, {"b", "-"}, {"n", "-"}, {"n", "10"}, {"n", "20"},
		{"t", "10"}, {"t", "20"}, {"t", "1"}} {
		l.flood(t, way.in, way.tags, false)
	}
	eventually(t, 3*waitLimit, "the last frames have arrived", arrived)
	for i, d := range l.dumps {
		if seen := d.frames(t); !maps.Equal(seen, l.want[i]) {
			for f := range seen {
				if l.want[i][f] != seen[f] {
					t.Errorf("port %s: %d times, want %d: % x", vlanPorts[i].name, seen[f], l.want[i][f], f[:min(len(f), 40)])
				}
			}
		}
	}
}

// flood sends a frame to all ports and records where the matrix expects it.
func (l *vlanLab) flood(t *testing.T, in, tags string, six bool) {
	t.Helper()
	for _, row := range vlanMatrix {
		if row.in == in && row.tags == tags {
			f := udpFrame(t, six, "", l.net.hosts[l.index[in]].mac)
			for port, left := range row.out {
				l.expect(port, retag(t, f, left))
			}
			l.send(t, in, retag(t, f, tags))
			return
		}
	}
	t.Fatalf("no row %s %s", in, tags)
}

// answer sends an answer to each row's frame from where it arrived, with the tags that it had
// there; only the sender must receive it.
func (l *vlanLab) answer(t *testing.T, in, tags string, out map[string]string, six bool) {
	t.Helper()
	if strings.Contains(tags, "+") {
		return // a station behind an access port would interpret the inner tag as its own
	}
	for port, left := range out {
		f := udpFrame(t, six, l.net.hosts[l.index[in]].mac, l.net.hosts[l.index[port]].mac)
		back := "-"
		if vid, _, _ := strings.Cut(tags, "p"); vid != "-" && vid != "0" {
			_, pcp, has := strings.Cut(left, "p")
			if back = vid; has {
				back += "p" + pcp
			}
		}
		if in == "n" && strings.HasPrefix(tags, "1") && !strings.HasPrefix(tags, "10") {
			back = "-" // native VLAN, although the frame was tagged
		}
		l.expect(in, retag(t, f, back))
		l.send(t, port, retag(t, f, left))
	}
}

// TestVLANMatrix sends frames with all kinds of tags through all kinds of ports, in IPv4 and IPv6,
// flooded and unicast, and compares what tcpdump captures on each host with the expected frames,
// byte for byte. The first round is forwarded by the daemon, the second by the flows that it
// installed.
func TestVLANMatrix(t *testing.T) { inStages(t, forwardVLANMatrix) }

func forwardVLANMatrix(t *testing.T, stages string) {
	t.Parallel()
	l := newVLANLab(t)
	var ports []string
	for i, p := range vlanPorts {
		ports = append(ports, fmt.Sprintf("{name: %s, %s}", l.net.hosts[i].port, p.setting))
	}
	d := l.net.run(t, settings{"ports": "[" + strings.Join(ports, ", ") + "]",
		"flows": "{max_idle: 10m, stages: " + stages + "}"})
	v := l.net.view(t)
	round := func() {
		for _, six := range []bool{false, true} {
			for _, row := range vlanMatrix {
				l.flood(t, row.in, row.tags, six)
			}
			l.settle(t)
			for _, row := range vlanMatrix {
				l.answer(t, row.in, row.tags, row.out, six)
			}
			l.settle(t)
		}
	}
	round()
	before := v.info(t).Stats
	round()
	after := v.info(t).Stats
	if after.Missed != before.Missed || after.Hit == before.Hit {
		t.Errorf("in the second round %d packets missed and %d hit", after.Missed-before.Missed, after.Hit-before.Hit)
	}
	t.Logf("%d flows, %d masks, %d upcalls", after.Flows, after.Masks, after.Missed)
	stop(t, d)
	if got := d.Events("stopped")[0].Text("lost"); got != "0" {
		t.Errorf("lost %s packets", got)
	}
}
