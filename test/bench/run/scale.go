package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dpifd/test/bench"
)

const (
	settleTime = 3 * time.Second  // after a start or a load, before idle CPU is measured
	idleTime   = 12 * time.Second // duration of the measurement, three times maxRevalidator
	scaleRate  = 1500             // new flows per second over all ports
)

// scale is a running scale run.
type scale struct {
	net      *network
	run      *bench.ScaleRun
	out      string // file to which each measurement is saved, none if empty
	switches []string
	within   time.Duration // time after which no measurement is started
	end      time.Time
	round    int
}

// measure measures the switches with growing sizes. If one fails at a size, the failure is recorded
// and the run continues.
func (s *scale) measure(rounds int, ports, flows []int) error {
	most := 2
	for _, n := range ports {
		most = max(most, n)
	}
	began := time.Now()
	net, err := newNetwork(most)
	if err != nil {
		return err
	}
	s.net, s.end = net, began.Add(s.within)
	fmt.Printf("%d ports made in %.0f s\n", most, time.Since(began).Seconds())
	if err := settleHost(); err != nil {
		return err
	}
	for s.round = 1; s.round <= rounds; s.round++ {
		for _, n := range ports {
			for _, name := range s.wanted(bench.Dpifd, bench.PerCPU, bench.Vswitchd) {
				p := &bench.ScalePoint{Switch: name, Round: s.round, Ports: n}
				err := s.late()
				if err == nil {
					err = s.measurePorts(p)
				}
				if err := s.add(p, err); err != nil {
					return err
				}
			}
		}
		for _, name := range s.wanted(bench.Dpifd, bench.Vswitchd) {
			if err := s.measureFlows(name, flows); err != nil {
				return err
			}
		}
	}
	return nil
}

// late returns an error if no more measurements may be started.
func (s *scale) late() error {
	if time.Now().After(s.end) {
		return &lateError{"not begun", s.within}
	}
	return nil
}

// add adds a point to the run, and saves it.
func (s *scale) add(p *bench.ScalePoint, failed error) error {
	size := fmt.Sprintf("%d/%s %4d ports", s.round, p.Switch, p.Ports)
	if p.Flows > 0 {
		size = fmt.Sprintf("%d/%s %6d flows", s.round, p.Switch, p.Flows)
	}
	switch {
	case failed != nil:
		p.Failed = reason(failed)
		fmt.Printf("%s: failed: %v\n", size, failed)
	case p.Flows > 0:
		fmt.Printf("%s: %d held, at rest %.2f %% of a core, in use %.2f %%, %.3f s of CPU for a dump, "+
			"a change %.3f s of CPU, its dump %.2f s, then %d left, dump of the bench %.2f s, terse %.2f s, %d KiB\n",
			size, p.Held, 100*p.IdleCPU, 100*p.AliveCPU, p.DumpCPU, p.ChangeCPU, p.CycleSeconds, p.Left,
			p.FullSeconds, p.TerseSeconds, p.RSSKiB)
	default:
		fmt.Printf("%s: ready after %.2f s, idle %.2f %% of a core, %d KiB, %d descriptors, %.0f us/upcall, lost %d\n",
			size, p.ReadySeconds, 100*p.IdleCPU, p.RSSKiB, p.FDs, p.CPUPerUpcall, p.Lost)
	}
	s.run.Points = append(s.run.Points, *p)
	if s.out == "" {
		return nil
	}
	return s.run.Write(s.out)
}

// saveLog saves the log of a switch in the folder of the measurements.
func (s *scale) saveLog(p *bench.ScalePoint, v *vswitch) error {
	if s.out == "" {
		return nil
	}
	name := fmt.Sprintf("%s-%d-ports-%d-flows-%d.log", strings.ReplaceAll(p.Switch, " ", "-"), p.Round, p.Ports, p.Flows)
	return os.WriteFile(filepath.Join(filepath.Dir(s.out), name), []byte(v.output.String()), 0o644)
}

// reason shortens an error for a table.
func reason(err error) string {
	var late *lateError
	if errors.As(err, &late) {
		return late.Error()
	}
	return "failed, see the output of the run"
}

// wanted returns the names that are to be measured.
func (s *scale) wanted(names ...string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(s.switches, name) })
}

// startScale starts a switch and records the time until it is ready.
func startScale(p *bench.ScalePoint, u setup) (*vswitch, error) {
	name := p.Switch
	if name == bench.PerCPU {
		name, u.dispatch = bench.Dpifd, "per-cpu"
	}
	began := time.Now()
	s, err := start(name, u)
	p.ReadySeconds = time.Since(began).Seconds()
	if err != nil && p.ReadySeconds > startLimit.Seconds() {
		err = errors.Join(&lateError{notReady, startLimit}, err)
	}
	return s, err
}

// measurePorts measures a switch with the ports of p.
func (s *scale) measurePorts(p *bench.ScalePoint) (err error) {
	v, err := startScale(p, setup{ports: s.net.ports(p.Ports)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.stop(), s.saveLog(p, v)) }()
	if err := v.rest(p); err != nil {
		return err
	}
	m := bench.Result{}
	f, err := s.net.prepare(bench.Load{Count: 2 * scaleRate, Rate: scaleRate, Size: 200, Ports: p.Ports})
	if err != nil {
		return err
	}
	defer f.close()
	before, err := v.usage()
	if err != nil {
		return err
	}
	if err := f.drive(&m, v); err != nil {
		return err
	}
	after, err := v.usage()
	m.User, m.System = after.user-before.user, after.system-before.system
	m.Missed, m.Lost = after.missed-before.missed, after.lost-before.lost
	p.CPUPerUpcall, p.Lost = m.CPUPerUpcall(false), uint64(m.Sent-m.Arrived)
	return err
}

// rest measures a switch at rest. Unexpected packets would invalidate this and the following
// measurements.
func (s *vswitch) rest(p *bench.ScalePoint) error {
	time.Sleep(settleTime)
	before, err := s.usage()
	if err != nil {
		return err
	}
	time.Sleep(idleTime)
	after, err := s.usage()
	if err != nil {
		return err
	}
	if n := after.missed - before.missed; n > 0 {
		return fmt.Errorf("%d upcalls while nothing was sent", n)
	}
	p.IdleCPU = (after.cpu() - before.cpu()) / idleTime.Seconds()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		return err
	}
	p.FDs = len(fds)
	p.RSSKiB, err = s.rss()
	return err
}
