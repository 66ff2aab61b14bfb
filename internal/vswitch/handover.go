package vswitch

import (
	"fmt"
	"slices"

	"dpifd/internal/dpif"
	"dpifd/internal/fdstore"
	"dpifd/internal/mmapring"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/upcall"

	"golang.org/x/sys/unix"
)

// An upcall socket is where the kernel queues a vport's upcalls, and its port id
// is what the vport knows. If the socket lives on while one process ends and
// another begins, nothing that came up meanwhile is lost, and the vport need not
// be told anything.

// inheritedSocket is an upcall socket that this process did not open.
type inheritedSocket struct {
	sock *netlink.Receiver
	name string
}

// takeInherited makes receivers of the inherited descriptors, and closes what
// cannot be one. Rings are mapped as they are, whatever the configuration says: what is
// in their frames cannot be had otherwise.
func (s *Server) takeInherited() {
	s.inherited = make(map[uint32]inheritedSocket, len(s.cfg.Inherited))
	for _, d := range s.cfg.Inherited {
		ring, err := mmapring.ParseState(d.State)
		var sock *netlink.Receiver
		if err == nil {
			sock, err = netlink.AdoptReceiver(unix.NETLINK_GENERIC, d.FD, ring,
				netlink.ReceiverConfig{RcvBuf: s.cfg.RcvBuf, Kernel: s.cfg.Ring.Kernel})
		}
		if err == nil {
			if _, twice := s.inherited[sock.PortID()]; twice {
				sock.Close() // another descriptor of the same socket
				continue
			}
			s.inherited[sock.PortID()] = inheritedSocket{sock, d.Name}
			s.ringBytes += ringBytes(sock)
			s.foundRings.add(sock)
			continue
		}
		unix.Close(d.FD) // whatever it is, nobody else has a use for it
		s.forgetName(d.Name)
		s.cfg.Notify(SocketRefused{Name: d.Name, Err: err})
	}
	s.cfg.Inherited = nil
}

// ringBytes is the memory of a socket's ring, 0 without.
func ringBytes(sock *netlink.Receiver) uint64 {
	g := sock.Geometry()
	return g.Bytes()
}

// foundRings sums what was found in rings of the process before.
type foundRings struct{ rings, frames, answered, guessed int }

func (f *foundRings) add(sock *netlink.Receiver) {
	if sock.Transport() != netlink.Ring {
		return
	}
	found := sock.Found()
	f.rings++
	f.frames += found.InUse
	f.answered += found.Answered
	if found.Guessed {
		f.guessed++
	}
}

// fits reports whether an inherited socket is one that the configuration asks for.
// What is in another one is answered before it is closed.
func (s *Server) fits(sock *netlink.Receiver) bool {
	if sock.Transport() == netlink.Ring {
		return s.noRings == nil && sock.Geometry() == s.cfg.Ring.Geometry
	}
	return s.cfg.Ring.Mode != RingRequire
}

// adopt returns a channel with the inherited socket that the vport's upcalls go
// to, nil if there is none.
func (s *Server) adopt(v dpif.Vport) *channel {
	if len(v.UpcallPIDs) != 1 || s.shared != nil {
		return nil
	}
	in, ok := s.inherited[v.UpcallPIDs[0]]
	if !ok || !s.fits(in.sock) {
		return nil
	}
	delete(s.inherited, v.UpcallPIDs[0])
	s.adopted++
	why := "taken over from the process before"
	if s.noRings != nil {
		why = reason(s.noRings)
	}
	p := upcall.NewPort(v.No, v.Name, s.maxUpcalls[v.Name])
	return &channel{Port: p, typ: v.Type, ifindex: v.Ifindex, sock: upcall.NewSocket(in.sock, p), reason: why, stored: in.name,
		ringBytes: ringBytes(in.sock)}
}

// settleInherited ends the taking over at the end of the start. What waits in
// sockets that serve nothing any more, because ports went or dispatch is another,
// is answered before they are closed.
func (s *Server) settleInherited() {
	h := s.handlers[0]
	for _, in := range s.inherited {
		sock := upcall.NewSocket(in.sock, upcall.NewPort(odp.MaxPorts, "inherited", 0))
		if h.Attach(sock) != nil {
			continue
		}
		last := h.Detach(sock)
		s.mu.Lock()
		s.past.Add(last)
		s.mu.Unlock()
	}
	closed := s.closeInherited()
	if s.adopted+closed > 0 {
		f := s.foundRings
		s.cfg.Notify(SocketsAdopted{Adopted: s.adopted, Closed: closed, Rings: f.rings, Frames: f.frames, Answered: f.answered,
			Guessed: f.guessed})
	}
}

// closeInherited closes the inherited sockets that serve no vport, and returns
// how many these were.
func (s *Server) closeInherited() int {
	closed := len(s.inherited)
	for _, in := range s.inherited {
		in.sock.Close()
		s.ringBytes -= ringBytes(in.sock)
		s.forgetName(in.name)
	}
	clear(s.inherited)
	return closed
}

