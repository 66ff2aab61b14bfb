package daemon

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"dpifd/internal/clock"
	"dpifd/internal/config"
	"dpifd/internal/control"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"go.uber.org/zap/zapcore"
	"golang.org/x/time/rate"
)

// listen opens the control socket, if there is to be one, and returns what
// closes it. Without it the daemon does its work all the same.
func (d *run) listen() (stop func()) {
	cfg := d.cfg().Control
	path := cfg.Socket
	switch path {
	case "", config.ControlOff:
		return func() {}
	case config.ControlAuto:
		path = control.SocketPath(d.cfg().Datapath.Name)
	}
	server, err := control.Listen(control.Config{
		Path: path, Group: cfg.Group, Mode: fs.FileMode(cfg.Mode), PProf: cfg.PProf,
		Backend: controlled{d}, Connected: d.connected, Failed: d.controlFailed,
	})
	if err != nil {
		d.log.emit(evControlUnavailable{Socket: path, Err: err})
		return func() {}
	}
	groupError := ""
	if err := server.GroupError(); err != nil {
		groupError = err.Error()
	}
	d.log.emit(evControlListening{Socket: path, Group: cfg.Group, GroupError: groupError})
	return server.Close
}

// tally bounds how often something is said, and counts what is held back.
type tally struct {
	*rate.Limiter
	mu   sync.Mutex
	held uint64
}

// newTally allows ten at once, and one a second.
func newTally() tally { return tally{Limiter: rate.NewLimiter(1, 10)} }

// due reports whether to say it, and how many were not said before.
func (t *tally) due() (held uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.Allow() {
		t.held++
		return 0, false
	}
	held, t.held = t.held, 0
	return held, true
}

func (d *run) connected(p control.Peer) {
	if held, ok := d.connections.due(); ok {
		d.log.emit(evControlConnected{PID: int(p.PID), UID: p.UID, GID: p.GID, HeldBack: held})
	}
}

func (d *run) controlFailed(err error) {
	if held, ok := d.complaints.due(); ok {
		d.log.emit(evControlError{Err: err, HeldBack: held})
	}
}

// controlled is the daemon as clients of the control socket see it.
type controlled struct{ *run }

var _ control.Backend = controlled{}

// Stats implements control.Backend.
func (c controlled) Stats() (*control.Stats, error) {
	c.mu.Lock() // the server stays open meanwhile
	defer c.mu.Unlock()
	if c.server == nil || c.stats == nil || c.stats.server != c.server {
		return nil, control.ErrNotReady
	}
	return c.stats.snapshot()
}

// snapshot reads all counters once, and changes nothing that the log depends
// on.
func (s *statsLog) snapshot() (*control.Stats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.server.Stats()
	if err != nil {
		return nil, err
	}
	s.total = st.Total()
	s.total.Add(s.daemon.past)
	c := collector{control.Stats{Ports: []control.Fields{}, Losses: []control.Loss{}}, s.daemon.cfg().Datapath.Name}
	out := &c.stats
	s.print(c.take, &st, 0)
	s.eachLoss(&st, func(k lossKey, port string, n uint64) {
		if n > 0 {
			out.Losses = append(out.Losses, control.Loss{Port: port, PortNo: uint32(k.port), Cause: k.cause, Lost: n})
		}
	})
	return out, nil
}

// ofInterval are the fields of stats that are about the log's interval, beside
// the deltas.
var ofInterval = []string{"interval_ms", "batch_max_us"}

// collector takes the events of statistics in place of the log.
type collector struct {
	stats    control.Stats
	datapath string
}

func (c *collector) take(e event.Event) {
	var out control.Fields
	for name, v := range event.Values(e) {
		if strings.HasSuffix(name, "_delta") || slices.Contains(ofInterval, name) {
			continue
		}
		if v == nil {
			v = c.datapath
		}
		value, err := json.Marshal(v)
		if err != nil {
			value = []byte("null") // no counter is what JSON lacks
		}
		out = append(out, control.Field{Name: name, Value: value})
	}
	if _, ok := e.(evStats); ok {
		c.stats.Totals = out
	} else {
		c.stats.Ports = append(c.stats.Ports, out)
	}
}

