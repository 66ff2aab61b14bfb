package vswitch

import (
	"slices"
	"time"

	"dpifd/internal/netlink"
)

// drainSteps bounds how many batches are taken from a port's former socket
// before its new one: another program may have the kernel send there again.
const drainSteps = 1024

// changeSocket has a served port's upcalls come by sock, whose ring, if it has
// one, takes ringBytes. Nothing is lost: what is queued on the former socket is
// answered first, and that socket is served on until retire closes it. On
// failure sock is closed, and the port is served as before.
func (s *Server) changeSocket(ch *channel, sock *netlink.Receiver, ringBytes uint64, why string) error {
	if err := s.dp.SetUpcallPID(ch.no, sock.PortID()); err != nil {
		sock.Close()
		return err
	}
	// A CPU that was in the kernel's upcall path has used the former socket by
	// now, so that draining it before the new one keeps the order.
	time.Sleep(s.share.settle)
	h, drained := ch.handler, false
	var err error
	for step := 0; !drained; step++ {
		// Batch by batch, so that the handler's other ports have their turns.
		h.do(func() {
			n := h.receive(ch, batchSize)
			h.answer()
			if drained = n == 0 || step == drainSteps; !drained {
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if err = h.succeed(ch, sock); err == nil {
				ch.ringBytes, ch.reason = ringBytes, why
			}
		})
	}
	if err != nil {
		s.keepSocket(ch, sock)
		return err
	}
	s.forget(ch)
	s.keep(ch)
	s.cfg.Notify(TransportChanged{No: ch.no, Name: ch.name.get(), Transport: sock.Transport(), Reason: why,
		RcvBuf: sock.RcvBuf(), RingBytes: ringBytes})
	return nil
}

// keepSocket undoes what changeSocket began: upcalls go to the port's socket
// again, and those that came to sock are answered.
func (s *Server) keepSocket(ch *channel, sock *netlink.Receiver) {
	_ = s.dp.SetUpcallPID(ch.no, ch.portID()) // else checkPIDs does it
	h, stray := ch.handler, &channel{sock: sock, heir: ch}
	h.do(func() {
		for h.receive(stray, batchSize) > 0 {
			h.answer()
		}
		h.in.Release()
	})
	sock.Close()
}

// retire closes the socket that a port had before its present one, with what is
// still queued there answered.
func (s *Server) retire(ch *channel) {
	former := ch.former
	if former == nil {
		return
	}
	ch.handler.do(func() {
		last := ch.handler.detach(former)
		s.mu.Lock()
		defer s.mu.Unlock()
		ch.ended.Add(last)
		ch.former = nil
	})
	s.ringBytes -= former.ringBytes
}

// noteDrops is readDrops for who does not hold statsMu.
func (s *Server) noteDrops() {
	s.statsMu.Lock()
	defer s.statsMu.Unlock()
	s.readDrops()
}

// succeed has the handler take the upcalls of ch from sock, and those that
// still come to the socket before as well. It runs on the handler's goroutine,
// with the Server's mu held. On failure nothing has changed.
func (h *Handler) succeed(ch *channel, sock *netlink.Receiver) error {
	former := &channel{no: ch.no, name: ch.name, typ: ch.typ, ifindex: ch.ifindex, sock: ch.sock, ringBytes: ch.ringBytes,
		handler: h, slot: ch.slot, heir: ch, congested: ch.congested}
	ch.sock = sock
	if err := h.attach(ch); err != nil {
		ch.sock, ch.slot = former.sock, former.slot
		return err
	}
	former.drops.Store(ch.drops.Swap(0))
	ch.former, ch.congested = former, false
	h.slots[former.slot] = former
	if former.sock.Transport() == netlink.Ring {
		h.rings[slices.Index(h.rings, ch)] = former
	}
	return nil
}
