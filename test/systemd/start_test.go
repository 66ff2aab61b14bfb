//go:build lab && systemd

package systemd_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"

	"github.com/google/go-cmp/cmp"
)

// TestBootOrder: an enabled instance starts with the system, after network-pre.target and the
// module.
func TestBootOrder(t *testing.T) {
	root := lab.Root(t)
	const unit = "dpifd@boot.service"
	if state := property(t, root, unit, "ActiveState"); state != "active" {
		t.Fatalf("%s is %s:\n%s", unit, state, root.Run(t, "journalctl", "--no-pager", "--unit="+unit))
	}
	at := func(unit, name string) int64 {
		t.Helper()
		us, err := strconv.ParseInt(property(t, root, unit, name), 10, 64)
		if err != nil || us == 0 {
			t.Fatalf("%s: %s is %d, %v", unit, name, us, err)
		}
		return us
	}
	started, ready := at(unit, "ExecMainStartTimestampMonotonic"), at(unit, "ActiveEnterTimestampMonotonic")
	for _, first := range []string{"network-pre.target", "systemd-modules-load.service"} {
		if before := at(first, "ActiveEnterTimestampMonotonic"); before > started {
			t.Errorf("%s was reached %d us after dpifd had been started", first, before-started)
		}
	}
	if after := at("multi-user.target", "ActiveEnterTimestampMonotonic"); after < ready {
		t.Errorf("multi-user.target was reached %d us before dpifd was ready", ready-after)
	}
	if _, err := os.Stat("/sys/class/net/boot0"); err != nil {
		t.Errorf("the datapath: %v", err)
	}
}

// TestStart: systemctl start returns when ports are served, by a process with the unit's user and
// capability.
func TestStart(t *testing.T) {
	t.Parallel()
	s := start(t, "")
	pids := s.pids(t)
	if len(pids) != 3 {
		t.Errorf("ports %v, want 3", pids)
	}
	for name, pid := range pids {
		if pid == 0 {
			t.Errorf("port %s was not served when the unit was up", name)
		}
	}
	s.pass(t)
	if got, want := s.property(t, "StatusText"), "serving 3 ports of "+s.name; got != want {
		t.Errorf("status %q, want %q", got, want)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.number(t, "MainPID")))
	if err != nil {
		t.Fatal(err)
	}
	uid := strings.TrimSpace(s.root.Run(t, "id", "-u", "dpifd"))
	const netAdmin = "0000000000001000"
	for _, want := range []string{
		"Uid:\t" + strings.Repeat(uid+"\t", 3) + uid + "\n", "CapEff:\t" + netAdmin, "CapPrm:\t" + netAdmin,
		"CapBnd:\t" + netAdmin, "NoNewPrivs:\t1", "Seccomp:\t2",
	} {
		if !strings.Contains(string(status), want) {
			t.Errorf("the process lacks %q:\n%s", want, status)
		}
	}
	s.journal.Wait(t, time.Time{}, "control_listening", func(e lab.Event) bool {
		if e.Text("group_error") != "" {
			t.Errorf("control_listening: %v", e.Fields)
		}
		return true
	})
	if e := s.journal.Events("checkpoint_failed"); len(e) != 0 {
		t.Errorf("checkpoint_failed: %v", e)
	}
}

// TestJournal: the journal has each event, with unit and process.
func TestJournal(t *testing.T) {
	t.Parallel()
	s := start(t, "", "not-there")
	s.journal.Wait(t, time.Time{}, "ready", nil)
	out := s.root.Run(t, "journalctl", "--no-pager", "--output=json", "--unit="+s.unit)
	seen := map[string]bool{}
	for line := range strings.Lines(out) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		message, _ := entry["MESSAGE"].(string)
		e, err := lab.CheckLine(message)
		if err != nil {
			continue // logged by systemd
		}
		seen[e.Name] = true
		if entry["_SYSTEMD_UNIT"] != s.unit || entry["_PID"] != s.property(t, "MainPID") {
			t.Errorf("%s: unit %v, process %v", e.Name, entry["_SYSTEMD_UNIT"], entry["_PID"])
		}
	}
	for _, name := range []string{"starting", "port_waiting", "ready"} {
		if !seen[name] {
			t.Errorf("the journal lacks event %s:\n%s", name, out)
		}
	}
}

