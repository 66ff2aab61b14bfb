package vswitch

import (
	"context"
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/reconciler"
)

const (
	// lookInterval is the interval of unrequested looks of the port poll.
	lookInterval = 10 * time.Second
	// cpuPoll is the interval at which the port poll checks which CPUs are online with per-CPU
	// dispatch: the kernel reports CPU changes by another protocol.
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

// nextLook is the time of the next look without a change, by internal/clock: in time for the
// next configured port that waits, and for pending restores.
func (s *Server) nextLook(now time.Duration) time.Duration {
	next := s.reconciler.NextRetry(now + lookInterval)
	if s.restores.Postponed() {
		next = min(next, now+reconciler.RestoreInterval)
	}
	return next
}
