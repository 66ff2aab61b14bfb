//go:build lab && systemd

package systemd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"dpifd/docs"
	"dpifd/internal/lab"
	"dpifd/test/bench/load"
)

// pasted runs the commands of a block unchanged, line by line, as root, and returns their output.
// Those that contain one of mayFail may exit with another code than 0.
func pasted(t *testing.T, ns *lab.NetNS, text string, mayFail ...string) string {
	t.Helper()
	var all strings.Builder
	for line := range strings.Lines(text) {
		out, err := ns.Try("sh", "-c", `sudo() { "$@"; }; `+line)
		fmt.Fprintf(&all, "$ %s%s", line, out)
		failure := err != nil
		for _, part := range mayFail {
			failure = failure && !strings.Contains(line, part)
		}
		if failure {
			t.Fatal(err)
		}
	}
	t.Log(all.String())
	return all.String()
}

// task runs a task of docs/ block by block.
type task struct {
	ns     *lab.NetNS
	blocks []docs.Block
}

func follow(t *testing.T, ns *lab.NetNS, name string) *task {
	t.Helper()
	blocks, err := docs.Blocks(name)
	if err != nil {
		t.Fatal(err)
	}
	return &task{ns, blocks}
}

// next returns the next block, which must be in that language.
func (k *task) next(t *testing.T, language string) string {
	t.Helper()
	if len(k.blocks) == 0 || k.blocks[0].Language != language {
		t.Fatalf("the next block is not %s: %q", language, k.blocks)
	}
	text := k.blocks[0].Text
	k.blocks = k.blocks[1:]
	return text
}

// file writes the next block to the configuration file of the service.
func (k *task) file(t *testing.T) {
	t.Helper()
	write(t, k.next(t, "yaml"))
}

// paste runs the next block.
func (k *task) paste(t *testing.T, mayFail ...string) string {
	t.Helper()
	return pasted(t, k.ns, k.next(t, "sh"), mayFail...)
}

// taskFile is the configuration file of dpifd.service.
const taskFile = "/etc/dpifd/dpifd.yaml"

func write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(taskFile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// wantLines reports lines that the output of pasted commands lacks.
func wantLines(t *testing.T, out string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile("(?m)^" + p + "$").MatchString(out) {
			t.Errorf("no line is like %s", p)
		}
	}
}

// pings sends a ping every 0.3 s until the test ends.
func pings(t *testing.T, from *lab.NetNS, to string) {
	t.Helper()
	from.Start(t, "ping", "-n", "-q", "-i", "0.3", to)
}

// reaches sends three pings and fails the test if one is not answered.
func reaches(t *testing.T, from *lab.NetNS, addr string, options ...string) {
	t.Helper()
	out, err := from.Try("ping", append(options, "-n", "-c", "3", "-i", "0.2", "-W", "20", addr)...)
	if err != nil {
		t.Error(err)
	} else if !strings.Contains(out, " 3 received, 0% packet loss") {
		t.Error(out)
	}
}

// broadcasts sends frames to all stations, each from the source that src returns.
func broadcasts(t *testing.T, from *lab.Packet, count int, src func(i int) string) {
	t.Helper()
	for i := range count {
		if err := from.Send(lab.Frame(t, "ff:ff:ff:ff:ff:ff", src(i), 0x88b6, make([]byte, 46))); err != nil {
			t.Fatal(err)
		}
	}
}

// loss returns how many packets of a port the daemon has counted as lost by a cause.
func loss(t *testing.T, root *lab.NetNS, port, cause string) (n int) {
	t.Helper()
	var s struct {
		Losses []struct {
			Port, Cause string
			Lost        int
		}
	}
	if err := json.Unmarshal([]byte(root.Run(t, "dpifd", "stats", "dp0", "-o", "json")), &s); err != nil {
		t.Fatal(err)
	}
	for _, l := range s.Losses {
		if l.Port == port && l.Cause == cause {
			n += l.Lost
		}
	}
	return n
}

