package transport

import (
	"fmt"
	"slices"
	"sync/atomic"

	"dpifd/internal/event"
	"dpifd/internal/fdstore"
	"dpifd/internal/mmapring"
	"dpifd/internal/netlink"
	"dpifd/internal/upcall"

	"golang.org/x/sys/unix"
)

// Sockets are the upcall sockets of one datapath.
type Sockets struct {
	rcvBuf    int
	notify    event.Sink
	rings     rings
	inherited inherited
	store     store
	drops     drops
	handlers  []*upcall.Handler
	load      map[*upcall.Handler]int   // number of ports' sockets that it owns
	shared    atomic.Pointer[[]*Socket] // one per handler with per-CPU dispatch, else nil
	left      []fdstore.Descriptor      // of sockets that outlive the process
}

// New finds out which rings are possible, and takes over the inherited sockets. The caller
// closes the Sockets after the handlers.
func New(cfg Config) (*Sockets, error) {
	if cfg.RcvBuf <= 0 {
		cfg.RcvBuf = DefaultRcvBuf
	}
	s := &Sockets{rcvBuf: cfg.RcvBuf, notify: cfg.Notify, rings: rings{cfg: cfg.Ring}, store: store{manager: cfg.Store},
		load: map[*upcall.Handler]int{}}
	s.takeInherited(cfg.Inherited)
	err := s.rings.probe()
	if err == nil {
		err = s.drops.open()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close closes sockets without an owner. It is idempotent.
func (s *Sockets) Close() error {
	s.DropInherited()
	for _, sock := range s.Shared() {
		sock.Close() // after a failed start they have no owner
	}
	s.drops.close()
	return nil
}

// Dial opens a handler's request socket, with a TX ring if possible, and returns the reason for
// having one or not.
func (s *Sockets) Dial(cfg netlink.Config) (conn *netlink.Conn, why string, err error) {
	return s.rings.dial(cfg)
}

// SetHandlers sets the handlers that own sockets. It is called once, before the first socket.
func (s *Sockets) SetHandlers(handlers []*upcall.Handler) { s.handlers = handlers }

// HasRings reports whether ports' sockets may have rings.
func (s *Sockets) HasRings() bool { return s.rings.noRX == nil }

// Shared returns the handlers' sockets of per-CPU dispatch, nil with per-vport dispatch. Any
// goroutine may call it.
func (s *Sockets) Shared() []*Socket {
	if p := s.shared.Load(); p != nil {
		return *p
	}
	return nil
}

// Open opens an upcall socket for a port, with a ring if possible. With per-CPU dispatch it
// returns nil. It returns ErrRingRequired if the configuration requires a ring that cannot be
// set up, but only during the start.
func (s *Sockets) Open(p *upcall.Port, running bool) (*Socket, error) {
	if s.Shared() != nil {
		return nil, nil
	}
	r, denied, err := s.rings.receiver(s.rcvBuf)
	if err != nil {
		return nil, fmt.Errorf("port %s: upcall socket: %w", p.Name(), err)
	}
	if denied == nil {
		return &Socket{Socket: upcall.NewSocket(r, p), Reason: haveRings, RingBytes: ringBytes(r)}, nil
	}
	if s.HasRings() {
		if s.rings.cfg.Mode == mmapring.ModeRequire && !running {
			r.Close()
			return nil, fmt.Errorf("port %s: %w: %w", p.Name(), ErrRingRequired, denied)
		}
		s.notify(RingDenied{Name: p.Name(), Err: denied, RingBytes: s.rings.cfg.Geometry.Bytes(), UsedBytes: s.rings.used,
			LimitBytes: s.rings.cfg.MemoryLimit})
	}
	return &Socket{Socket: upcall.NewSocket(r, p), Reason: reason(denied)}, nil
}

// Discard closes sockets that no handler owns. nil is none.
func (s *Sockets) Discard(socks ...*Socket) {
	for _, sock := range socks {
		if sock != nil {
			sock.Close()
			s.rings.used -= sock.RingBytes
		}
	}
}

// Attach assigns each socket to the handler with the fewest. It closes those that no handler
// could take, and returns them with the reason.
func (s *Sockets) Attach(socks []*Socket) (failed map[*Socket]error) {
	failed = map[*Socket]error{}
	shares := map[*upcall.Handler][]*Socket{}
	for _, sock := range socks {
		h := slices.MinFunc(s.handlers, func(a, b *upcall.Handler) int { return s.load[a] - s.load[b] })
		sock.handler = h
		s.load[h]++
		shares[h] = append(shares[h], sock)
	}
	for h, share := range shares {
		list := make([]*upcall.Socket, len(share))
		for i, sock := range share {
			list[i] = sock.Socket
		}
		refused := h.Attach(list...)
		for _, sock := range share {
			if err := refused[sock.Socket]; err != nil {
				failed[sock] = fmt.Errorf("port %s: %w", sock.Port().Name(), err)
				s.load[h]--
				s.Discard(sock)
			}
		}
	}
	return failed
}

// Detach makes the owner drain and close a socket. It returns the final counters of the
// socket's port.
func (s *Sockets) Detach(sock *Socket) upcall.PortCounters {
	last := sock.handler.Detach(sock.Socket)
	s.load[sock.handler]--
	s.rings.used -= sock.RingBytes
	s.store.remove(sock)
	return last
}

// Keep puts a socket into the store for the next process.
func (s *Sockets) Keep(sock *Socket) {
	if err := s.store.add(sock); err != nil {
		s.notKept(sock, err)
	}
}

func (s *Sockets) notKept(sock *Socket, err error) {
	p := sock.Port()
	err = fmt.Errorf("port %s: keep the upcall socket: %w", p.Name(), err)
	s.notify(SocketNotKept{No: p.No, Name: p.Name(), Err: err})
}

// HandOver takes the sockets that outlive the process from the handlers, which answer received
// upcalls. It returns the sockets that are not handed over.
func (s *Sockets) HandOver(socks []*Socket) (stay []*Socket) {
	byHandler := map[*upcall.Handler][]*Socket{}
	for _, sock := range socks {
		byHandler[sock.handler] = append(byHandler[sock.handler], sock)
	}
	for h, list := range byHandler {
		var leaving []*Socket
		var released []*upcall.Socket
		for _, sock := range list {
			if s.store.lacks(sock) || len(s.left)+len(leaving) >= fdstore.MaxDescriptors {
				stay = append(stay, sock)
				continue
			}
			leaving, released = append(leaving, sock), append(released, sock.Socket)
		}
		fds, states := h.Release(released...)
		for i, sock := range leaving {
			if fds[i] >= 0 {
				if err := s.store.setState(sock, fds[i], states[i]); err != nil {
					s.notKept(sock, err)
					unix.Close(fds[i]) // nobody else has it
					fds[i] = -1
				}
			}
			if fds[i] < 0 {
				stay = append(stay, sock)
				continue
			}
			s.left = append(s.left, fdstore.Descriptor{FD: fds[i], Name: sock.stored, State: states[i].String()})
		}
	}
	return stay
}

// Left returns the descriptors of the sockets that HandOver took. The caller owns them.
func (s *Sockets) Left() []fdstore.Descriptor { return s.left }

// RemoveClosed removes from the store the sockets that are closed and were not handed over.
func (s *Sockets) RemoveClosed(socks []*Socket) {
	for _, sock := range socks {
		if sock.FD() < 0 && !slices.ContainsFunc(s.left, func(d fdstore.Descriptor) bool { return d.Name == sock.stored }) {
			s.store.remove(sock)
		}
	}
}
