package control_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	"dpifd/internal/dpif"
	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// net/http waits half a second before it closes a connection on which it has
// refused something, whatever Close says.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// backend is a daemon with nothing behind it.
type backend struct {
	mu       sync.Mutex
	level    string
	by       []control.Peer
	feeds    []*control.Feed
	notReady bool
	watched  chan struct{} // gets a value with each Watch
}

func (b *backend) Stats() (*control.Stats, error) {
	if b.notReady {
		return nil, control.ErrNotReady
	}
	return &control.Stats{
		Totals: control.Fields{{Name: "upcalls", Value: []byte("18446744073709551615")}, {Name: "datapath", Value: []byte(`"br \"x\""`)}},
		Ports:  []control.Fields{{{Name: "port", Value: []byte(`"p1"`)}}},
		Losses: []control.Loss{{Port: "p1", PortNo: 1, Cause: "ring_full", Lost: 3}},
	}, nil
}

func (b *backend) MACs() ([]control.MAC, error) {
	return []control.MAC{{VLAN: 7, MAC: "02:00:00:00:00:01", Port: "p1", PortNo: 1, AgeMS: 1500}}, nil
}

func (b *backend) LogLevel() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.level
}

func (b *backend) SetLogLevel(level string, by control.Peer) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if level == "loud" {
		return "", control.BadRequest(errors.New(`level "loud": want debug, info, warn or error`))
	}
	before := b.level
	b.level, b.by = level, append(b.by, by)
	return before, nil
}

func (b *backend) Trace(r control.TraceRequest) (*control.Trace, error) {
	return &control.Trace{Datapath: r.Datapath, Key: r.Key, Steps: []control.Step{{Step: "in_port", Found: "it is there"}}}, nil
}

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