// TestReload: systemctl reload applies the file; an invalid file changes nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	s := start(t, "")
	pid, pids := s.property(t, "MainPID"), s.pids(t)
	reload := func(event string, settings lab.Settings) lab.Event {
		t.Helper()
		since := time.Now()
		s.configure(t, settings)
		_, err := s.root.Try("systemctl", "reload", s.unit)
		if failed := event == "reload_failed"; failed != (err != nil) {
			t.Errorf("systemctl reload, then %s: %v", event, err)
		}
		e := s.journal.Wait(t, since, event, nil)
		if state := s.property(t, "ActiveState"); state != "active" && state != "reloading" ||
			s.property(t, "MainPID") != pid {
			t.Errorf("after %s the unit is %s, process %s, before %s", event, state, s.property(t, "MainPID"), pid)
		}
		return e
	}
	reload("reloaded", lab.Settings{"datapath": "{name: " + s.name + "}", "log": "{level: debug}",
		"ports": fmt.Sprintf("[{name: %s}, {name: %s}]", s.ports[0], s.ports[1])})
	if e := reload("reload_failed", lab.Settings{"datapath": "[]"}); !strings.Contains(e.Text("error"), s.config()+":1:") {
		t.Errorf("reload_failed: %q does not say where", e.Text("error"))
	}
	if status := s.property(t, "StatusText"); !strings.Contains(status, "the last reload failed: "+s.config()+":1:") {
		t.Errorf("status %q", status)
	}
	s.pass(t)
	if got := s.pids(t); len(got) != len(pids) {
		t.Errorf("ports %v, before the reloads %v", got, pids)
	}
	s.eventually(t, "the unit is active", func() bool { return s.property(t, "ActiveState") == "active" })
}

// TestNetns: with the drop-in, the daemon works in the namespace named in its configuration.
func TestNetns(t *testing.T) {
	t.Parallel()
	dropIn, err := os.ReadFile("/lab/dpifd-netns.conf")
	if err != nil {
		t.Fatal(err)
	}
	root, sw := lab.Root(t), lab.NewNetNS(t, "sw")
	s := &service{root: root, name: lab.Name("sd")}
	s.unit = "dpifd@" + s.name + ".service"
	s.dropIn(t, string(dropIn))
	s.configure(t, lab.Settings{"datapath": "{name: " + s.name + "}", "netns": sw.Name})
	s.systemctl(t, "start", s.unit)
	t.Cleanup(func() { _, _ = root.Try("systemctl", "stop", s.unit) })
	s.dp = open(t, sw, s.name)
	before := s.pids(t)
	s.systemctl(t, "restart", s.unit)
	if diff := cmp.Diff(before, s.pids(t)); diff != "" || before[s.name] == 0 {
		t.Errorf("upcall PIDs %v (-before the restart +after):\n%s", before, diff)
	}
}

// TestInstances: instances are independent of each other.
func TestInstances(t *testing.T) {
	t.Parallel()
	a, b := start(t, ""), start(t, "")
	a.pass(t)
	b.pass(t)
	a.systemctl(t, "stop", a.unit)
	b.pass(t)
	b.systemctl(t, "restart", b.unit)
	b.pass(t)
	// The directory that they share, /run/dpifd, stays when one of them stops.
	if e := b.journal.Wait(t, time.Time{}, "sockets_adopted", nil); e.Int(t, "adopted") != 3 {
		t.Errorf("sockets_adopted after the other instance had stopped: %v", e.Fields)
	}
	if e := b.journal.Events("checkpoint_failed"); len(e) != 0 {
		t.Errorf("checkpoint_failed: %v", e)
	}
}
