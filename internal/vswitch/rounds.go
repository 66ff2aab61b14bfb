package vswitch

import "fmt"

// Rounds counts how often one of the Server's goroutines went round its loop.
type Rounds struct {
	Name  string // "handler 0", "port poll", "revalidator"
	Count uint64
}

// Rounds tells how often each goroutine that the datapath depends on went
// round. It may be called from any goroutine. During the start, which can be
// long, the port poll stands for the flows and ports gone through, and there is
// no revalidator.
func (s *Server) Rounds() []Rounds {
	list := make([]Rounds, 0, len(s.handlers)+2)
	for _, h := range s.handlers {
		list = append(list, Rounds{fmt.Sprintf("handler %d", h.ID()), h.Rounds()})
	}
	flows, running := s.revalidator.Rounds()
	return appendRounds(list, s.rounds.Load(), flows, running)
}

// appendRounds adds the port poll and, once it runs, the revalidator; before that
// the port poll stands for it.
func appendRounds(list []Rounds, polls, cycles uint64, running bool) []Rounds {
	if !running {
		return append(list, Rounds{"port poll", polls + cycles})
	}
	return append(list, Rounds{"port poll", polls}, Rounds{"revalidator", cycles})
}

// Nudge has the goroutines that sleep go round once. The revalidator does so by
// itself, every half second. It may be called from any goroutine while the
// Server is open.
func (s *Server) Nudge() {
	for _, h := range s.handlers {
		h.Wake()
	}
	_ = s.poller.Wake() // it fails only when the poller is closed
}
