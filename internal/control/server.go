package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"

	"dpifd/internal/odp"
)

// Limits of client requests.
const (
	maxConns     = 32      // concurrent connections; others wait
	maxFeeds     = 4       // concurrent streams of upcalls; more are rejected
	maxHeader    = 8 << 10 // bytes of a request's header
	maxBody      = 1 << 20 // bytes of a request's body: a key of 64 KiB in hexadecimal, and its punctuation
	readTimeout  = 5 * time.Second
	writeTimeout = 10 * time.Second // of an answer; of each line of a stream
	idleTimeout  = 30 * time.Second
)

// Errors of a route with their own status.
var (
	ErrBadRequest = errors.New("bad request")
	ErrNotReady   = errors.New("the datapath is not served yet")
)

// BadRequest marks err as the client's fault: the result matches ErrBadRequest and has the text
// of err.
func BadRequest(err error) error { return badRequest{err} }

type badRequest struct{ error }

func (b badRequest) Unwrap() error      { return b.error }
func (badRequest) Is(target error) bool { return target == ErrBadRequest }

// Upcalls is the source of the upcalls that clients watch. Its methods are called concurrently.
type Upcalls interface {
	// PortNumber looks up a port of the datapath by its name.
	PortNumber(name string) (odp.PortNo, bool)
	// PortName is its inverse, "" if there is no such port.
	PortName(no odp.PortNo) string
	// Watch offers each upcall to feed until stop is called, and returns the datapath's name.
	Watch(feed *Feed) (datapath string, stop func())
}

// Config configures a Server.
type Config struct {
	Path    string      // of the socket; a missing directory is created
	Group   string      // group that may connect, by name or number; "" is the process's own
	Mode    fs.FileMode // of the socket
	PProf   bool        // serve net/http/pprof at /debug/pprof/
	Routes  []Route     // of the endpoints
	Upcalls Upcalls     // source of streams
	// Connected is called with each connection, by one goroutine at a time.
	Connected func(Peer)
	// Failed is called with errors of serving a client. It may be called concurrently.
	Failed func(error)
}

// Server answers on a socket until Close.
type Server struct {
	cfg      Config
	listener *net.UnixListener
	file     *socketFile
	http     http.Server
	groupErr error
	slots    chan struct{} // one for each connection
	feeds    chan struct{} // one for each stream of upcalls
	ending   chan struct{} // closed when Close begins
	served   chan struct{} // closed when serve has ended
	once     sync.Once

	mu       sync.Mutex
	closing  bool           // no further request is accepted
	requests sync.WaitGroup // running requests
}

// Listen opens the socket and serves it. An error of the socket matches
// ErrInUse, or the system's. The caller closes the Server.
func Listen(cfg Config) (*Server, error) {
	l, file, groupErr, err := bind(cfg.Path, cfg.Group, cfg.Mode)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	s := &Server{cfg: cfg, listener: l, file: file, groupErr: groupErr, slots: make(chan struct{}, maxConns),
		feeds: make(chan struct{}, maxFeeds), ending: make(chan struct{}), served: make(chan struct{})}
	s.http = http.Server{
		Handler: s.handler(), ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       log.New(failures(cfg.Failed), "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, c.(*conn).peer)
		},
	}
	go func() {
		defer close(s.served)
		if err := s.http.Serve(listener{s}); !errors.Is(err, http.ErrServerClosed) {
			cfg.Failed(fmt.Errorf("control socket: %w", err))
		}
	}()
	return s, nil
}

// GroupError returns why the socket's group could not be set, nil if it was set. Then the group
// of the process may connect.
func (s *Server) GroupError() error { return s.groupErr }

// Close ends all requests, waits for them, and removes the socket. It is idempotent.
func (s *Server) Close() {
	s.once.Do(func() {
		s.file.remove()
		close(s.ending)
		s.mu.Lock()
		s.closing = true
		s.mu.Unlock()
		_ = s.http.Close() // the listener's, which has nothing to flush
		<-s.served
		s.requests.Wait()
	})
}

// begin records the start of a request, and returns false if the server is closing.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.requests.Add(1)
	}
	return !s.closing
}

// listener accepts at most maxConns connections and reports the peers. Others wait in the
// socket's queue until one of these ends.
type listener struct{ *Server }

func (l listener) Addr() net.Addr { return l.listener.Addr() }
func (l listener) Close() error   { return l.listener.Close() }

func (l listener) Accept() (net.Conn, error) {
	for {
		select {
		case l.slots <- struct{}{}:
		case <-l.ending:
			return nil, net.ErrClosed
		}
		c, err := l.listener.AcceptUnix()
		if err != nil {
			<-l.slots
			return nil, err
		}
		peer, err := peerOf(c)
		if err != nil {
			l.cfg.Failed(err)
			c.Close()
			<-l.slots
			continue
		}
		l.cfg.Connected(peer)
		return &conn{UnixConn: c, peer: peer, slots: l.slots}, nil
	}
}

// conn is a connection that returns its slot when it is closed.
type conn struct {
	*net.UnixConn
	peer  Peer
	slots chan struct{}
	once  sync.Once
}

func (c *conn) Close() error {
	c.once.Do(func() { <-c.slots })
	return c.UnixConn.Close()
}

type peerKey struct{}

func peer(r *http.Request) Peer { return r.Context().Value(peerKey{}).(Peer) }

// failures passes on messages that net/http would print.
type failures func(error)

func (f failures) Write(b []byte) (int, error) {
	f(errors.New(strings.TrimSpace(string(b))))
	return len(b), nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.cfg.Routes {
		mux.HandleFunc(r.pattern, r.handler)
	}
	mux.HandleFunc("GET "+pathUpcalls, s.upcalls)
	if s.cfg.PProf {
		mux.HandleFunc(pathProfiles, pprof.Index)
		mux.HandleFunc(pathProfiles+"cmdline", pprof.Cmdline)
		mux.HandleFunc(pathProfiles+"profile", pprof.Profile)
		mux.HandleFunc(pathProfiles+"symbol", pprof.Symbol)
		mux.HandleFunc(pathProfiles+"trace", pprof.Trace)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.begin() {
			return
		}
		defer s.requests.Done()
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		mux.ServeHTTP(w, r)
	})
}
