package transport

import (
	"maps"
	"slices"

	"dpifd/internal/fdstore"
	"dpifd/internal/mmapring"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/upcall"

	"golang.org/x/sys/unix"
)

// The kernel queues a vport's upcalls on an upcall socket, which the vport knows by its port
// id. If the socket stays open while one process ends and the next starts, no upcall is lost,
// and the vport does not change.

// inherited has the upcall sockets that this process did not open.
type inherited struct {
	sockets map[uint32]inheritedSocket // by port id, until they are adopted or closed
	adopted int                        // sockets that serve a vport or a handler
	found   foundRings
}

type inheritedSocket struct {
	*netlink.Receiver
	name string // in the store
}

// foundRings sums the frames found in rings of the previous process.
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

// take removes and returns the socket of a port id.
func (in *inherited) take(pid uint32) (inheritedSocket, bool) {
	sock, ok := in.sockets[pid]
	if ok {
		delete(in.sockets, pid)
		in.adopted++
	}
	return sock, ok
}

// takeInherited creates receivers from the inherited descriptors, and closes unusable ones. It maps
// rings as they are, independent of the configuration, because their frames can only be read this
// way.
func (s *Sockets) takeInherited(list []fdstore.Descriptor) {
	sockets := make(map[uint32]inheritedSocket, len(list))
	s.inherited.sockets = sockets
	for _, d := range list {
		ring, err := mmapring.ParseState(d.State)
		var sock *netlink.Receiver
		if err == nil {
			sock, err = netlink.AdoptReceiver(unix.NETLINK_GENERIC, d.FD, ring,
				netlink.ReceiverConfig{RcvBuf: s.rcvBuf, Kernel: s.rings.cfg.Kernel})
		}
		if err != nil {
			unix.Close(d.FD) // nobody else uses it
			s.store.removeName(d.Name)
			s.notify(SocketRefused{Name: d.Name, Err: err})
			continue
		}
		if _, twice := sockets[sock.PortID()]; twice {
			sock.Close() // another descriptor of the same socket
			continue
		}
		sockets[sock.PortID()] = inheritedSocket{sock, d.Name}
		s.rings.used += ringBytes(sock)
		s.inherited.found.add(sock)
	}
}

// Adopt returns the inherited socket with one of these port ids, the vport's upcall PIDs, for
// the port. It returns nil if there is none that fits the configuration.
func (s *Sockets) Adopt(p *upcall.Port, pids []uint32) *Socket {
	if len(pids) != 1 || s.Shared() != nil {
		return nil
	}
	if in, ok := s.inherited.sockets[pids[0]]; !ok || !s.rings.fit(in.Receiver) {
		return nil
	}
	in, _ := s.inherited.take(pids[0])
	why := "taken over from the process before"
	if !s.HasRings() {
		why = reason(s.rings.noRX)
	}
	return &Socket{Socket: upcall.NewSocket(in.Receiver, p), Reason: why, RingBytes: ringBytes(in.Receiver),
		stored: in.name}
}

// adoptShared returns an inherited socket of per-CPU dispatch, nil if none is left.
func (s *Sockets) adoptShared(pids []uint32, handler int) *Socket {
	for _, pid := range pids {
		if in, ok := s.inherited.take(pid); ok {
			return &Socket{Socket: upcall.NewSharedSocket(in.Receiver, handler), stored: in.name}
		}
	}
	return nil
}

// inheritedPIDs are the port ids of the inherited sockets that are not adopted.
func (s *Sockets) inheritedPIDs() []uint32 { return slices.Sorted(maps.Keys(s.inherited.sockets)) }

// DrainInherited completes the take-over. Sockets that are no longer needed, because ports were
// removed or dispatch changed, are drained before they are closed. It returns the counters of
// that.
func (s *Sockets) DrainInherited() (counted upcall.PortCounters) {
	for _, in := range s.inherited.sockets {
		sock := upcall.NewSocket(in.Receiver, upcall.NewPort(odp.MaxPorts, "inherited", 0))
		if h := s.handlers[0]; h.Attach(sock) == nil {
			counted.Add(h.Detach(sock))
		}
	}
	closed := s.DropInherited()
	if s.inherited.adopted+closed > 0 {
		f := s.inherited.found
		s.notify(SocketsAdopted{Adopted: s.inherited.adopted, Closed: closed, Rings: f.rings, Frames: f.frames,
			Answered: f.answered, Guessed: f.guessed})
	}
	return counted
}

// DropInherited closes the unused inherited sockets, and returns their number.
func (s *Sockets) DropInherited() int {
	closed := len(s.inherited.sockets)
	for _, in := range s.inherited.sockets {
		in.Close()
		s.rings.used -= ringBytes(in.Receiver)
		s.store.removeName(in.name)
	}
	clear(s.inherited.sockets)
	return closed
}
