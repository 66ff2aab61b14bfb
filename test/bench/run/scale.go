package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"dpifd/internal/dpif"
	"dpifd/test/bench"
)

const (
	settleTime = 3 * time.Second  // after a start or a load, before idle CPU is measured
	idleTime   = 10 * time.Second // that it is measured over
	// scaleRate is slow enough for the flow limits to grow with the flows.
	scaleRate = 1500
	// scaleTries is how often flows that were not taken are sent for again.
	scaleTries = 2
	// keepFlows is longer than a measurement takes.
	keepFlows = time.Hour
)

// measureScale measures switches of growing size, as far as their names are in the
// list.
func measureScale(rounds int, ports, flows []int, switches []string) (*bench.ScaleRun, error) {
	r, err := newScaleRun()
	if err != nil {
		return nil, err
	}
	most := 2
	for _, n := range ports {
		most = max(most, n)
	}
	began := time.Now()
	net, err := newNetwork(most)
	if err != nil {
		return nil, err
	}
	fmt.Printf("%d ports made in %.0f s\n", most, time.Since(began).Seconds())
	if err := settleHost(); err != nil {
		return nil, err
	}
	for round := 1; round <= rounds; round++ {
		for _, n := range ports {
			for _, name := range wanted(switches, bench.Dpifd, bench.PerCPU, bench.Vswitchd) {
				p, err := net.measurePorts(name, n)
				if err != nil {
					return r, fmt.Errorf("round %d, %s with %d ports: %w", round, name, n, err)
				}
				p.Round = round
				fmt.Printf("%d/%d %-13s %4d ports: ready after %.2f s, idle %.2f %% of a core, %d KiB, %d descriptors, %.0f us/upcall, lost %d\n",
					round, rounds, name, n, p.ReadySeconds, 100*p.IdleCPU, p.RSSKiB, p.FDs, p.CPUPerUpcall, p.Lost)
				r.Points = append(r.Points, *p)
			}
		}
		for _, n := range flows {
			for _, name := range wanted(switches, bench.Dpifd, bench.Vswitchd) {
				p, err := net.measureFlows(name, n)
				if err != nil {
					return r, fmt.Errorf("round %d, %s with %d flows: %w", round, name, n, err)
				}
				p.Round = round
				fmt.Printf("%d/%d %-13s %d of %d flows held: at rest %.2f %% of a core, %d KiB, dump %.2f s, terse %.2f s\n",
					round, rounds, name, p.Held, n, 100*p.IdleCPU, p.RSSKiB, p.FullSeconds, p.TerseSeconds)
				r.Points = append(r.Points, *p)
			}
		}
	}
	return r, nil
}

// wanted returns those of the names that are in the list.
func wanted(list []string, names ...string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(list, name) })
}

// startScale starts a switch, and notes how long that took.
func startScale(p *bench.ScalePoint, u setup) (*vswitch, error) {
	name := p.Switch
	if name == bench.PerCPU {
		name, u.dispatch = bench.Dpifd, "per-cpu"
	}
	began := time.Now()
	s, err := start(name, u)
	p.ReadySeconds = time.Since(began).Seconds()
	return s, err
}

// measurePorts measures a switch with that many ports.
func (n *network) measurePorts(name string, ports int) (p *bench.ScalePoint, err error) {
	p = &bench.ScalePoint{Switch: name, Ports: ports}
	s, err := startScale(p, setup{ports: n.ports(ports)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.rest(p); err != nil {
		return nil, err
	}
	m := bench.Result{}
	f, err := n.prepare(bench.Load{Count: 2 * scaleRate, Rate: scaleRate, Size: 200, Ports: ports})
	if err != nil {
		return nil, err
	}
	defer f.close()
	before, err := s.usage()
	if err != nil {
		return nil, err
	}
	if err := f.drive(&m, s); err != nil {
		return nil, err
	}
	after, err := s.usage()
	m.User, m.System = after.user-before.user, after.system-before.system
	m.Missed, m.Lost = after.missed-before.missed, after.lost-before.lost
	p.CPUPerUpcall, p.Lost = m.CPUPerUpcall(false), uint64(m.Sent-m.Arrived)
	return p, err
}

// measureFlows measures a switch of two ports that holds that many flows.
func (n *network) measureFlows(name string, flows int) (p *bench.ScalePoint, err error) {
	p = &bench.ScalePoint{Switch: name, Ports: 2, Flows: flows}
	s, err := startScale(p, setup{ports: n.ports(2), maxIdle: keepFlows, macs: flows + 1000})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	f, err := n.prepare(bench.Load{Count: flows, Rate: scaleRate, Size: 60, Ports: 2})
	if err != nil {
		return nil, err
	}
	defer f.close()
	for range scaleTries {
		held, m := p.Held, bench.Result{}
		if err := f.drive(&m, s); err != nil {
			return nil, err
		}
		info, err := s.dp.Info()
		if err != nil {
			return nil, err
		}
		p.Held, p.Lost = int(info.Stats.Flows), p.Lost+uint64(m.Sent-m.Arrived)
		if p.Held >= flows || p.Held < held+flows/100 {
			break
		}
	}
	if err := s.rest(p); err != nil {
		return nil, err
	}
	for _, d := range []struct {
		terse bool
		took  *float64
	}{{true, &p.TerseSeconds}, {false, &p.FullSeconds}} {
		began := time.Now()
		if err := s.dp.Flows(d.terse, func() {}, func(*dpif.Flow) error { return nil }); err != nil {
			return nil, err
		}
		*d.took = time.Since(began).Seconds()
	}
	return p, nil
}

// rest measures a switch while nothing is sent.
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
	p.IdleCPU = (after.user + after.system - before.user - before.system) / idleTime.Seconds()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		return err
	}
	p.FDs = len(fds)
	p.RSSKiB, err = s.rss()
	return err
}
