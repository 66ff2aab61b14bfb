package control_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dpifd/internal/control"
	"dpifd/internal/odp"

	"go.uber.org/goleak"
)

// net/http waits half a second before it closes a connection on which it has rejected a request,
// also in Close.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// backend is a stub of the daemon.
type backend struct {
	mu       sync.Mutex
	level    string
	by       []control.Peer
	feeds    []*control.Feed
	notReady bool
	watched  chan struct{} // receives a value with each Watch
}

// level and change are arguments and results of the test endpoints.
type (
	level  struct{ Level string }
	change struct{ Before, Level string }
)

var (
	getLevel = control.Endpoint[control.None, level]{Method: http.MethodGet, Path: "/v1/log-level"}
	setLevel = control.Endpoint[level, *change]{Method: http.MethodPut, Path: "/v1/log-level"}
)

func (b *backend) getLevel(control.None, control.Peer) (level, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.notReady {
		return level{}, control.ErrNotReady
	}
	return level{b.level}, nil
}

func (b *backend) setLevel(to level, by control.Peer) (*change, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if to.Level == "loud" {
		return nil, control.BadRequest(errors.New(`level "loud": want debug, info, warn or error`))
	}
	before := b.level
	b.level, b.by = to.Level, append(b.by, by)
	return &change{before, to.Level}, nil
}

func (b *backend) PortNumber(name string) (odp.PortNo, bool) { return 4, name == "p4" }

func (b *backend) PortName(no odp.PortNo) string { return map[odp.PortNo]string{4: "p4"}[no] }

func (b *backend) Watch(f *control.Feed) (string, func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.feeds = append(b.feeds, f)
	b.watched <- struct{}{}
	return "dp7", func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.feeds = slices.DeleteFunc(b.feeds, func(g *control.Feed) bool { return f == g })
	}
}

// serve starts a server on a new socket.
func serve(t *testing.T, change func(*control.Config)) (*control.Server, *backend, string) {
	t.Helper()
	b := &backend{level: "info", watched: make(chan struct{}, 10)}
	cfg := control.Config{Path: filepath.Join(t.TempDir(), "run", "dp7.sock"), Mode: 0o660, Upcalls: b,
		Routes:    []control.Route{getLevel.Route(b.getLevel), setLevel.Route(b.setLevel)},
		Connected: func(control.Peer) {}, Failed: func(err error) { t.Errorf("server: %v", err) }}
	if change != nil {
		change(&cfg)
	}
	s, err := control.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, b, cfg.Path
}

func client(t *testing.T, path string) *control.Client {
	c := control.NewClient(path)
	t.Cleanup(c.Close)
	return c
}

func TestRequests(t *testing.T) {
	var peers []control.Peer
	_, b, path := serve(t, func(c *control.Config) { c.Connected = func(p control.Peer) { peers = append(peers, p) } })
	c, ctx := client(t, path), t.Context()
	if ch, err := setLevel.Ask(ctx, c, level{"debug"}); err != nil || *ch != (change{Before: "info", Level: "debug"}) {
		t.Errorf("set log level: %v, %v", ch, err)
	}
	if l, err := getLevel.Ask(ctx, c, control.None{}); err != nil || l.Level != "debug" {
		t.Errorf("log level: %v, %v", l, err)
	}
	if _, err := setLevel.Ask(ctx, c, level{"loud"}); err == nil ||
		err.Error() != `level "loud": want debug, info, warn or error` {
		t.Errorf("set level loud: %v", err)
	}
	me := control.Peer{PID: int32(os.Getpid()), UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	if len(peers) == 0 || peers[0] != me || !slices.Equal(b.by, []control.Peer{me}) {
		t.Errorf("peers %v, level set by %v; want %v", peers, b.by, me)
	}
	b.notReady = true
	if _, err := getLevel.Ask(ctx, c, control.None{}); err == nil || err.Error() != control.ErrNotReady.Error() {
		t.Errorf("log level of a daemon that is not ready: %v", err)
	}
}

// TestLimits sends requests that dpifd's own client never sends.
func TestLimits(t *testing.T) {
	_, _, path := serve(t, nil)
	ask := func(method, target, body string) (int, string) {
		t.Helper()
		hc := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				return net.Dial("unix", path)
			}}}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://x"+target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		a, err := hc.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		text, _ := io.ReadAll(a.Body)
		return a.StatusCode, string(text)
	}
	for _, tc := range []struct {
		method, target, body string
		status               int
		says                 string
	}{
		{"GET", "/v1/nothing", "", 404, ""},
		{"DELETE", "/v1/log-level", "", 405, ""},
		{"GET", "/debug/pprof/", "", 404, ""},
		{"PUT", "/v1/log-level", `{"level":`, 400, "body: unexpected EOF"},
		{"PUT", "/v1/log-level", `{"volume":1}`, 400, "unknown field"},
		{"PUT", "/v1/log-level", `{"level":"info"} {}`, 400, "more than one value"},
		{"PUT", "/v1/log-level", `{"level":"` + strings.Repeat("x", 2<<20) + `"}`, 400, "too large"},
		{"GET", "/v1/upcalls?filter=in_port(", "", 400, "filter: 1:9: "},
		{"GET", "/v1/upcalls?filter=in_port(p5)", "", 400, `filter: 1:9: no port is named \"p5\"`},
		{"GET", "/v1/upcalls?rate=0", "", 400, "rate: want a number from 1 to"},
		{"GET", "/v1/upcalls?snap=65537", "", 400, "snap: want a number from 0 to 65536"},
		{"GET", "/v1/log-level?" + strings.Repeat("x", 20<<10), "", 431, ""},
	} {
		if status, text := ask(tc.method, tc.target, tc.body); status != tc.status || !strings.Contains(text, tc.says) {
			t.Errorf("%s %.40s: %d %s, want %d and %q", tc.method, tc.target, status, text, tc.status, tc.says)
		}
	}
}

func TestProfilesOnDemand(t *testing.T) {
	_, _, path := serve(t, func(c *control.Config) { c.PProf = true })
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /debug/pprof/goroutine?debug=1 HTTP/1.0\r\n\r\n")
	if body, err := io.ReadAll(conn); err != nil || !strings.Contains(string(body), "goroutine profile:") {
		t.Errorf("profile: %v\n%s", err, body)
	}
}

// TestConnections: a connection above the limit waits until another ends, and is then served.
func TestConnections(t *testing.T) {
	const most = 32
	_, _, path := serve(t, nil)
	conns := make([]net.Conn, most)
	for i := range conns {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[i] = conn
	}
	served := make(chan error, 1)
	go func() {
		_, err := getLevel.Ask(t.Context(), client(t, path), control.None{})
		served <- err
	}()
	select {
	case err := <-served:
		t.Fatalf("a connection above the limit was answered, with error %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	conns[0].Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestCloseAtLimit: Close does not wait for a free connection.
func TestCloseAtLimit(t *testing.T) {
	s, _, path := serve(t, nil)
	for range 40 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	s.Close()
}
