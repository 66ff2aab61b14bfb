package transport

import (
	"dpifd/internal/fdstore"
	"dpifd/internal/mmapring"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// store keeps upcall sockets in the service manager's store.
type store struct {
	manager *fdstore.Store // nil is none
	sockets int            // kept
	names   int            // bytes of their names, with a separator each
}

// add has the store keep a socket. One that was inherited is there already. With a ring
// its name tells the geometry, but no head: that is found in the ring after a crash.
func (s *store) add(sock *Socket) error {
	if s.manager == nil {
		return nil
	}
	name := storeName(sock, mmapring.State{Geometry: sock.Geometry(), Head: -1})
	if sock.Transport() == netlink.Ring && sock.stored != name {
		// The head in the name is where the process before left off.
		s.removeName(sock.stored)
		sock.stored = ""
	}
	if sock.stored == "" {
		if s.sockets >= s.manager.Max() || s.names+len(name)+1 > fdstore.MaxNames {
			return unix.ENOSPC
		}
		if err := s.manager.Keep(name, sock.FD()); err != nil {
			return err
		}
		sock.stored = name
	}
	s.sockets++
	s.names += len(sock.stored) + 1
	return nil
}

// storeName is the name under which the store keeps a socket.
func storeName(sock *Socket, ring mmapring.State) string {
	return fdstore.WithState(fdstore.Name(sock.Port().Name(), sock.PortID()), ring.String())
}

// lacks reports whether there is a store, but not with this socket in it.
func (s *store) lacks(sock *Socket) bool { return s.manager != nil && sock.stored == "" }

// setState has the store's name of a socket with a ring tell where the reader left off.
// The manager takes a descriptor that it has under another name for the one it has, so
// that one goes first.
func (s *store) setState(sock *Socket, fd int, ring mmapring.State) error {
	if s.manager == nil || ring.Geometry.IsZero() {
		return nil
	}
	name := storeName(sock, ring)
	s.removeName(sock.stored)
	if err := s.manager.Keep(name, fd); err != nil {
		return err
	}
	sock.stored = name
	return nil
}

// remove takes a socket out of the store.
func (s *store) remove(sock *Socket) {
	if sock.stored != "" {
		s.removeName(sock.stored)
		s.sockets--
		s.names -= len(sock.stored) + 1
		sock.stored = ""
	}
}

// removeName takes a name out of the store. Where that fails the manager keeps a
// socket that the next process closes.
func (s *store) removeName(name string) {
	if s.manager != nil && name != "" {
		_ = s.manager.Forget(name)
	}
}
