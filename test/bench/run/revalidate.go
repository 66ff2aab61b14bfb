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
	changes = 3 // MACs that move, one after the other
	// changeTime is how long a switch has to see to a change, and to what it
	// takes up in the second cycle after it, beside the time of four full dumps.
	changeTime = 3 * time.Second
	// moveLimit bounds how long a move goes unnoticed: ovs-vswitchd's main loop
	// sees to it when it wakes up next. It is looked at every moveLook.
	moveLimit, moveLook = 20 * time.Second, 500 * time.Millisecond
	// aliveRound is how long it takes until each flow was used once more, and
	// aliveLimit what it may take for none to be idle for ten seconds, which is
	// what both switches allow by default.
	aliveRound, aliveLimit = 8 * time.Second, 9500 * time.Millisecond
	// aliveMost is how many flows can be kept in use by one sender.
	aliveMost = 100_000
)

// change measures what it takes until all flows were looked at again, after a
// station was heard on another port: that of the CPU for some changes, then
// the time for one.
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

// moveNoticed has a station move, and waits until the switch sees in that a reason
// to look at all flows.
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

// share is the CPU of some time.
type share struct {
	cpu     float64 // of one core
	seconds float64
}

// load returns the CPU that the switch takes while fn runs, and for that time at
// least.
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

// alive measures the CPU while each flow is used again and again, with the time
// that flows may be idle by default. It says nothing where the bench cannot send
// fast enough, or flows go all the same.
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
			after = before + int(used.seconds/patience.Seconds())
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

// movesNoticed is how often the switch saw a reason to look at all flows because
// of a MAC.
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

// cycleTime is what the last dump took, in seconds.
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

// cycles counts dumps. ovs-vswitchd does not; it has one each patience.
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

// appctl asks ovs-vswitchd.
func appctl(args ...string) (string, error) {
	target := "--target=" + filepath.Join(dir, "vs.ctl")
	out, err := exec.Command("ovs-appctl", append([]string{target}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ovs-appctl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// dumpDuration reads the line "dump duration : 12ms" of upcall/show, in seconds.
func dumpDuration(text string) (float64, error) {
	_, rest, _ := strings.Cut(text, "dump duration : ")
	number, _, _ := strings.Cut(rest, "ms")
	ms, err := strconv.Atoi(number)
	if err != nil {
		return 0, fmt.Errorf("no duration of a dump in %q", text)
	}
	return float64(ms) / 1e3, nil
}
