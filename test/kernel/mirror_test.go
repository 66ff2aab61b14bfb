//go:build lab

package kernel_test

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

var hexLine = regexp.MustCompile(`^\s+0x[0-9a-f]{4}:  ([0-9a-f ]+)$`)

// captured returns the frames in the output of tcpdump -xx, as hexadecimal digits.
func captured(out string) []string {
	var all []string
	for line := range strings.Lines(out) {
		m := hexLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		switch {
		case m == nil:
			all = append(all, "")
		case len(all) > 0:
			all[len(all)-1] += strings.ReplaceAll(m[1], " ", "")
		}
	}
	return all
}

// TestMirror: each frame that a port receives or sends is copied to its mirror unchanged, tagged or
// not, flooded or known. The mirror port itself does not take part in forwarding.
func TestMirror(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 4)
	a, b, other, mirror := n.hosts[0], n.hosts[1], n.hosts[2], n.hosts[3]
	d := n.run(t, settings{"flows": "{max_idle: 60s}", "ports": list(
		fmt.Sprintf("{name: %s, mirror_to: %s}", a.port, mirror.port),
		"{name: "+b.port+"}", "{name: "+other.port+"}", "{name: "+mirror.port+"}",
	)})
	dump := mirror.Start(t, "tcpdump", "-Z", "root", "-n", "-e", "-xx", "-U", "-l", "-s", "0", "--immediate-mode",
		"-i", "eth0")
	dump.WaitLine(t, lab.DaemonLimit, func(line string) bool { return strings.Contains(line, "listening on") })
	p := n.sockets(t)
	mirrored := func(f []byte) {
		t.Helper()
		eventually(t, waitLimit, "tcpdump shows the frame", func() bool {
			for _, got := range captured(dump.Output()) {
				if got == hex.EncodeToString(f) {
					return true
				}
			}
			return false
		})
	}
	const macA, macB = "02:00:5e:00:0a:01", "02:00:5e:00:0b:02"
	tagged := func(dst, src string, serial byte) []byte {
		return lab.Frame(t, dst, src, unix.ETH_P_8021Q, []byte{0x60, 0x2a, 0x88, 0xb5, serial, 1, 2, 3})
	}
	var sent [][]byte
	for round := range byte(3) {
		for _, f := range [][]byte{
			frame(t, broadcast, macA), frame(t, macB, macA), tagged(broadcast, macA, round), frame(t, "01:80:c2:00:00:00", macA),
		} {
			send(t, p[0], f)
			mirrored(f)
			sent = append(sent, f)
		}
		for _, f := range [][]byte{frame(t, broadcast, macB), frame(t, macA, macB), tagged(macA, macB, round)} {
			send(t, p[1], f)
			p[0].Expect(t, waitLimit, among(f))
			mirrored(f)
			sent = append(sent, f)
		}
	}
	// Frames that do not pass port a are not copied.
	macC := "02:00:5e:00:0c:03"
	there := frame(t, macC, macB)
	send(t, p[2], frame(t, broadcast, macC))
	p[1].Expect(t, waitLimit, func(f []byte) bool { return string(f[6:12]) == "\x02\x00\x5e\x00\x0c\x03" })
	eventually(t, waitLimit, "a frame from b to c is not flooded", func() bool {
		there = frame(t, macC, macB)
		send(t, p[1], there)
		p[2].Expect(t, waitLimit, among(there))
		after := frame(t, macA, macB)
		send(t, p[1], after)
		mirrored(after)
		return !strings.Contains(strings.Join(captured(dump.Output()), "\n"), hex.EncodeToString(there))
	})
	all := strings.Join(captured(dump.Output()), "\n")
	for _, f := range sent {
		if got := strings.Count(all, hex.EncodeToString(f)); got != 1 {
			t.Errorf("%d copies of frame %x...", got, f[:20])
		}
	}

	// Frames that the mirror receives are dropped and not learned.
	spoof := frame(t, broadcast, macA)
	send(t, p[3], spoof)
	v := n.view(t)
	no := v.portNo(t, mirror.port)
	eventually(t, waitLimit, "a flow drops what comes in at the mirror", func() bool {
		for f := range v.flows(t) {
			if f.inPort == no && f.actions == "drop" {
				return true
			}
		}
		return false
	})
	f := frame(t, macA, macB)
	send(t, p[1], f)
	p[0].Expect(t, waitLimit, among(f))
	for i, q := range p[:3] {
		if q.Count(t, among(spoof)) != 0 {
			t.Errorf("host %d got a frame that came in at the mirror", i)
		}
	}

	// Without the setting the former mirror is an ordinary port.
	since := reload(t, d, n.config(settings{"flows": "{max_idle: 60s}"}))
	d.Wait(t, since, "reloaded", nil)
	eventually(t, waitLimit, "the former mirror takes part", func() bool {
		f := frame(t, broadcast, "02:00:5e:00:0d:04")
		send(t, p[3], f)
		after := frame(t, broadcast, macB)
		send(t, p[1], after)
		p[0].Expect(t, waitLimit, among(f, after))
		return p[0].Count(t, among(f, after)) > 0
	})
	stop(t, d)
}