// keep gives the socket of a port to the store. One that was inherited is there
// already. With a ring its name tells the geometry, but no head: that is found in the
// ring after a crash.
func (s *Server) keep(ch *channel) {
	if s.cfg.Store == nil || ch.sock == nil {
		return
	}
	name := storeName(ch, mmapring.State{Geometry: ch.sock.Geometry(), Head: -1})
	if ch.sock.Transport() == netlink.Ring && ch.stored != name {
		// The head in the name is where the process before left off.
		s.forgetName(ch.stored)
		ch.stored = ""
	}
	if ch.stored == "" {
		err := error(unix.ENOSPC)
		if s.kept < s.cfg.Store.Max() && s.keptNames+len(name)+1 <= fdstore.MaxNames {
			err = s.cfg.Store.Keep(name, ch.sock.FD())
		}
		if err != nil {
			s.cfg.Notify(SocketNotKept{No: ch.No, Name: ch.Name(), Err: fmt.Errorf("port %s: keep the upcall socket: %w", ch.Name(), err)})
			return
		}
		ch.stored = name
	}
	s.kept++
	s.keptNames += len(ch.stored) + 1
}

// storeName is the name under which the store keeps the socket of a port.
func storeName(ch *channel, ring mmapring.State) string {
	return fdstore.WithState(fdstore.Name(ch.Name(), ch.sock.PortID()), ring.String())
}

// forget takes the socket of a port out of the store.
func (s *Server) forget(ch *channel) {
	if ch.stored != "" {
		s.forgetName(ch.stored)
		s.kept--
		s.keptNames -= len(ch.stored) + 1
		ch.stored = ""
	}
}

// forgetName takes a name out of the store. Where that fails the manager keeps a
// socket that the next process closes.
func (s *Server) forgetName(name string) {
	if s.cfg.Store != nil && name != "" {
		_ = s.cfg.Store.Forget(name)
	}
}

// HandOver has Run, when its context ends, leave the upcall sockets as they are
// for the next process: those that the store keeps or, without a store, those
// that Sockets returns. Vports without such a socket are left as at any other end.
func (s *Server) HandOver() { s.leaving.Store(true) }

// Sockets returns the descriptors of the upcall sockets that were left open, after
// HandOver and Run. They are the caller's.
func (s *Server) Sockets() []fdstore.Descriptor { return s.left }

// Abandoned is the number of ports, after HandOver and Run, whose upcalls go to no
// socket that was left open.
func (s *Server) Abandoned() int { return s.abandoned }

// leave takes the sockets that live on from the handlers, which answer what they
// had received. It returns the ports that have none, and whether a socket of
// per-CPU dispatch is left behind.
func (s *Server) leave() (others []odp.PortNo, shared bool) {
	byHandler := map[*upcall.Handler][]*channel{}
	s.mu.Lock()
	for _, ch := range s.everyChannel() {
		if ch.sock == nil {
			continue
		}
		byHandler[ch.handler] = append(byHandler[ch.handler], ch)
	}
	s.mu.Unlock()
	for h, chs := range byHandler {
		var stay []*channel
		var socks []*upcall.Socket
		for _, ch := range chs {
			if s.cfg.Store != nil && ch.stored == "" || len(s.left)+len(socks) >= fdstore.MaxDescriptors {
				stay = append(stay, ch)
				continue
			}
			socks = append(socks, ch.sock)
		}
		fds, rings := h.Release(socks...)
		for _, ch := range chs {
			i := slices.Index(socks, ch.sock)
			if i < 0 {
				continue
			}
			if fds[i] >= 0 && !s.storeHead(ch, fds[i], rings[i]) {
				unix.Close(fds[i]) // nobody else has it
				fds[i] = -1
			}
			if fds[i] < 0 {
				stay = append(stay, ch)
				continue
			}
			s.left = append(s.left, fdstore.Descriptor{FD: fds[i], Name: ch.stored, State: rings[i].String()})
		}
		for _, ch := range stay {
			if slices.Contains(s.shared, ch) {
				shared = true
			} else {
				others = append(others, ch.No)
			}
		}
	}
	return others, shared
}

// storeHead has the store's name of a socket with a ring tell where the reader left off.
// It reports whether the store has the socket, or is not needed for it. The manager takes a
// descriptor that it has under another name for the one it has, so that one goes first.
func (s *Server) storeHead(ch *channel, fd int, ring mmapring.State) bool {
	if s.cfg.Store == nil || ring.Geometry.IsZero() {
		return true
	}
	name := storeName(ch, ring)
	s.forgetName(ch.stored)
	if err := s.cfg.Store.Keep(name, fd); err != nil {
		s.cfg.Notify(SocketNotKept{No: ch.No, Name: ch.Name(), Err: fmt.Errorf("port %s: keep the upcall socket: %w", ch.Name(), err)})
		return false
	}
	ch.stored = name
	return true
}

// forgetAll takes the sockets that end with the Server out of the store.
func (s *Server) forgetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ch := range s.everyChannel() {
		if ch.sock != nil && ch.sock.FD() < 0 && !slices.ContainsFunc(s.left, func(d fdstore.Descriptor) bool { return d.Name == ch.stored }) {
			s.forget(ch)
		}
	}
}
