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

// add puts a socket into the store. An inherited socket is there already. For a ring the name
// contains the geometry, but no head: after a crash the head is found in the ring.
func (s *store) add(sock *Socket) error {
	if s.manager == nil {
		return nil
	}
	name := storeName(sock, mmapring.State{Geometry: sock.Geometry(), Head: -1})
	if sock.Transport() == netlink.Ring && sock.stored != name {
		// The head in the name is the position of the previous process.
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

// storeName is the name of a socket in the store.
func storeName(sock *Socket, ring mmapring.State) string {
	return fdstore.WithState(fdstore.Name(sock.Port().Name(), sock.PortID()), ring.String())
}

// lacks reports whether there is a store without this socket.
func (s *store) lacks(sock *Socket) bool { return s.manager != nil && sock.stored == "" }

// setState sets the position of the reader in the store's name of a socket with a ring. The
// manager ignores a descriptor that it has under another name, so the old name is removed
// first.
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

// remove removes a socket from the store.
func (s *store) remove(sock *Socket) {
	if sock.stored != "" {
		s.removeName(sock.stored)
		s.sockets--
		s.names -= len(sock.stored) + 1
		sock.stored = ""
	}
}

// removeName removes a name from the store. If that fails, the manager keeps a socket that the
// next process closes.
func (s *store) removeName(name string) {
	if s.manager != nil && name != "" {
		_ = s.manager.Forget(name)
	}
}
