//go:build lab

package kernel_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// upcallSocket is a port's upcall socket: its port id and its inode link.
type upcallSocket struct {
	PID   uint32
	Inode string
}

// upcallSockets returns the upcall sockets of plugs, or of as many CPUs with dispatch by CPU, as
// the kernel lists them, and checks that the daemon has them open.
func (b *patchbay) upcallSockets(t *testing.T, v view, d *lab.Daemon, plugs ...int) map[int]upcallSocket {
	t.Helper()
	var table []byte
	err := b.sw.Do(func() (err error) {
		table, err = os.ReadFile("/proc/thread-self/net/netlink")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	inodes := map[string]string{} // of NETLINK_GENERIC sockets, by port id
	for line := range bytes.Lines(table) {
		// sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
		if f := strings.Fields(string(line)); len(f) == 10 && f[1] == fmt.Sprint(unix.NETLINK_GENERIC) {
			inodes[f[2]] = f[9]
		}
	}
	open := map[string]bool{}
	dir := fmt.Sprintf("/proc/%d/fd", d.PID())
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		// Skip descriptors that are closed meanwhile.
		if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil {
			open[to] = true
		}
	}
	sockets := map[int]upcallSocket{}
	vports, shared := v.vports(t), v.info(t).PerCPUPIDs
	for _, i := range plugs {
		pid := vports[lab.PlugName(i)].UpcallPIDs[0]
		if perCPU {
			pid = shared[i%len(shared)]
		}
		s := upcallSocket{pid, inodes[fmt.Sprint(pid)]}
		if !open["socket:["+s.Inode+"]"] {
			t.Errorf("upcall socket %v of plug %d is not open in the daemon", s, i)
		}
		sockets[i] = s
	}
	return sockets
}

// TestThousandReloads alternates good and bad files under traffic. Good files change ports, policy,
// limits and the log level.
func TestThousandReloads(t *testing.T) {
	t.Parallel()
	const reloads, warmUp, extra = 1000, 300, 4
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	b := newPatchbay(t)
	for i := range extra {
		b.Plug(t, stablePlugs+i)
	}
	plain := settings{"ports": b.ports(stablePlugs), "log": "{stats_interval: 500ms}", "flows": "{limit: 50000}"}
	d := b.run(t, plain)
	v := b.view(t)
	b.send(t, witnessPlug, 0, leftPlug)
	b.reach(t, leftPlug, rightPlug)
	b.reach(t, rightPlug, leftPlug)
	stable := []int{leftPlug, rightPlug, witnessPlug}
	sockets := b.upcallSockets(t, v, d, stable...)
	before := b.holdings(t, d, stablePlugs+1)

	hush := b.talk(t, rand.New(rand.NewPCG(seed, 1)))
	log := d.Follow()
	path := d.Events("starting")[0].Text("config")
	reload := func(text string, done ...string) lab.Event {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		signal(t, d, unix.SIGHUP)
		return log.Next(t, func(e lab.Event) bool { return slices.Contains(done, e.Name) })
	}
	counts := map[string]int{}
	var memory []int // resident, in KiB
	start := time.Now()
	for i := range reloads {
		good := settings{
			"ports": b.ports(stablePlugs + random.IntN(extra+1)),
			"flows": fmt.Sprintf("{limit: %d, max_idle: %dms}", 1000+random.IntN(50000), 300+random.IntN(20000)),
		}
		good["policy"] = "{type: flood}"
		if random.IntN(3) > 0 {
			good["policy"] = fmt.Sprintf("{type: learning, mac_aging: %ds, mac_limit: %d}", 1+random.IntN(300),
				100+random.IntN(9000))
		}
		level := []string{"info", "debug", "warn"}[random.IntN(3)]
		good["log"] = "{stats_interval: 500ms, level: " + level + "}"
		done := "reloaded"
		if level == "warn" {
			// At this level only changes without effect are logged.
			good["handlers"] = "7"
			done = "reload_ignored"
		}
		text := b.config(good)
		if i%2 == 1 {
			text = lab.Spoil(text, i/2%lab.SpoilWays)
		}
		e := reload(text, "reloaded", "reload_ignored", "reload_failed")
		if i%2 == 1 {
			done = "reload_failed"
			if !strings.Contains(e.Text("error"), path+":") {
				t.Errorf("reload_failed does not say where: %s", e.Text("error"))
			}
		}
		if e.Name != done {
			t.Fatalf("reload %d: %s, want %s; the file:\n%s", i, e.Name, done, text)
		}
		counts[e.Name]++
		if i >= warmUp && i%25 == 0 {
			c, err := lab.TakeCensus(d.PID())
			if err != nil {
				t.Fatal(err)
			}
			memory = append(memory, c.RSSKiB)
		}
		if i%100 == 99 {
			if diff := cmp.Diff(sockets, b.upcallSockets(t, v, d, stable...)); diff != "" {
				t.Errorf("upcall sockets (-before +after %d reloads):\n%s", i+1, diff)
			}
		}
	}
	t.Logf("%d reloads in %v: %v", reloads, time.Since(start).Round(time.Millisecond), counts)
	reload(b.config(plain), "reloaded")
	b.reach(t, leftPlug, rightPlug)
	ids := hush()
	b.reach(t, rightPlug, leftPlug)
	checkLeaks(t, before, 0, func() holdings { return b.holdings(t, d, stablePlugs+1) })
	// The heap grows in steps, so compare averages.
	first, second := average(memory[:len(memory)/2]), average(memory[len(memory)/2:])
	t.Logf("resident memory after %d reloads: %d KiB on average in the first half, %d KiB in the second", warmUp,
		first, second)
	if second > first+6<<10 {
		t.Errorf("resident memory grew by %d KiB", second-first)
	}
	v.checkFlows(t)
	missing := b.missing(ids)
	stop(t, d)
	lost := d.Events("stopped")[0].Int(t, "lost")
	t.Logf("between the stable ports %d of %d frames are missing; the daemon counts %d lost", missing, len(ids), lost)
	if int64(missing) > lost {
		t.Errorf("%d frames between ports that stayed are missing, and only %d are explained", missing, lost)
	}
	b.checkDelivery(t)
}

// average returns the mean of numbers.
func average(list []int) int {
	sum := 0
	for _, n := range list {
		sum += n
	}
	return sum / len(list)
}
