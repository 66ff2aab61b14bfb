package vswitch

import (
	"cmp"
	"slices"

	"dpifd/internal/odp"
	"dpifd/internal/reconciler"
	"dpifd/internal/upcall"
)

// creditSpoofed counts packets that flows have dropped because the port may not send them.
func (s *Server) creditSpoofed(in odp.PortNo, packets uint64) {
	if p := s.servedPort(in); p != nil {
		p.CreditSpoofed(packets)
	}
}

// SpoofedPacket returns one of the last packets that the port may not send, without a
// reason if there is none. It may be called from any goroutine. The caller owns the result.
func (s *Server) SpoofedPacket(no odp.PortNo) upcall.SpoofedPacket {
	if p := s.servedPort(no); p != nil {
		return p.SpoofedPacket()
	}
	return upcall.SpoofedPacket{}
}

// servedPort returns the port with a number, nil if there is none.
func (s *Server) servedPort(no odp.PortNo) *reconciler.Port {
	list := s.reconciler.Table().Load().List
	i, ok := slices.BinarySearchFunc(list, no, func(p *reconciler.Port,
		no odp.PortNo) int {
		return cmp.Compare(p.No, no)
	})
	if !ok {
		return nil
	}
	return list[i]
}
