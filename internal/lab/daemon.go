//go:build lab

package lab

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// DaemonLimit limits the wait for single actions of the daemon: start, stop, an event. It is
// far more than they take, because emulated CPUs are slow.
const DaemonLimit = 2 * time.Minute

// logTable is the path of docs/LOGS.md in the guest, unless DPIFD_LOGS names another one.
const logTable = "/usr/share/doc/dpifd/LOGS.md"

// Event is one line of the daemon's log.
type Event struct {
	Name, Level string
	Time        time.Time
	// Fields are the event's own. Numbers are of type json.Number.
	Fields map[string]any
}

// Text returns a field as text, "" if the event lacks it.
func (e Event) Text(field string) string {
	if v, ok := e.Fields[field]; ok {
		return fmt.Sprint(v)
	}
	return ""
}

// Int returns a field that is a number.
func (e Event) Int(t testing.TB, field string) int64 {
	t.Helper()
	n, ok := e.Fields[field].(json.Number)
	if !ok {
		t.Fatalf("event %s: field %s is %v, not a number", e.Name, field, e.Fields[field])
	}
	v, err := n.Int64()
	if err != nil {
		t.Fatalf("event %s: field %s: %v", e.Name, field, err)
	}
	return v
}

// parseEvent reads one line of the log.
func parseEvent(line string) (Event, error) {
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	var e Event
	if err := d.Decode(&e.Fields); err != nil {
		return e, err
	}
	take := func(key string) string {
		s, _ := e.Fields[key].(string)
		delete(e.Fields, key)
		return s
	}
	var err error
	e.Time, err = time.Parse(time.RFC3339Nano, take("ts"))
	e.Level, e.Name = take("level"), take("event")
	schema, _ := e.Fields["schema"].(json.Number)
	delete(e.Fields, "schema")
	if err == nil && (e.Level == "" || e.Name == "" || schema != "2") {
		err = fmt.Errorf("no level, no event, or schema %q instead of 2", schema)
	}
	return e, err
}

// parseNamed parses one line of the log if it is an event with the given name. Others are
// recognised by their text, because decoding would take most of the time of a wait in a long log.
func parseNamed(line, name string) (Event, bool) {
	if !strings.Contains(line, `"event":"`+name+`"`) {
		return Event{}, false
	}
	e, err := parseEvent(line)
	return e, err == nil && e.Name == name
}

// Daemon is a `dpifd run` process that a test started. Its log is the output on both streams.
type Daemon struct{ *Process }

// DaemonPath returns the program under test: DPIFD_BIN, or dpifd in PATH.
func DaemonPath(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("DPIFD_BIN"); path != "" {
		return path
	}
	path, err := exec.LookPath("dpifd")
	if err != nil {
		t.Fatalf("the guest lacks the program under test: %v", err)
	}
	return path
}

// StartDaemon starts `dpifd run` in the namespace with a configuration file of the given text,
// and with NAME=VALUE pairs added to its environment. When the test ends, the daemon is stopped
// if it still runs, and its log is checked: each line must be an event listed in docs/LOGS.md.
func (n *NetNS) StartDaemon(t testing.TB, config string, env ...string) *Daemon {
	t.Helper()
	return n.StartDaemonFile(t, WriteConfig(t, config), append([]string{"env"}, env...)...)
}

// StartDaemonFile is StartDaemon with an existing configuration file; by is a command that runs the
// one in its arguments.
func (n *NetNS) StartDaemonFile(t testing.TB, file string, by ...string) *Daemon {
	t.Helper()
	if len(by) == 0 {
		by = []string{"env"}
	}
	args := append(by[1:len(by):len(by)], DaemonPath(t), "run", "--config", file)
	return n.StartDaemonCommand(t, exec.Command(by[0], args...))
}

// StartProgram is StartDaemon with a program other than the one under test.
func (n *NetNS) StartProgram(t testing.TB, program, config string) *Daemon {
	t.Helper()
	return n.StartDaemonCommand(t, exec.Command(program, "run", "--config", WriteConfig(t, config)))
}

// StartDaemonCommand is StartDaemon with a command of the caller.
func (n *NetNS) StartDaemonCommand(t testing.TB, cmd *exec.Cmd) *Daemon {
	t.Helper()
	d := &Daemon{n.StartCommand(t, cmd)}
	t.Cleanup(func() {
		if !d.Exited() {
			_ = d.Stop(t, unix.SIGTERM, DaemonLimit)
		}
		for line := range strings.Lines(d.Output()) {
			if _, err := CheckLine(strings.TrimSuffix(line, "\n")); err != nil {
				t.Errorf("log line %s: %v", line, err)
			}
		}
	})
	return d
}

// WriteConfig writes a configuration file that is removed when the test ends.
func WriteConfig(t testing.TB, config string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "dpifd.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Wait waits until the log has an event with the given name, not older than since, that match
// accepts, and returns the first. A nil match accepts any.
func (d *Daemon) Wait(t testing.TB, since time.Time, name string, match func(Event) bool) Event {
	t.Helper()
	var found Event
	t.Logf("waiting for event %s", name)
	d.WaitLine(t, DaemonLimit, func(line string) bool {
		e, is := parseNamed(line, name)
		if !is || e.Time.Before(since) || (match != nil && !match(e)) {
			return false
		}
		found = e
		return true
	})
	return found
}

// Events returns the events with the given name so far.
func (d *Daemon) Events(name string) []Event {
	var list []Event
	for line := range strings.Lines(d.Output()) {
		if e, is := parseNamed(line, name); is {
			list = append(list, e)
		}
	}
	return list
}

// home is the namespace in which the test binary was started. Later, the thread by which /proc
// names the process may be in another one, during a call of Do.
var home, errHome = netns.Get()

// Root returns the namespace in which the test binary was started.
func Root(t testing.TB) *NetNS {
	t.Helper()
	if errHome != nil {
		t.Fatalf("own network namespace: %v", errHome)
	}
	return &NetNS{Name: "(root)", handle: home}
}

// declared is the row of an event in docs/LOGS.md.
type declared struct {
	level  string
	fields []string // sorted
}

var (
	tableRow   = regexp.MustCompile("^\\| `([a-z0-9_]+)` \\| ([A-Z]+) \\| ([a-z0-9_` ]*) \\|")
	loadEvents = sync.OnceValues(func() (map[string]declared, error) {
		path := os.Getenv("DPIFD_LOGS")
		if path == "" {
			path = logTable
		}
		page, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		table := make(map[string]declared)
		for line := range strings.Lines(string(page)) {
			if m := tableRow.FindStringSubmatch(line); m != nil {
				table[m[1]] = declared{m[2], slices.Sorted(slices.Values(strings.Fields(strings.ReplaceAll(m[3], "`", ""))))}
			}
		}
		if len(table) == 0 {
			return nil, fmt.Errorf("%s has no table of events", path)
		}
		return table, nil
	})
)

// CheckLine parses one line of the log and compares it with docs/LOGS.md.
func CheckLine(line string) (Event, error) {
	table, err := loadEvents()
	if err != nil {
		return Event{}, err
	}
	e, err := parseEvent(line)
	if err != nil {
		return e, err
	}
	want, known := table[e.Name]
	fields := slices.Sorted(maps.Keys(e.Fields))
	switch {
	case !known:
		return e, fmt.Errorf("event %s is not listed", e.Name)
	case e.Level != want.level:
		return e, fmt.Errorf("level %s, listed as %s", e.Level, want.level)
	case !slices.Equal(fields, want.fields):
		return e, fmt.Errorf("fields %q, listed as %q", fields, want.fields)
	}
	return e, nil
}
