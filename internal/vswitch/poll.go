package vswitch

import (
	"context"
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/reconciler"
)

const (
	// lookInterval is the time between two looks of the port poll that nobody asked for.
	lookInterval = 10 * time.Second
	// cpuPoll is how often the port poll looks which CPUs are online under per-CPU
	// dispatch: the kernel's notices of CPUs come by another protocol.
	cpuPoll = time.Second
)

// pollPorts waits for notifications and reconciles after each, until ctx ends.
func (s *Server) pollPorts(ctx context.Context) error {
	stop := context.AfterFunc(ctx, s.notifier.wake)
	defer stop()
	next := s.nextLook(clock.Now())
	for ctx.Err() == nil {
		timeout := max(next-clock.Now(), 0)
		if s.sockets.Shared() != nil {
			timeout = min(timeout, cpuPoll)
		}
		changed, err := s.notifier.wait(timeout)
		if err != nil {
			return err
		}
		s.rounds.Add(1)
		if err := s.dispatcher.CheckCPUs(); err != nil {
			return err
		}
		if !changed && clock.Now() < next || ctx.Err() != nil {
			continue
		}
		if err := s.reconcile(reconciler.Look{Changed: changed}); err != nil {
			return err
		}
		next = s.nextLook(clock.Now())
	}
	return nil
}

// nextLook is when the port poll looks again, by internal/clock, though nothing has
// changed: in time for the next configured port that waits, and for what is still to be
// restored.
func (s *Server) nextLook(now time.Duration) time.Duration {
	next := s.reconciler.NextRetry(now + lookInterval)
	if s.restores.Postponed() {
		next = min(next, now+reconciler.RestoreInterval)
	}
	return next
}
