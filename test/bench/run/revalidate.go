package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"dpifd/internal/control"
	"dpifd/internal/endpoint"
	"dpifd/test/bench"
	"dpifd/test/bench/load"
)

const (
	changes = 3 // number of MACs that move, one after the other
	// changeTime is the time for a switch to handle a change, including later work in the second
	// cycle after it, in addition to the time of four full dumps.
	changeTime = 3 * time.Second
	// moveLimit bounds the time until a move is noticed: ovs-vswitchd's main loop handles it when
	// it wakes up next. It is polled every moveLook.
	moveLimit, moveLook = 20 * time.Second, 500 * time.Millisecond
	// aliveRound is the time in which each flow is used once, and aliveLimit the maximum that keeps
	// all flows from idling for ten seconds, the default idle time of both switches.
	aliveRound, aliveLimit = 8 * time.Second, 9500 * time.Millisecond
	// aliveMost is the number of flows that one sender can keep in use.
	aliveMost = 100_000
)

// change measures the revalidation of all flows after a MAC moves to another port: first the CPU
// for several changes, then the duration of one.
func (s *vswitch) change(p *bench.ScalePoint, move func() error) error {
	spacing := changeTime + 4*time.Duration(p.FullSeconds*float64(time.Second))
	moving, err := s.load(changes*spacing, func() error {
		for range changes {
			if err := s.moveNoticed(move); err != nil {
				return err
			}
			time.Sleep(spacing)
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.ChangeCPU = (moving.cpu - p.IdleCPU) * moving.seconds / changes
	if err := s.moveNoticed(move); err != nil {
		return err
	}
	for end := time.Now().Add(spacing); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		took, err := s.cycleTime()
		if err != nil {
			return err
		}
		p.CycleSeconds = max(p.CycleSeconds, took)
	}
	return nil
}

// moveNoticed moves a station and waits until the switch starts to revalidate because of it.
func (s *vswitch) moveNoticed(move func() error) error {
	before, err := s.movesNoticed()
	if err != nil {
		return err
	}
	if err := move(); err != nil {
		return err
	}
	return await(moveLimit, "a move not noticed", func() (bool, error) {
		time.Sleep(moveLook)
		now, err := s.movesNoticed()
		return now > before, err
	})
}

// share is CPU use over some time.
type share struct {
	cpu     float64 // in cores
	seconds float64
}

// load returns the CPU use of the switch while fn runs, and for at least that time.
func (s *vswitch) load(least time.Duration, fn func() error) (share, error) {
	before, err := s.usage()
	if err != nil {
		return share{}, err
	}
	began := time.Now()
	if err := fn(); err != nil {
		return share{}, err
	}
	time.Sleep(least - time.Since(began))
	after, err := s.usage()
	took := time.Since(began).Seconds()
	return share{(after.cpu() - before.cpu()) / took, took}, err
}

// alive measures the CPU use while each flow is used repeatedly, with the default idle time. It
// measures nothing if the bench cannot send fast enough or flows idle out.
func (s *vswitch) alive(p *bench.ScalePoint, source load.Source, pairs int) error {
	if pairs > aliveMost {
		return nil
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	var slowest atomic.Int64
	round := make(chan struct{}, 1)
	go func() {
		frame := load.Frame(load.Sink, 0, 60)
		for {
			began := time.Now()
			if err := source.Pairs(frame, 0, pairs, pairs*int(time.Second)/int(aliveRound)); err != nil {
				done <- err
				return
			}
			slowest.Store(max(slowest.Load(), int64(time.Since(began))))
			select {
			case round <- struct{}{}:
			default:
			}
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
		}
	}()
	err := func() error {
		select {
		case <-round:
		case err := <-done:
			done <- nil
			return err
		}
		if err := s.setMaxIdle(0); err != nil {
			return err
		}
		before, err := s.cycles()
		if err != nil {
			return err
		}
		used, err := s.load(idleTime, func() error { return nil })
		if err != nil {
			return err
		}
		after, err := s.cycles()
		if err != nil {
			return err
		}
		if s.name == bench.Vswitchd {
			after = before + int(used.seconds/maxRevalidator.Seconds())
		}
		p.AliveCPU, p.DumpCPU = used.cpu, used.cpu*used.seconds/float64(max(1, after-before))
		return s.setMaxIdle(keepFlows)
	}()
	close(stop)
	if err := errors.Join(err, <-done); err != nil {
		return err
	}
	info, err := s.dp.Info()
	if held := int(info.Stats.Flows); err == nil && (held < pairs*99/100 || time.Duration(slowest.Load()) > aliveLimit) {
		fmt.Printf("%s: %d flows were not kept in use: a round took %v, %d are left\n",
			s.name, pairs, time.Duration(slowest.Load()), held)
		p.AliveCPU, p.DumpCPU = 0, 0
	}
	return err
}

// movesNoticed is the number of revalidations that the switch started because of a MAC.
func (s *vswitch) movesNoticed() (int, error) {
	if s.name == bench.Vswitchd {
		out, err := appctl("coverage/read-counter", "rev_mac_learning")
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(out))
	}
	return s.total("macs_moved")
}

// cycleTime is the duration of the last dump in seconds.
func (s *vswitch) cycleTime() (float64, error) {
	if s.name == bench.Vswitchd {
		out, err := appctl("upcall/show")
		if err != nil {
			return 0, err
		}
		return dumpDuration(out)
	}
	ms, err := s.total("revalidator_dump_ms")
	return float64(ms) / 1e3, err
}

// cycles counts dumps. ovs-vswitchd does not; it makes one per maxRevalidator.
func (s *vswitch) cycles() (int, error) {
	if s.name == bench.Vswitchd {
		return 0, nil
	}
	return s.total("revalidator_cycles")
}

// total reads a counter of dpifd.
func (s *vswitch) total(name string) (int, error) {
	c := control.NewClient(control.SocketPath(datapath))
	defer c.Close()
	stats, err := endpoint.GetStats.Ask(context.Background(), c, control.None{})
	if err != nil {
		return 0, err
	}
	n, ok := stats.Totals.Get(name)
	if !ok {
		return 0, fmt.Errorf("dpifd counts no %s", name)
	}
	return int(n), nil
}

// appctl runs ovs-appctl on ovs-vswitchd.
func appctl(args ...string) (string, error) {
	target := "--target=" + filepath.Join(dir, "vs.ctl")
	out, err := exec.Command("ovs-appctl", append([]string{target}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ovs-appctl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// dumpDuration parses the line "dump duration : 12ms" of upcall/show, in seconds.
func dumpDuration(text string) (float64, error) {
	_, rest, _ := strings.Cut(text, "dump duration : ")
	number, _, _ := strings.Cut(rest, "ms")
	ms, err := strconv.Atoi(number)
	if err != nil {
		return 0, fmt.Errorf("no duration of a dump in %q", text)
	}
	return float64(ms) / 1e3, nil
}
