//go:build lab

package main

import (
	"fmt"
	"slices"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// account counts what became of the frames between stable plugs.
type account struct {
	sent, missing [3]int // by tag
	gap           int    // missing frames explained by a gap
	logged        int64  // losses in the log
	flooded       int    // frames that were flooded
}

func (a *account) add(b account) {
	for tag := range a.sent {
		a.sent[tag] += b.sent[tag]
		a.missing[tag] += b.missing[tag]
	}
	a.gap += b.gap
	a.logged += b.logged
	a.flooded += b.flooded
}

// settled is the quiet time after which missing frames are considered lost.
const settled = 1500 * time.Millisecond

// check pauses the traffic until no frame is in flight, and checks the invariants.
func (s *soak) check() {
	if err := s.traffic.pause(); err != nil {
		violated("the lab works", "%v", err)
	}
	s.settle()
	s.checkFrames()
	stats := s.checkPorts()
	s.checkFlows()
	s.checkHoldings(stats)
	s.checks++
	s.traffic.resume()
}

// settle waits until the number of missing frames is stable, and then for two stats events, so that
// the log has counted all losses.
func (s *soak) settle() {
	last, since := -1, time.Now()
	for within := lab.Within(waitLimit); time.Since(since) < settled && !within.Passed(); {
		time.Sleep(50 * time.Millisecond)
		s.daemon.look()
		missing := 0
		s.bay.Frames(s.checked, func(f *lab.PatchFrame) {
			if !f.Arrived {
				missing++
			}
		})
		if missing != last {
			last, since = missing, time.Now()
		}
	}
	for range 2 {
		s.daemon.await(s.book.mark(), "stats")
	}
	if err := s.bay.Drained(); err != nil {
		violated("the lab works", "%v", err)
	}
}

// checkFrames: each frame sent since the last check was delivered or its loss is explained, and
// none was misdelivered.
func (s *soak) checkFrames() {
	var a account
	s.checked = s.bay.Frames(s.checked, func(f *lab.PatchFrame) {
		if f.Tag == other {
			return
		}
		a.sent[f.Tag]++
		if f.Arrived {
			return
		}
		a.missing[f.Tag]++
		for _, g := range s.gaps {
			if f.At.Before(g.from.Add(-before)) || f.At.After(g.to) {
				continue
			}
			if f.Tag == steady && g.kind != deleteDatapath && !g.scarce && f.At.After(g.from) {
				violated("existing traffic goes on without the daemon",
					"a steady frame of %s is missing; %s from %s to %s", s.at(f.At), g.kind, s.at(g.from), s.at(g.to))
			}
			// A daemon that stops properly answers all queued upcalls, and the kernel counts the
			// rest.
			if g.kind != stopStart {
				a.gap++
				break
			}
		}
	})
	logged := s.book.explained()
	a.logged = logged - s.explained
	s.explained = logged
	wrong, flooded := s.bay.Misdelivered()
	a.flooded = flooded
	wrong = slices.DeleteFunc(wrong, func(m lab.Misdelivery) bool { return s.partlyFlooded(m.At) })
	s.total.add(a)
	missing := a.missing[steady] + a.missing[fresh]
	if int64(missing-a.gap) > a.logged {
		violated("sent = delivered + explained", "of %d frames between ports that stay %d are missing since the "+
			"last check; %d in gaps, and the log explains %d",
			a.sent[steady]+a.sent[fresh], missing, a.gap, a.logged)
	}
	if len(wrong) > 0 {
		violated("no misdelivery", "%d frames; the first: %v", len(wrong), wrong[0])
	}
	s.gaps = nil
}

// partlyFlooded reports whether a frame may have been flooded to only some ports: the deletion of a
// datapath removes them one by one.
func (s *soak) partlyFlooded(sent time.Time) bool {
	return slices.ContainsFunc(s.gaps, func(g gap) bool {
		return g.kind == deleteDatapath && sent.After(g.from.Add(-before)) && sent.Before(g.to)
	})
}

// checkPorts waits until all vports are served and all configured plugs are vports, and returns a
// stats event that shows it.
func (s *soak) checkPorts() lab.Event {
	var vports []dpif.Vport
	var info dpif.DatapathInfo
	for within := lab.Within(waitLimit); ; time.Sleep(50 * time.Millisecond) {
		s.withDatapath(func(dp *dpif.Datapath) (err error) {
			if vports, err = dp.Vports(); err == nil {
				info, err = dp.Info()
			}
			return err
		})
		lacking := s.lacking(info, vports)
		if lacking == "" {
			break
		}
		if within.Passed() {
			violated("configured ports are attached", "%s", lacking)
		}
		s.daemon.look()
	}
	return s.daemon.awaitMatch(s.book.mark(), fmt.Sprintf("stats with %d ports", len(vports)), func(e lab.Event) bool {
		return e.Name == "stats" && number(e, "ports") == int64(len(vports))
	})
}

// lacking describes the configured plug that is not a vport or is not served.
func (s *soak) lacking(info dpif.DatapathInfo, vports []dpif.Vport) string {
	byCPU := s.plan.dispatch == perCPU
	if has := info.Features&dpif.FeatureDispatchPerCPU != 0; has != byCPU {
		return fmt.Sprintf("the datapath has features %v", info.Features)
	}
	if byCPU && (len(info.PerCPUPIDs) == 0 || slices.Contains(info.PerCPUPIDs, 0)) {
		return fmt.Sprintf("upcall PIDs by CPU are %d", info.PerCPUPIDs)
	}
	served := map[string]bool{}
	for _, v := range vports {
		served[v.Name] = len(v.UpcallPIDs) == 1 && (v.UpcallPIDs[0] == 0) == byCPU
		if !served[v.Name] {
			return fmt.Sprintf("port %s has upcall PIDs %v", v.Name, v.UpcallPIDs)
		}
	}
	for _, i := range s.bay.Plugs(0) {
		if name := lab.PlugName(i); i < stablePlugs+s.file.configured && !served[name] {
			return "port " + name + " is not there"
		}
	}
	return ""
}

// checkFlows waits until the in-port and the out-ports of all flows exist.
func (s *soak) checkFlows() {
	for within := lab.Within(waitLimit); ; time.Sleep(100 * time.Millisecond) {
		stale := ""
		s.withDatapath(func(dp *dpif.Datapath) error {
			vports, err := dp.Vports()
			if err != nil {
				return err
			}
			there := map[odp.PortNo]bool{}
			for _, v := range vports {
				there[v.No] = true
			}
			return dp.Flows(false, func() { stale = "" }, func(f *dpif.Flow) error {
				if text, ok := staleFlow(f, there); ok {
					stale = text
				}
				return nil
			})
		})
		if stale == "" {
			return
		}
		if within.Passed() {
			violated("flows lead from and to ports that exist", "%s", stale)
		}
	}
}

// staleFlow reports whether a flow names a port that does not exist.
func staleFlow(f *dpif.Flow, there map[odp.PortNo]bool) (string, bool) {
	var k odp.Key
	if err := odp.ParseKey(f.Key, &k); err != nil {
		return err.Error(), true
	}
	bad := !there[k.InPort]
	for out := netlink.NewAttrs(f.Actions); out.Next(); {
		if out.Type() == odp.ActionAttrOutput {
			bad = bad || !there[odp.PortNo(out.Uint32())]
		}
	}
	var t odp.Text
	return string(t.AppendKey(nil, f.Key, f.Mask)) + " actions:" + string(t.AppendActions(nil, f.Actions)), bad
}

// checkHoldings compares the daemon's resources with those at the first check: the same number of
// goroutines and of descriptors other than its ports' sockets, and about the same number of mappings.
func (s *soak) checkHoldings(stats lab.Event) {
	c, err := lab.TakeCensus(s.daemon.process.PID())
	if err != nil {
		violated("the daemon runs", "%v", err)
	}
	ports, goroutines := int(number(stats, "ports")), int(number(stats, "goroutines"))
	s.census, s.goroutines, s.ports = c, goroutines, ports
	sockets := ports
	if s.plan.dispatch == perCPU {
		sockets = 0 // those of handlers stay
	}
	if s.base == nil {
		s.base = &base{fds: c.FDs - sockets, goroutines: goroutines, mappings: c.Mappings}
	}
	if got := c.FDs - sockets; got != s.base.fds {
		violated("no descriptor leaks", "%d besides those of %d ports, were %d at first", got, sockets, s.base.fds)
	}
	if goroutines != s.base.goroutines {
		violated("no goroutine leaks", "%d, were %d at first", goroutines, s.base.goroutines)
	}
	if c.Mappings > s.base.mappings+mappingSlack {
		violated("no mapping leaks", "%d, were %d at first", c.Mappings, s.base.mappings)
	}
}

// mappingSlack allows for the heap, which the runtime maps in pieces as it grows.
const mappingSlack = 30

// base holds the daemon's resources at the first check.
type base struct{ fds, goroutines, mappings int }