// serve starts a server on a socket of its own.
func serve(t *testing.T, change func(*control.Config)) (*control.Server, *backend, string) {
	t.Helper()
	b := &backend{level: "info", watched: make(chan struct{}, 10)}
	cfg := control.Config{Path: filepath.Join(t.TempDir(), "run", "dp7.sock"), Mode: 0o660, Backend: b,
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
	want, _ := b.Stats()
	if got, err := c.Stats(ctx); err != nil || !cmp.Equal(want, got) {
		t.Errorf("stats: %v, -want +got:\n%s", err, cmp.Diff(want, got))
	} else if got.Totals.Text("datapath") != `br "x"` || got.Totals.Text("upcalls") != "18446744073709551615" || got.Totals.Text("none") != "" {
		t.Errorf("texts of the fields: %q", got.Totals)
	}
	wantMACs, _ := b.MACs()
	if got, err := c.MACs(ctx); err != nil || !cmp.Equal(wantMACs, got) {
		t.Errorf("macs: %v, %v", got, err)
	}
	if ch, err := c.SetLogLevel(ctx, "debug"); err != nil || ch != (control.Change{Before: "info", Level: "debug"}) {
		t.Errorf("set log level: %v, %v", ch, err)
	}
	if l, err := c.LogLevel(ctx); err != nil || l.Level != "debug" {
		t.Errorf("log level: %v, %v", l, err)
	}
	if _, err := c.SetLogLevel(ctx, "loud"); err == nil || err.Error() != `level "loud": want debug, info, warn or error` {
		t.Errorf("set level loud: %v", err)
	}
	if tr, err := c.Trace(ctx, control.TraceRequest{Datapath: "dp7", Key: "in_port(1)"}); err != nil || tr.Datapath != "dp7" || len(tr.Steps) != 1 {
		t.Errorf("trace: %v, %v", tr, err)
	}
	me := control.Peer{PID: int32(os.Getpid()), UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	if len(peers) == 0 || peers[0] != me || !slices.Equal(b.by, []control.Peer{me}) {
		t.Errorf("peers %v, level set by %v; want %v", peers, b.by, me)
	}
	b.notReady = true
	if _, err := c.Stats(ctx); err == nil || err.Error() != control.ErrNotReady.Error() {
		t.Errorf("stats of a daemon that is not ready: %v", err)
	}
}

// TestLimits sends what no client of ours does.
func TestLimits(t *testing.T) {
	_, _, path := serve(t, nil)
	ask := func(method, target, body string) (int, string) {
		t.Helper()
		hc := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
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
		{"DELETE", "/v1/macs", "", 405, ""},
		{"GET", "/debug/pprof/", "", 404, ""},
		{"PUT", "/v1/log-level", `{"level":`, 400, "body: unexpected EOF"},
		{"PUT", "/v1/log-level", `{"volume":1}`, 400, "unknown field"},
		{"PUT", "/v1/log-level", `{"level":"info"} {}`, 400, "more than one value"},
		{"POST", "/v1/trace", `{"key":"` + strings.Repeat("x", 2<<20) + `"}`, 400, "too large"},
		{"GET", "/v1/upcalls?filter=in_port(", "", 400, "filter: 1:9: "},
		{"GET", "/v1/upcalls?rate=0", "", 400, "rate: want a number from 1 to"},
		{"GET", "/v1/upcalls?snap=65537", "", 400, "snap: want a number from 0 to 65536"},
		{"GET", "/v1/macs?" + strings.Repeat("x", 20<<10), "", 431, ""},
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

// TestConnections: a client that holds connections without a word, or more than
// there may be, loses them, and others are served again.
func TestConnections(t *testing.T) {
	const most = 32
	refused := make(chan error, 10)
	_, _, path := serve(t, func(c *control.Config) { c.Failed = func(err error) { refused <- err } })
	var conns []net.Conn
	for range most + 1 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	if err := <-refused; !strings.Contains(err.Error(), fmt.Sprintf("more than 32 connections; process %d", os.Getpid())) {
		t.Errorf("refusal: %v", err)
	}
	if _, err := bufio.NewReader(conns[most]).ReadByte(); err == nil {
		t.Error("a connection too many was served")
	}
	for _, c := range conns {
		c.Close()
	}
	for {
		if _, err := client(t, path).LogLevel(t.Context()); err == nil {
			return
		}
		<-refused // the server has not seen yet that they are closed
	}
}

func TestSocketFile(t *testing.T) {
	s, _, path := serve(t, func(c *control.Config) { c.Mode = 0o600; c.Group = fmt.Sprint(os.Getgid()) })
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("socket: %v, %v", info, err)
	}
	if err := s.GroupError(); err != nil {
		t.Errorf("own group: %v", err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("folder: %v, %v; want the socket alone", entries, err)
	}
	again := control.Config{Path: path, Mode: 0o660, Backend: &backend{}, Connected: func(control.Peer) {}, Failed: func(error) {}}
	if _, err := control.Listen(again); !errors.Is(err, control.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("a live socket: %v, want that this process serves it", err)
	}
	s.Close()
	s.Close()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
	_, err = client(t, path).Stats(t.Context())
	if !errors.Is(err, control.ErrNoDaemon) || !errors.Is(err, unix.ENOENT) {
		t.Errorf("no daemon: %v", err)
	}

	// What a process that was killed leaves is replaced.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if _, err := client(t, path).Stats(t.Context()); !errors.Is(err, control.ErrNoDaemon) {
		t.Errorf("a dead socket: %v", err)
	}
	fresh, err := control.Listen(again)
	if err != nil {
		t.Fatal(err)
	}
	// The name of another's socket is left alone.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	fresh.Close()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("another process's socket: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file:                                  "is not a socket",
		filepath.Join(open, "s"):              "others could replace",
		filepath.Join(dir, "no", "such", "s"): "no such file or directory",
		filepath.Join(file, "s"):              "not a directory",
		filepath.Join(link, "s"):              "not a directory",
		"/" + strings.Repeat("x", 200):        "at most 107 bytes",
	} {
		_, err := control.Listen(control.Config{Path: path, Mode: 0o660, Backend: &backend{}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	s, _, _ := serve(t, func(c *control.Config) { c.Group = "no-such-group-here" })
	if err := s.GroupError(); err == nil || !strings.Contains(err.Error(), "no-such-group-here") {
		t.Errorf("a group that does not exist: %v", err)
	}
}

func TestFindSocket(t *testing.T) {
	dir := t.TempDir()
	for _, dir := range []string{dir, filepath.Join(dir, "absent")} {
		if _, err := control.FindSocket(dir); !errors.Is(err, control.ErrNoDaemon) {
			t.Errorf("none in %s: %v", dir, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "a.checkpoint"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"a.sock", "b.sock"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := control.FindSocket(dir)
		if i == 0 && (err != nil || got != path) || i == 1 && (err == nil || !strings.Contains(err.Error(), "a, b")) {
			t.Errorf("%d sockets: %s, %v", i+1, got, err)
		}
	}
}

func upcall(t testing.TB, in int) (*dpif.Upcall, *dpif.Verdict) {
	t.Helper()
	key, _, err := odp.Text{}.ParseKey(fmt.Sprintf("in_port(%d),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)", in))
	if err != nil {
		t.Fatal(err)
	}
	v := &dpif.Verdict{Reason: "learned_unicast", Install: true}
	odp.AppendOutput(&v.Actions, 9)
	return &dpif.Upcall{Kind: dpif.Miss, InPort: odp.PortNo(in), Key: key, Packet: []byte("packet of thirty-three bytes long")}, v
}

func TestUpcalls(t *testing.T) {
	s, b, path := serve(t, nil)
	got := make(chan control.Notice, 100)
	end := make(chan error, 1)
	go func() {
		end <- client(t, path).Upcalls(t.Context(), control.Watch{Filter: "in_port(4)", Snap: 6}, func(n control.Notice) error { got <- n; return nil })
	}()
	<-b.watched
	for in := range 6 {
		u, v := upcall(t, in)
		b.mu.Lock()
		b.feeds[0].Offer("p4", u, v)
		b.mu.Unlock()
	}
	if n := <-got; n.Watching != "dp7" {
		t.Errorf("first notice %+v", n)
	}
	n := <-got
	if n.Upcall == nil || n.Dropped != 0 || time.Since(n.Upcall.Time) > time.Minute {
		t.Fatalf("notice %+v", n)
	}
	n.Upcall.Time = time.Time{}
	want := &control.Upcall{Datapath: "dp7", Port: "p4", PortNo: 4, PacketBytes: 33, Decision: "learned_unicast", Install: true,
		Key: "in_port(4),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)", Actions: "9", Packet: []byte("packet")}
	if diff := cmp.Diff(want, n.Upcall); diff != "" {
		t.Errorf("upcall -want +got:\n%s", diff)
	}
	s.Close()
	if err := <-end; !errors.Is(err, io.EOF) {
		t.Errorf("after the daemon stopped: %v", err)
	}
	if len(b.feeds) != 0 {
		t.Error("the feed is still watched")
	}
}

func TestUpcallsEnd(t *testing.T) {
	_, b, path := serve(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			if err := client(t, path).Upcalls(ctx, control.Watch{}, func(control.Notice) error { return nil }); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
		})
		<-b.watched
	}
	if err := client(t, path).Upcalls(ctx, control.Watch{}, nil); err == nil || !strings.Contains(err.Error(), "watched by 4 clients") {
		t.Errorf("a fifth: %v", err)
	}
	cancel()
	clients.Wait()
	// Their places are free again once the server has noticed.
	stop := errors.New("stop")
	for {
		done := make(chan error, 1)
		go func() {
			done <- client(t, path).Upcalls(t.Context(), control.Watch{}, func(n control.Notice) error {
				if n.Upcall == nil {
					return nil
				}
				return stop
			})
		}()
		select {
		case <-b.watched:
			u, v := upcall(t, 1)
			b.mu.Lock()
			for _, f := range b.feeds {
				f.Offer("p", u, v)
			}
			b.mu.Unlock()
			if err := <-done; !errors.Is(err, stop) {
				t.Errorf("the callback's error: %v", err)
			}
			return
		case <-done:
		}
	}
}
