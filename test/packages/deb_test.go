//go:build lab && systemd

package packages_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dpifd/docs"
	"dpifd/internal/lab"
	"dpifd/test/bench/load"
)

// Two versions of the package; the second is newer and has another default configuration.
const (
	oldDeb = "/lab/packages/old.deb"
	newDeb = "/lab/packages/new.deb"

	configFile = "/etc/dpifd/dpifd.yaml"
)

// machine is the VM in which the package is installed.
type machine struct{ *lab.NetNS }

// dpkg runs dpkg in a VM that lacks programs which dpkg looks for, with a database of this package
// only. Configuration files changed by the administrator are kept.
func (m machine) dpkg(t *testing.T, args ...string) {
	t.Helper()
	t.Log(m.Run(t, "dpkg", append([]string{"--force-depends", "--force-bad-path", "--force-confold"}, args...)...))
}

// clear removes what earlier tests left of the service, so that the package is installed on a clean
// machine.
func (m machine) clear(t *testing.T) {
	t.Helper()
	m.Run(t, "sh", "-c", `
		systemctl stop 'dpifd@*.service' dpifd.service
		for dp in $(ovs-dpctl dump-dps); do ovs-dpctl del-dp "$dp"; done
		rm -rf /usr/sbin/dpifd /lib/systemd/system/dpifd* /etc/systemd/system/dpifd* /etc/systemd/system/*/dpifd* /etc/dpifd /run/dpifd \
			/usr/lib/sysusers.d/dpifd.conf /usr/lib/modules-load.d/dpifd.conf /usr/share/doc/dpifd
		sed -i '/^dpifd:/d' /etc/passwd /etc/group /etc/shadow /etc/gshadow
		modprobe -r vport_vxlan vport_geneve vport_gre openvswitch
		systemctl daemon-reload`)
	if strings.Contains(contents(t, "/etc/passwd"), "dpifd") || strings.Contains(m.Run(t, "lsmod"), "openvswitch") {
		t.Fatal("the user or the module is still there")
	}
}

// block returns the commands of a task.
func block(t *testing.T, task string) []string {
	t.Helper()
	blocks, err := docs.Blocks(task)
	if err != nil {
		t.Fatal(err)
	}
	if len(blocks) != 1 || blocks[0].Language != "sh" {
		t.Fatalf("%s has blocks %q", task, blocks)
	}
	return strings.SplitAfter(strings.TrimSpace(blocks[0].Text), "\n")
}

// paste runs commands from a page unchanged, in a folder with one package. dpkg replaces apt, and
// config is written in place of the editor.
func (m machine) paste(t *testing.T, deb, config string, commands []string) {
	t.Helper()
	const shell = `set -e
		deb=$1 config=$2
		cd "$(mktemp -d)"
		[ -z "$deb" ] || cp "$deb" ./dpifd_1_amd64.deb
		sudo() { "$@"; }
		sudoedit() { printf %s "$config" >"$1"; }
		apt() { dpkg --force-depends --force-bad-path --force-confold "--$1" "$2"; }
		`
	t.Log(m.Run(t, "sh", "-c", shell+strings.Join(commands, ""), "sh", deb, config))
}

// property returns a property of the service's unit.
func (m machine) property(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(m.Run(t, "systemctl", "show", "dpifd.service", "--value", "-p", name))
}

func (m machine) wantState(t *testing.T, when, active, file string) {
	t.Helper()
	if a, f := m.property(t, "ActiveState"), m.property(t, "UnitFileState"); a != active || f != file {
		t.Fatalf("%s: the service is %q and %q, want %q and %q\n%s", when, a, f, active, file,
			m.Run(t, "sh", "-c", "systemctl status --no-pager --full dpifd.service || true"))
	}
}

func wantGone(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there (%v)", path, err)
		}
	}
}

