package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"dpifd/internal/clock"
	"dpifd/internal/config"
	"dpifd/internal/control"
	"dpifd/internal/dpif"
	"dpifd/internal/endpoint"
	"dpifd/internal/event"
	"dpifd/internal/forward"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/policyswitch"

	"github.com/google/go-cmp/cmp"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// events returns the events with a name.
func (l *lines) events(t *testing.T, name string) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []map[string]any
	for line := range strings.Lines(l.b.String()) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		if e["event"] == name {
			found = append(found, e)
		}
	}
	return found
}

// newControlled returns a daemon with an open control socket but no datapath yet, a client, and its
// log.
func newControlled(t *testing.T) (*run, *control.Client, *lines) {
	t.Helper()
	cfg := config.Default()
	cfg.Control.Socket = filepath.Join(t.TempDir(), "dp0.sock")
	cfg.Control.Group = ""
	cfg.Policy.StaticMACs = []forward.StaticMAC{{MAC: odp.MAC{2, 0, 0, 0, 0, 0xee}, Port: "vb"}}
	log := &lines{}
	logger, err := newLogger(log, cfg, false)
	if err != nil {
		t.Fatal(err)
	}
	d := &run{log: logger, policy: policyswitch.New(logger.emit), clients: newClients()}
	d.config.Store(cfg)
	if err := d.policy.Use(cfg); err != nil {
		t.Fatal(err)
	}
	d.policy.SetPorts([]policy.Port{{No: 0, Name: "dp0"}, {No: 1, Name: "va"}, {No: 2, Name: "vb"}, {No: 5, Name: "vc"}})
	t.Cleanup(d.listen())
	c := control.NewClient(cfg.Control.Socket)
	t.Cleanup(c.Close)
	return d, c, log
}

func (d *run) sees(t *testing.T, key string) {
	t.Helper()
	k, _, err := odp.Text{}.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	in, err := odp.InPort(k)
	if err != nil {
		t.Fatal(err)
	}
	d.policy.Decide(&dpif.Upcall{InPort: in, Key: k}, clock.NowMS(), &policy.Verdict{})
}

func TestControlTrace(t *testing.T) {
	d, c, _ := newControlled(t)
	d.sees(t, "in_port(5),eth(src=02:00:00:00:00:05,dst=ff:ff:ff:ff:ff:ff)")
	before := d.policy.Snapshot()
	for _, tc := range []struct {
		key   string
		want  endpoint.Trace
		found []string // in this order, among the steps
	}{
		{"in_port(va),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:05),eth_type(0x0800)", endpoint.Trace{
			Key:      "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:05),eth_type(0x0800)",
			Decision: "learned_unicast", Install: true, Actions: "5",
			Match: "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:05)",
		}, []string{"in_port", "source: 02:00:00:00:00:01: unknown", "mac_lookup: 02:00:00:00:00:05 is known on port 5",
			"destination"}},
		{"in_port(9),eth(src=02:00:00:00:00:05,dst=33:33:00:00:00:16)", endpoint.Trace{
			Key: "in_port(9),eth(src=02:00:00:00:00:05,dst=33:33:00:00:00:16),eth_type(0x0800)", Assumed: "eth_type(0x0800)",
			Decision: "multicast", Actions: "0,1,2,5",
			Match: "in_port(9),eth(src=02:00:00:00:00:05,dst=33:00:00:00:00:00/ff:00:00:00:00:00)",
		}, []string{"in_port: port 9 is not in the datapath", "source: 02:00:00:00:00:05: not learned", "destination"}},
	} {
		tc.want.Datapath, tc.want.Policy = "dp0", "learning"
		got, err := endpoint.TracePacket.Ask(t.Context(), c, endpoint.TraceRequest{Datapath: "dp0", Key: tc.key})
		if err != nil {
			t.Errorf("%s: %v", tc.key, err)
			continue
		}
		want := tc.found
		for _, s := range got.Steps {
			if len(want) > 0 && strings.HasPrefix(s.Step+": "+s.Found, want[0]) {
				want = want[1:]
			}
		}
		if len(want) > 0 {
			t.Errorf("%s: steps %q lack %q", tc.key, got.Steps, want)
		}
		got.Steps = nil
		if diff := cmp.Diff(&tc.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tc.key, diff)
		}
	}
	named, err := endpoint.TracePacket.Ask(t.Context(), c, endpoint.TraceRequest{Datapath: "dp0",
		Key: "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:05)", Names: true})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(named.Key, "in_port(va)") || !strings.HasPrefix(named.Match, "in_port(va)") {
		t.Errorf("with names: %+v", named)
	}
	for _, tc := range []struct{ dp, key, want string }{
		{"dp1", "in_port(1)", `datapath "dp1": this daemon serves dp0`},
		{"dp0", "in_port(vx)", `key: 1:9: no port is named "vx"`},
		{"dp0", "in_port(1", "key: 1:10: "},
		{"dp0", "eth(src=02:00:00:00:00:05)", "key: 1:1: in_port is missing"},
	} {
		_, err := endpoint.TracePacket.Ask(t.Context(), c, endpoint.TraceRequest{Datapath: tc.dp, Key: tc.key})
		if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s %s: %v, want %s", tc.dp, tc.key, err, tc.want)
		}
	}
	if diff := cmp.Diff(before, d.policy.Snapshot()); diff != "" {
		t.Errorf("the traces changed the MAC table:\n%s", diff)
	}
}

