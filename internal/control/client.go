package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"dpifd/internal/rundir"

	"golang.org/x/sys/unix"
)

// Dir is the default directory of the daemons' sockets.
const Dir = rundir.Path

// suffix is that of a socket's name, after the datapath's.
const suffix = ".sock"

// SocketPath returns the path of a datapath's socket in Dir.
func SocketPath(datapath string) string { return filepath.Join(Dir, datapath+suffix) }

// ErrNoDaemon means that no daemon answers.
var ErrNoDaemon = errors.New("no dpifd answers")

// Sockets returns the datapaths that have a socket in dir, sorted. A missing directory has none.
func Sockets(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// FindSocket returns the path of the only socket in dir. It is an error if there is none or
// several; if there is none, the error matches ErrNoDaemon.
func FindSocket(dir string) (string, error) {
	found, err := Sockets(dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("%w (only root and members of control.group may list it)", err)
	case err != nil:
		return "", err
	case len(found) == 0:
		return "", fmt.Errorf("%w: %s has no socket (check that the daemon runs; for another control.socket use "+
			"--socket)", ErrNoDaemon, dir)
	case len(found) > 1:
		return "", fmt.Errorf("%d daemons have a socket in %s: name the datapath, or use --socket: %s", len(found), dir,
			strings.Join(found, ", "))
	}
	return filepath.Join(dir, found[0]+suffix), nil
}

// Listener returns the id of the process that opened the socket at path.
func Listener(path string) (int, error) {
	c, err := net.Dial("unix", path)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	p, err := peerOf(c.(*net.UnixConn))
	return int(p.PID), err
}

// answerTimeout limits the wait for an answer that is not a stream.
const answerTimeout = 30 * time.Second

// Client talks to the daemon behind one socket. It may be used by several
// goroutines at once.
type Client struct {
	path string
	http http.Client
}

// NewClient returns a client for the socket at path; it connects when it is used. The caller closes
// it.
func NewClient(path string) *Client {
	return &Client{path: path, http: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Watch selects the upcalls to show. Zero values are the server's defaults.
type Watch struct {
	Filter string // ODP text; ports by number or name
	Rate   int    // upcalls a second at most
	Snap   int    // bytes of each packet
	Names  bool   // of ports, in keys and actions
}

// Upcalls calls fn with each notice until fn returns an error, which is
// returned, ctx ends, or the daemon stops, which returns io.EOF.
func (c *Client) Upcalls(ctx context.Context, w Watch, fn func(Notice) error) error {
	q := url.Values{}
	q.Set("filter", w.Filter)
	for name, n := range map[string]int{"rate": w.Rate, "snap": w.Snap} {
		if n > 0 {
			q.Set(name, strconv.Itoa(n))
		}
	}
	if w.Names {
		q.Set("names", "true")
	}
	r, err := c.do(ctx, http.MethodGet, pathUpcalls+"?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	lines := json.NewDecoder(bufio.NewReader(r.Body))
	for {
		var n Notice
		if err := lines.Decode(&n); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return io.EOF // the daemon has stopped or died
		}
		if err := fn(n); err != nil {
			return err
		}
	}
}

// call makes a request with a JSON body, unless in is nil, and decodes the
// answer.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	r, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(out); err != nil {
		return fmt.Errorf("%s: answer: %w", c.path, err)
	}
	return nil
}

// do makes a request. Its error describes the problem with the socket, or is the daemon's
// answer.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://dpifd"+path, body)
	if err != nil {
		return nil, err
	}
	r, err := c.http.Do(req)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err // the address has no information
		}
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOTSOCK):
			return nil, fmt.Errorf("%w at %s: check that it runs with this control.socket (%w)", ErrNoDaemon, c.path, err)
		case errors.Is(err, unix.EACCES):
			return nil, fmt.Errorf("%s: %w (root and members of control.group may connect)", c.path, err)
		}
		return nil, fmt.Errorf("%s: %w", c.path, err)
	}
	if r.StatusCode == http.StatusOK {
		return r, nil
	}
	defer r.Body.Close()
	var f Failure
	if json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&f) != nil || f.Error == "" {
		f.Error = r.Status
	}
	return nil, errors.New(f.Error)
}