func contents(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestDebianPackage installs the package, runs the service, upgrades it under traffic, removes and
// purges it.
func TestDebianPackage(t *testing.T) {
	if _, err := os.Stat(oldDeb); err != nil {
		t.Skip("the VM has no packages: make systemd-test")
	}
	m := machine{lab.Root(t)}
	m.clear(t)
	const config = "datapath: {name: dp0}\nports: [{name: va}, {name: vb}]\nlog: {stats_interval: 1s}\n"
	install := block(t, "install")
	m.paste(t, oldDeb, "", install[:1])
	m.wantState(t, "installed", "inactive", "disabled")
	if !strings.Contains(contents(t, "/etc/passwd"), "\ndpifd:") {
		t.Error("the daemon has no user")
	}
	if !strings.Contains(m.Run(t, "lsmod"), "openvswitch") {
		t.Error("the module is not loaded")
	}
	m.Run(t, "dpifd", "check", "--config", configFile)
	before := m.Run(t, "dpifd", "version")

	from := lab.Host(t, m.NetNS, "va", "02:00:00:00:0a:01", "10.9.8.1/24")
	to := lab.Host(t, m.NetNS, "vb", "02:00:00:00:0b:02", "10.9.8.2/24")
	m.paste(t, "", config, install[1:])
	m.wantState(t, "started", "active", "enabled")
	if sent, received := from.Ping(t, "10.9.8.2", 5); sent != received {
		t.Errorf("%d of %d pings answered", received, sent)
	}

	pid := m.property(t, "MainPID")
	l := startLoad(t, from, to)
	l.await(t)
	m.paste(t, newDeb, "", block(t, "upgrade"))
	m.wantState(t, "upgraded", "active", "enabled")
	l.await(t)
	steady, fresh := l.stop(t)
	t.Logf("steady: %v; new flows: %v", steady, fresh)
	if steady.arrived != steady.sent {
		t.Errorf("the upgrade stopped traffic that stays in the kernel: %v", steady)
	}
	// The sockets outlive the restart, so upcalls queue in them meanwhile.
	if fresh.arrived != fresh.sent {
		t.Errorf("the upgrade lost packets of new flows: %v", fresh)
	}
	if now := m.property(t, "MainPID"); now == pid || now == "0" {
		t.Errorf("process %s serves after the upgrade, as before", now)
	}
	if after := m.Run(t, "dpifd", "version"); after != before {
		t.Errorf("the same program says %s, and %s before", after, before)
	}
	shown := strings.TrimSpace(m.Run(t, "dpkg-query", "--show", "--showformat", "${Version} ${Status}", "dpifd"))
	if !strings.HasSuffix(shown, "+next install ok installed") {
		t.Errorf("dpkg has %q", shown)
	}
	if got := contents(t, configFile); got != config {
		t.Errorf("the upgrade changed the administrator's configuration:\n%s", got)
	}
	if sent, received := from.Ping(t, "10.9.8.2", 5); sent != received {
		t.Errorf("after the upgrade %d of %d pings answered", received, sent)
	}

	m.paste(t, "", "", block(t, "remove"))
	wantGone(t, "/sys/class/net/dp0")
	wantGone(t, "/usr/sbin/dpifd", "/lib/systemd/system/dpifd.service",
		"/etc/systemd/system/multi-user.target.wants/dpifd.service", "/proc/"+pid)
	if got := contents(t, configFile); got != config {
		t.Errorf("removal changed the configuration:\n%s", got)
	}
	// A new installation finds the configuration, and the service is not enabled.
	m.dpkg(t, "--install", newDeb)
	m.wantState(t, "reinstalled", "inactive", "disabled")
	m.dpkg(t, "--purge", "dpifd")
	wantGone(t, "/usr/sbin/dpifd", "/etc/dpifd", "/run/dpifd", "/usr/share/doc/dpifd",
		"/usr/lib/modules-load.d/dpifd.conf")
	if out := m.Run(t, "dpkg", "--list"); strings.Contains(out, "dpifd") {
		t.Errorf("dpkg still has\n%s", out)
	}
}

// tally counts the frames of a load.
type tally struct{ sent, arrived int }

func (c tally) String() string { return fmt.Sprintf("%d sent, %d arrived", c.sent, c.arrived) }

// traffic is a load of two kinds: frames of one flow, and frames that each create a flow.
type traffic struct {
	out, in *lab.Packet
	end     func()
	sent    [2]atomic.Uint32
	seen    [2]map[uint32]bool
}

// kinds are local experimental Ethertypes, one for each kind.
var kinds = [2]uint16{0x88b5, 0x88b6}

// The MACs of the receiver and of the station with one flow.
const (
	sink    = "02:00:00:00:0b:02"
	station = "02:00:00:00:0a:01"
)

func startLoad(t *testing.T, from, to *lab.NetNS) *traffic {
	t.Helper()
	l := &traffic{out: from.OpenPacket(t, "eth0"), in: to.OpenPacket(t, "eth0")}
	for i := range l.seen {
		l.seen[i] = map[uint32]bool{}
	}
	l.end = lab.Go(t, func(ctx context.Context) {
		_, err := load.Pace(ctx, load.Endless, 500, func(n int) error {
			err := l.send(t, 0, station)
			if n%10 == 0 {
				i := l.sent[1].Load()
				err = errors.Join(err, l.send(t, 1, fmt.Sprintf("02:77:00:00:%02x:%02x", byte(i>>8), byte(i))))
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	return l
}

// send sends the next frame of a kind.
func (l *traffic) send(t *testing.T, kind int, src string) error {
	i := l.sent[kind].Add(1) - 1
	payload := binary.BigEndian.AppendUint32(nil, i)
	return l.out.Send(lab.Frame(t, sink, src, kinds[kind], append(payload, make([]byte, 46)...)))
}

// count records a frame, and reports whether it is of a kind and its number is since or later.
func (l *traffic) count(f []byte, kind int, since uint32) bool {
	if len(f) < 18 {
		return false
	}
	at := slices.Index(kinds[:], binary.BigEndian.Uint16(f[12:]))
	if at < 0 {
		return false
	}
	n := binary.BigEndian.Uint32(f[14:])
	l.seen[at][n] = true
	return at == kind && n >= since
}

// await waits until frames of each kind that are sent from now on arrive.
func (l *traffic) await(t *testing.T) {
	t.Helper()
	for kind := range kinds {
		since := l.sent[kind].Load()
		l.in.Expect(t, lab.DaemonLimit, func(f []byte) bool { return l.count(f, kind, since) })
	}
}

// stop ends the load and counts the frames that arrived.
func (l *traffic) stop(t *testing.T) (steady, fresh tally) {
	t.Helper()
	l.end()
	for {
		f, err := l.in.Receive(2 * time.Second)
		if err != nil {
			break
		}
		l.count(f, 0, 0)
	}
	if n := l.in.Dropped(t); n > 0 {
		t.Errorf("the test's own socket dropped %d frames", n)
	}
	of := func(kind int) tally { return tally{int(l.sent[kind].Load()), len(l.seen[kind])} }
	return of(0), of(1)
}
