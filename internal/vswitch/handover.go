package vswitch

import (
	"errors"
	"slices"

	"dpifd/internal/fdstore"
	"dpifd/internal/odp"
	"dpifd/internal/transport"
)

// HandOver makes Run, when its context ends, leave the upcall sockets open for the next
// process: those in the store or, without a store, those that Sockets returns. Other vports are
// treated as at any other end.
func (s *Server) HandOver() { s.leaving.Store(true) }

// Sockets returns the descriptors of the upcall sockets that were left open, after HandOver and
// Run. The caller owns them.
func (s *Server) Sockets() []fdstore.Descriptor { return s.sockets.Left() }

// Abandoned is the number of ports, after HandOver and Run, whose upcalls do not go to a socket
// that was left open.
func (s *Server) Abandoned() int { return s.abandoned }

// leave hands the upcall sockets over. It returns the ports whose sockets are not handed over,
// and whether a socket of per-CPU dispatch is left behind.
func (s *Server) leave() (others []odp.PortNo, shared bool) {
	for _, sock := range s.sockets.HandOver(s.everySocket()) {
		if slices.Contains(s.sockets.Shared(), sock) {
			shared = true
		} else {
			others = append(others, sock.Port().No)
		}
	}
	s.abandoned = len(others)
	if shared {
		s.abandoned = len(s.Ports())
	}
	return others, shared
}

// upcallsOff stops upcalls to the sockets of these vports, and to those of CPUs unless they are
// handed over.
func (s *Server) upcallsOff(ports []odp.PortNo, shared bool) error {
	err := s.dp.ClearUpcallPIDs(ports)
	if shared {
		err = errors.Join(err, s.dispatcher.Off())
	}
	return err
}

// everySocket lists the upcall sockets of vports and those of CPUs.
func (s *Server) everySocket() []*transport.Socket {
	return slices.Concat(s.sockets.Shared(), s.reconciler.Table().Load().Sockets())
}
