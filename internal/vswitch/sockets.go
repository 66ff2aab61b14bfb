package vswitch

import (
	"dpifd/internal/dpif"
	"dpifd/internal/metric"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/transport"
	"dpifd/internal/upcall"
)

// PortSocket is a served port and its upcall socket.
type PortSocket struct {
	No          odp.PortNo // MaxPorts for a socket of per-CPU dispatch
	Name        string
	Type        dpif.VportType
	Handler     int    // that receives its upcalls, -1 for all
	UpcallPID   uint32 // 0 for a port without its own socket
	Transport   netlink.Transport
	Reason      string // for the transport
	RcvBuf      int    // bytes granted
	QueuedBytes uint32 // memory of queued messages; 0 if the kernel does not report it (before 4.12)
	RingBytes   uint64
	RingFrames  uint32 // of its ring, 0 without
	RingUsed    uint32 // frames in use
	Drops       uint64 // messages that the kernel could not queue or had no frame for
	MaxUpcalls  uint32 // per second, 0 for no limit
	// UpcallTimes are those of the handler since its start, of all handlers if Handler is -1.
	UpcallTimes metric.Distribution
}

// PortSockets lists the ports served, by number, then the sockets of per-CPU
// dispatch. It may be called from any goroutine while the Server is open.
func (s *Server) PortSockets() []PortSocket {
	var all []PortSocket
	for _, p := range s.reconciler.Table().Load().List {
		all = append(all, describe(p.Port, p.Type, p.Socket))
	}
	for _, sock := range s.sockets.Shared() {
		all = append(all, describe(sock.Port(), 0, sock))
	}
	for i := range all {
		for _, h := range s.handlers {
			if h.ID() == all[i].Handler || all[i].Handler < 0 {
				h.AddUpcallTimes(&all[i].UpcallTimes)
			}
		}
	}
	return all
}

func describe(port *upcall.Port, t dpif.VportType, sock *transport.Socket) PortSocket {
	p := PortSocket{No: port.No, Name: port.Name(), Type: t, Handler: sock.HandlerID(), UpcallPID: sock.PortID(),
		Transport: sock.Transport(), MaxUpcalls: port.MaxUpcalls()}
	if sock != nil {
		p.Reason, p.RingBytes, p.RcvBuf = sock.Reason, sock.RingBytes, sock.RcvBuf()
		p.RingFrames, p.RingUsed, p.Drops = sock.RingFrames(), sock.Fill(), port.Counters().SocketDrops
		if m, err := sock.MemInfo(); err == nil {
			p.QueuedBytes = m.QueuedBytes
		}
	}
	return p
}