func TestControlMACs(t *testing.T) {
	d, c, _ := newControlled(t)
	if macs, err := endpoint.GetMACs.Ask(t.Context(), c, control.None{}); err != nil || len(macs) != 1 ||
		!macs[0].Static || macs[0].Port != "vb" {
		t.Errorf("a table with the static MAC: %v, %v", macs, err)
	}
	d.sees(t, "in_port(5),eth(src=02:00:00:00:00:05,dst=ff:ff:ff:ff:ff:ff)")
	d.sees(t, "in_port(1),eth(src=02:00:00:00:00:01,dst=ff:ff:ff:ff:ff:ff)")
	macs, err := endpoint.GetMACs.Ask(t.Context(), c, control.None{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range macs {
		if macs[i].AgeMS < 0 || macs[i].AgeMS > 600_000 {
			t.Errorf("age %d ms", macs[i].AgeMS)
		}
		macs[i].AgeMS = 0
	}
	want := []endpoint.MAC{{MAC: "02:00:00:00:00:01", Port: "va", PortNo: 1},
		{MAC: "02:00:00:00:00:05", Port: "vc", PortNo: 5},
		{MAC: "02:00:00:00:00:ee", Port: "vb", PortNo: 2, Static: true}}
	if diff := cmp.Diff(want, macs); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestControlLogLevel(t *testing.T) {
	d, c, log := newControlled(t)
	for i, step := range []struct{ before, level string }{{"info", "error"}, {"error", "debug"}, {"debug", "debug"},
		{"debug", "warn"}} {
		ch, err := endpoint.SetLogLevel.Ask(t.Context(), c, endpoint.Level{Level: step.level})
		if err != nil || ch.Before != step.before || ch.Level != step.level {
			t.Errorf("to %s: %v, %v", step.level, ch, err)
		}
		if got, err := endpoint.GetLogLevel.Ask(t.Context(), c, control.None{}); err != nil || got.Level != step.level {
			t.Errorf("level %v, %v; want %s", got, err, step.level)
		}
		if step.level == "debug" {
			c.Close() // the next connection is logged
		}
		e := log.events(t, "log_level_changed")
		if len(e) != i+1 || e[i]["from"] != step.before || e[i]["to"] != step.level || e[i]["pid"] != float64(os.Getpid()) ||
			e[i]["uid"] != float64(os.Getuid()) {
			t.Errorf("events %v, want %v last", e, step)
		}
	}
	if d.log.enabled(event.Info) || !d.log.enabled(event.Warn) {
		t.Error("the level in force is not warn")
	}
	if _, err := endpoint.SetLogLevel.Ask(t.Context(), c, endpoint.Level{Level: "INFO"}); err == nil ||
		err.Error() != `level "INFO": want debug, info, warn, error` {
		t.Errorf("level INFO: %v", err)
	}
	if e := log.events(t, "control_connected"); len(e) == 0 || e[0]["pid"] != float64(os.Getpid()) ||
		e[0]["uid"] != float64(os.Getuid()) || e[0]["held_back"] != float64(0) {
		t.Errorf("control_connected: %v", e)
	}
}

// TestControlNotReady: requests that need a datapath fail with the reason while there is none.
func TestControlNotReady(t *testing.T) {
	_, c, _ := newControlled(t)
	if _, err := endpoint.GetStats.Ask(t.Context(), c, control.None{}); err == nil ||
		err.Error() != control.ErrNotReady.Error() {
		t.Errorf("stats: %v", err)
	}
	if _, err := endpoint.GetRings.Ask(t.Context(), c, control.None{}); err == nil ||
		err.Error() != control.ErrNotReady.Error() {
		t.Errorf("rings: %v", err)
	}
}

// TestControlUnavailable: the daemon runs without its control socket.
func TestControlUnavailable(t *testing.T) {
	d, _, log := newControlled(t)
	stop := d.listen() // this process serves the socket already
	stop()
	if e := log.events(t, "control_unavailable"); len(e) != 1 ||
		!strings.Contains(fmt.Sprint(e[0]["error"]), control.ErrInUse.Error()) {
		t.Errorf("control_unavailable: %v", e)
	}
	cfg := d.cfg().Clone()
	cfg.Control.Socket = config.ControlOff
	d.config.Store(cfg)
	d.listen()()
	if e := log.events(t, "control_listening"); len(e) != 1 {
		t.Errorf("control_listening: %v, want only the first", e)
	}
}

func TestTallyHoldsBack(t *testing.T) {
	d, _, log := newControlled(t)
	const errs = 200
	for range errs {
		d.controlFailed(errors.New("no"))
	}
	e := log.events(t, "control_error")
	if len(e) < 10 || len(e) == errs {
		t.Errorf("%d events of %d, want at least the first ten and not all", len(e), errs)
	}
}
