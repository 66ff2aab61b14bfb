package daemon

import (
	"io/fs"
	"slices"
	"sync"

	"dpifd/internal/config"
	"dpifd/internal/control"
	"dpifd/internal/odp"

	"golang.org/x/time/rate"
)

// listen opens the control socket, if configured, and returns a function that closes it. The
// daemon works without it too.
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
		Routes: d.routes(), Upcalls: watched{d}, Connected: d.connected, Failed: d.controlFailed,
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

// newSample allows n a second, and as many at once; 0 allows all.
func newSample(n uint32) *tally {
	if n == 0 {
		return &tally{Limiter: rate.NewLimiter(rate.Inf, 0)}
	}
	return &tally{Limiter: rate.NewLimiter(rate.Limit(n), int(n))}
}

// tally limits how often something is logged, and counts what is not logged.
type tally struct {
	*rate.Limiter
	mu   sync.Mutex
	held uint64
}

// clients limits the events about clients of the control socket.
type clients struct {
	connections tally
	complaints  tally // about clients
}

func newClients() clients { return clients{newTally(), newTally()} }

// newTally allows ten at once, and one a second.
func newTally() tally { return tally{Limiter: rate.NewLimiter(1, 10)} }

// due reports whether to log it, and how many were not logged before.
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
	if held, ok := d.clients.connections.due(); ok {
		d.log.emit(evControlConnected{PID: int(p.PID), UID: p.UID, GID: p.GID, HeldBack: held})
	}
}

func (d *run) controlFailed(err error) {
	if held, ok := d.clients.complaints.due(); ok {
		d.log.emit(evControlError{Err: err, HeldBack: held})
	}
}

// answers are the routes of the control socket, one per endpoint.
var answers []func(*run) control.Route

// answer registers fn to answer the requests of an endpoint. fn is called concurrently. answer
// is called while the package is initialised.
func answer[Request, Answer any](e control.Endpoint[Request, Answer],
	fn func(*run, Request, control.Peer) (Answer, error)) struct{} {
	answers = append(answers, func(d *run) control.Route {
		return e.Route(func(r Request, by control.Peer) (Answer, error) { return fn(d, r, by) })
	})
	return struct{}{}
}

func (d *run) routes() []control.Route {
	var list []control.Route
	for _, a := range answers {
		list = append(list, a(d))
	}
	return list
}

// watched is the daemon as a source of upcalls for clients.
type watched struct{ *run }

var _ control.Upcalls = watched{}

// PortNumber implements control.Upcalls.
func (c watched) PortNumber(name string) (odp.PortNo, bool) { return c.policy.PortNumber(name) }

// PortName implements control.Upcalls.
func (c watched) PortName(no odp.PortNo) string { return c.policy.PortName(no) }

// Watch implements control.Upcalls.
func (c watched) Watch(feed *control.Feed) (string, func()) {
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
