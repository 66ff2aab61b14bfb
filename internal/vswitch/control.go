package vswitch

import (
	"fmt"

	"dpifd/internal/binding"
	"dpifd/internal/odp"
	"dpifd/internal/reconciler"
	"dpifd/internal/revalidator"
	"dpifd/internal/upcall"
	"dpifd/internal/watchdog"
)

// Reconfigure changes the wanted ports and the flow limits while the Server runs; zero limits
// select the defaults. Ports that are no longer configured are removed from the datapath. It
// returns at once; events report the result. It may be called from any goroutine.
func (s *Server) Reconfigure(ports []reconciler.PortConfig, flows revalidator.Limits) {
	s.revalidator.SetLimits(flows)
	s.wanted.Store(&ports)
	s.notifier.requestLook()
}

// Restore takes over the mapping of vports to entries of the configuration, as Entries returned
// it in the previous process. It is called before Run, on its goroutine. It returns the numbers
// of the vports that are still the same.
func (s *Server) Restore(former []binding.Port) (map[odp.PortNo]bool, error) {
	return s.reconciler.Restore(former)
}

// Entries returns the vports with their devices and entries. It may be called from any
// goroutine.
func (s *Server) Entries() []binding.Port { return s.reconciler.Entries() }

// Ports returns the numbers of the ports that are served.
func (s *Server) Ports() []odp.PortNo { return s.reconciler.Table().Load().Numbers() }

// Handlers returns the number of handlers.
func (s *Server) Handlers() int { return len(s.handlers) }

// SetTracer installs t, which is called for each upcall; nil removes it.
func (s *Server) SetTracer(t upcall.Tracer) {
	for _, h := range s.handlers {
		h.SetTracer(t)
	}
}

// SetFlowTracer installs t, which is called for each flow that the revalidator
// changes; nil removes it.
func (s *Server) SetFlowTracer(t revalidator.Tracer) { s.revalidator.SetTracer(t) }

// Rounds returns the number of rounds of each goroutine that the datapath depends on. It may be
// called from any goroutine. During the start, which can be long, the rounds of the port poll
// count processed flows and ports, and there is no revalidator.
func (s *Server) Rounds() []watchdog.Rounds {
	list := make([]watchdog.Rounds, 0, len(s.handlers)+2)
	for _, h := range s.handlers {
		list = append(list, watchdog.Rounds{Name: fmt.Sprintf("handler %d", h.ID()), Count: h.Rounds()})
	}
	flows, running := s.revalidator.Rounds()
	return appendRounds(list, s.rounds.Load(), flows, running)
}

// appendRounds adds the port poll and, when it runs, the revalidator; before that the port poll
// represents it.
func appendRounds(list []watchdog.Rounds, polls, cycles uint64, running bool) []watchdog.Rounds {
	if !running {
		return append(list, watchdog.Rounds{Name: "port poll", Count: polls + cycles})
	}
	return append(list, watchdog.Rounds{Name: "port poll", Count: polls},
		watchdog.Rounds{Name: "revalidator", Count: cycles})
}

// Nudge makes sleeping goroutines run a round. The revalidator does so by itself every half
// second. It may be called from any goroutine while the Server is open.
func (s *Server) Nudge() {
	for _, h := range s.handlers {
		h.Wake()
	}
	s.notifier.wake()
}