// TestTasks follows the pages' instructions for operators, with their files and commands unchanged,
// and checks the effect with packets. Installation, upgrade and removal are tested in test/packages,
// monitoring in TestMonitoringRecipes.
func TestTasks(t *testing.T) {
	t.Parallel()
	root := lab.Root(t)
	// The devices are down, as they are on a new machine. The hosts behind are up.
	plug := func(t *testing.T, port, mac string, addrs ...string) *lab.NetNS {
		t.Helper()
		h := lab.Host(t, root, port, mac, addrs...)
		root.SetLink(t, port, false)
		t.Cleanup(func() { _, _ = root.Try("ip", "link", "delete", port) })
		return h
	}
	a := plug(t, "eth1", "02:00:00:00:00:01", "10.0.0.1/24", "192.0.2.11/24")
	b := plug(t, "eth2", "02:00:00:00:00:02", "10.0.0.2/24")
	b.Run(t, "sh", "-ec", `ip link add link eth0 name eth0.10 type vlan id 10
		ip address add 192.0.2.12/24 dev eth0.10; ip link set eth0.10 up`)
	// tcpdump's package would do this, but its scripts did not run here.
	root.Run(t, "sh", "-ec", "mkdir -p /etc/dpifd; echo 'u tcpdump -' | systemd-sysusers -")
	s := &service{root: root, name: "dp0", unit: "dpifd.service"}
	t.Cleanup(func() {
		_, _ = root.Try("sh", "-c", "systemctl disable --now dpifd; dpifd del-dp dp0 --yes; rm -f "+taskFile)
	})

	running := t.Run("two ports", func(t *testing.T) {
		k := follow(t, root, "two ports")
		k.file(t)
		out := k.paste(t)
		wantLines(t, out, `dp0  policy learning .*`,
			`\d+ +eth1 +netdev +trunk all +up .*`, `\d+ +eth2 +netdev +trunk all +up .*`)
		reaches(t, a, "10.0.0.2")
	})
	if !running {
		t.FailNow()
	}
	s.journal = &lab.Daemon{Process: root.Start(t, "journalctl", "--follow", "--lines=all", "--output=cat",
		"--unit="+s.unit)}
	pings(t, a, "10.0.0.2")

	t.Run("debug a flow", func(t *testing.T) {
		reaches(t, a, "10.0.0.2")
		k := follow(t, root, "debug a flow")
		wantLines(t, k.paste(t),
			`in_port\(eth1\),eth\(src=02:00:00:00:00:01,dst=02:00:00:00:00:02\), packets:.*, actions:eth2`,
			`decision: learned_unicast`, `actions: eth2`,
			`\d+ +eth1 +0 +02:00:00:00:00:01 .*`, `\d+ +eth2 +0 +02:00:00:00:00:02 .*`)
	})

	t.Run("a trunk", func(t *testing.T) {
		pings(t, b, "192.0.2.11")
		k := follow(t, root, "a trunk")
		k.file(t)
		wantLines(t, k.paste(t), `\d+ +dp0 +internal +access 10 .*`, `\d+ +eth1 +netdev +access 10 .*`,
			`\d+ +eth2 +netdev +trunk 10,20-29 native 1 .*`, `.* vlan 10, .*`)
		reaches(t, a, "192.0.2.12") // by tag
		reaches(t, a, "192.0.2.10") // the host itself
		if _, err := a.Try("ping", "-c", "1", "-W", "1", "10.0.0.2"); err == nil {
			t.Error("VLAN 10 reaches VLAN 1")
		}
	})

	t.Run("a mirror", func(t *testing.T) {
		analyser := plug(t, "eth4", "02:00:00:00:00:04")
		root.SetLink(t, "eth4", true)
		copies := analyser.OpenPacket(t, "eth0")
		k := follow(t, root, "a mirror")
		k.file(t)
		wantLines(t, k.paste(t), `.* (IP 10\.0\.0\.[12] > 10\.0\.0\.[12]: ICMP echo|ARP, Re).*`)
		const macA, macB, ipv4 = "\x02\x00\x00\x00\x00\x01", "\x02\x00\x00\x00\x00\x02", "\x08\x00"
		for _, header := range []string{macB + macA + ipv4, macA + macB + ipv4} {
			copies.Expect(t, waitLimit, func(f []byte) bool { return bytes.HasPrefix(f, []byte(header)) })
		}
	})

	t.Run("limit a port", func(t *testing.T) {
		const sent = 2000
		k := follow(t, root, "limit a port")
		k.file(t)
		k.paste(t)
		from, to := a.OpenPacket(t, "eth0"), b.OpenPacket(t, "eth0")
		since := time.Now()
		broadcasts(t, from, sent, func(int) string { return "02:00:00:00:00:01" })
		s.journal.Wait(t, since, "storm_limited", func(e lab.Event) bool { return e.Text("port") == "eth1" })
		last := lab.Frame(t, "02:00:00:00:00:02", "02:00:00:00:00:01", 0x88b6, []byte("last"))
		if err := from.Send(last); err != nil {
			t.Fatal(err)
		}
		arrived := 0
		to.Expect(t, waitLimit, func(f []byte) bool {
			if bytes.HasPrefix(f, []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x88\xb6")) {
				arrived++
			}
			return bytes.HasPrefix(f, last)
		})
		s.eventually(t, "the rest is counted", func() bool {
			return loss(t, root, "eth1", "storm_broadcast")+arrived >= sent
		})
		t.Logf("%d of %d arrived", arrived, sent)
		if arrived < 100 || arrived > sent*3/4 {
			t.Errorf("%d of %d broadcasts arrived, with a limit of 100/s", arrived, sent)
		}
		wantLines(t, k.paste(t), `eth1 +storm_broadcast +\d+`, `.*"event":"storm_limited".*"port":"eth1".*`)
	})

	t.Run("find why packets are lost", func(t *testing.T) {
		// Two causes: more new flows than the port may have, and a VLAN that it does not carry.
		write(t, "ports: [{name: eth1, vlan: {access: 10}, max_upcalls: 5/s}, {name: eth2}]\n")
		root.Run(t, "systemctl", "reload", "dpifd")
		from := a.OpenPacket(t, "eth0")
		since := time.Now()
		broadcasts(t, from, 200, func(i int) string { return fmt.Sprintf("02:00:00:01:00:%02x", i) })
		s.journal.Wait(t, since, "upcalls_lost", func(e lab.Event) bool {
			return e.Text("port") == "eth1" && e.Text("cause") == "shed"
		})
		tagged := lab.Frame(t, "ff:ff:ff:ff:ff:ff", "02:00:00:00:00:01", 0x8100,
			append([]byte{0, 20, 0x88, 0xb6}, make([]byte, 46)...))
		lab.Go(t, func(ctx context.Context) {
			if _, err := load.Pace(ctx, load.Endless, 5, func(int) error { return from.Send(tagged) }); err != nil {
				t.Error(err)
			}
		})
		s.eventually(t, "a flow drops", func() bool {
			return strings.Contains(root.Run(t, "dpifd", "dump-flows", "dp0"), "actions:drop")
		})
		k := follow(t, root, "find why packets are lost")
		wantLines(t, k.paste(t, "dpifd status"), `\d+ +eth1 .* [1-9]\d*`, `eth1 +shed +\d+`,
			`.*"event":"upcalls_lost".*"cause":"shed".*`,
			`in_port\(eth1\),.*vlan\(vid=20.*actions:drop`, `  port \d+: eth1`, ` +RX: +bytes +packets +errors +dropped .*`)
	})

	t.Run("a tunnel", func(t *testing.T) {
		t.Cleanup(func() {
			if t.Failed() {
				out, _ := root.Try("sh", "-c", "ip address; ip route; dpifd dump-flows dp0 -m")
				t.Log(out)
			}
		})
		// The other host is another namespace, in which the test starts the daemon.
		peer := lab.NewNetNS(t, "peer")
		lab.Veth(t, lab.End{NS: root, Name: "uplink", Addrs: []string{"192.0.2.1/24"}},
			lab.End{NS: peer, Name: "eth0", Addrs: []string{"192.0.2.2/24"}})
		t.Cleanup(func() { _, _ = root.Try("ip", "link", "delete", "uplink") })
		c := lab.Host(t, peer, "eth1", "02:00:00:00:00:03", "10.0.0.3/24")
		pings(t, a, "10.0.0.3")
		k := follow(t, root, "a tunnel")
		k.file(t)
		// Commands find a daemon by the name of its datapath, so two on one machine need different names.
		file := filepath.Join(t.TempDir(), "dpifd.yaml")
		if err := os.WriteFile(file, []byte("datapath: {name: dp1}\n"+k.next(t, "yaml")), 0o644); err != nil {
			t.Fatal(err)
		}
		peer.StartDaemonFile(t, file).Wait(t, time.Time{}, "ready", nil)
		wantLines(t, k.paste(t), `  port \d+: vxlan_sys_4789.*`)
		mtu := k.next(t, "sh")
		pasted(t, a, mtu)
		pasted(t, c, mtu)
		s.eventually(t, "a station of the other host answers", func() bool {
			_, err := a.Try("ping", "-n", "-c", "1", "-W", "2", "10.0.0.3")
			return err == nil
		})
		reaches(t, a, "10.0.0.3", "-M", "do", "-s", "1422")
		wantLines(t, k.paste(t), `.* IP 192\.0\.2\.\d\.\d+ > 192\.0\.2\.\d\.4789: VXLAN, flags \[I\] .*, vni 42`)
	})
}