// MACs implements control.Backend.
func (c controlled) MACs() ([]control.MAC, error) {
	now, out := clock.NowMS(), []control.MAC{}
	for _, e := range c.policy.snapshot() {
		out = append(out, control.MAC{VLAN: e.VLAN, MAC: e.MAC.String(), Port: c.policy.portName(e.Port), PortNo: uint32(e.Port), AgeMS: max(0, now-e.SeenMS)})
	}
	if l := c.policy.current.Load().learning; l != nil {
		for _, e := range l.Static() {
			out = append(out, control.MAC{VLAN: e.VLAN, MAC: e.MAC.String(), Port: c.policy.portName(e.Port), PortNo: uint32(e.Port), Static: true})
		}
		slices.SortFunc(out, func(a, b control.MAC) int {
			return cmp.Or(cmp.Compare(a.VLAN, b.VLAN), cmp.Compare(a.MAC, b.MAC))
		})
	}
	return out, nil
}

// LogLevel implements control.Backend.
func (c controlled) LogLevel() string { return c.log.level.String() }

// SetLogLevel implements control.Backend.
func (c controlled) SetLogLevel(level string, by control.Peer) (string, error) {
	next, err := zapcore.ParseLevel(level)
	if err != nil || !slices.Contains(config.Levels(), level) {
		return "", control.BadRequest(fmt.Errorf("level %q: want %s", level, strings.Join(config.Levels(), ", ")))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.log.level.Level()
	// Said while the more verbose of the two is in force.
	say := func() {
		c.log.emit(evLogLevel{From: before.String(), To: next.String(), PID: int(by.PID), UID: by.UID})
	}
	if next > before {
		say()
	}
	c.log.level.SetLevel(next)
	if next <= before {
		say()
	}
	c.trace()
	return before.String(), nil
}

// Trace implements control.Backend.
func (c controlled) Trace(r control.TraceRequest) (*control.Trace, error) {
	cfg := c.cfg()
	if r.Datapath != cfg.Datapath.Name {
		return nil, control.BadRequest(fmt.Errorf("datapath %q: this daemon serves %s", r.Datapath, cfg.Datapath.Name))
	}
	key, _, err := odp.Text{PortNumber: c.policy.portNumber}.ParseKey(r.Key)
	if err != nil {
		return nil, control.BadRequest(fmt.Errorf("key: %w", err))
	}
	in, err := odp.InPort(key)
	if err != nil {
		return nil, control.BadRequest(fmt.Errorf("key: 1:1: in_port is missing"))
	}
	text := odp.Text{}
	out := &control.Trace{Datapath: cfg.Datapath.Name, Policy: string(cfg.Policy.Type), Key: string(text.AppendKey(nil, key, nil)), Steps: []control.Step{}}
	var v policy.Verdict
	v.Explain = func(step, found string) { out.Steps = append(out.Steps, control.Step{Step: step, Found: found}) }
	c.policy.Decide(&dpif.Upcall{Kind: dpif.Miss, InPort: in, Key: key}, clock.NowMS(), &v)
	mask := v.Mask.Bytes()
	out.Decision, out.Install = v.Reason, v.Install
	out.Match = string(text.AppendKey(nil, odp.Masked(key, mask), mask))
	out.Actions = string(text.AppendActions(nil, v.Actions.Bytes()))
	return out, nil
}

// PortNumber implements control.Backend.
func (c controlled) PortNumber(name string) (odp.PortNo, bool) { return c.policy.portNumber(name) }

// Watch implements control.Backend.
func (c controlled) Watch(feed *control.Feed) (string, func()) {
	change := func(fn func()) {
		c.mu.Lock()
		defer c.mu.Unlock()
		fn()
		c.trace()
	}
	change(func() { c.feeds = append(c.feeds, feed) })
	return c.cfg().Datapath.Name, func() {
		change(func() { c.feeds = slices.DeleteFunc(c.feeds, func(f *control.Feed) bool { return f == feed }) })
	}
}
