//go:build lab

package main

import (
	"fmt"
	"os"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// gap is a time in which frames may be lost without a count in the log.
type gap struct {
	kind     kind
	from, to time.Time
	// scarce means that flows were scarce or had just been changed, so that even existing traffic
	// may have had none.
	scarce bool
}

// before is the maximum age of frames in flight at the beginning of a gap: upcalls queued in a
// socket when its process is killed are not counted.
const before = 5 * time.Second

// perform performs one action.
func (s *soak) perform(a action) {
	switch a.kind {
	case plug:
		s.plugIn(a.plug)
	case unplug:
		s.bay.Unplug(s.tb, a.plug)
	case replug:
		s.bay.Unplug(s.tb, a.plug)
		s.plugIn(a.plug)
	case linkFlap:
		ns := []*lab.NetNS{s.bay.Switch, s.bay.Far}[a.plug%2]
		ns.SetLink(s.tb, lab.PlugName(a.plug), false)
		ns.SetLink(s.tb, lab.PlugName(a.plug), true)
	case setMTU:
		s.setMTU(a.plug, a.mtu)
	case reloadGood:
		s.reload(a.file)
	case reloadBad:
		mark := s.book.mark()
		s.write(lab.Spoil(s.file.text(s.names(s.file)), a.way))
		s.daemon.signal(unix.SIGHUP)
		if e := s.daemon.await(mark, "reload_failed", "reloaded"); e.Name == "reloaded" {
			violated("bad files are refused", "way %d was taken", a.way)
		}
		s.write(s.file.text(s.names(s.file))) // the next process reads it
	case flip:
		mark := s.book.mark()
		if _, err := s.bay.Switch.Try("ovs-dpctl", "show", datapath); err != nil {
			violated("the lab works", "%v", err)
		}
		s.daemon.await(mark, "features_restored")
	case burst:
		s.traffic.burst(a.count)
	case deleteDatapath:
		s.gap(a.kind, func() {
			mark := s.book.mark()
			if _, err := s.bay.Switch.Try("ovs-dpctl", "del-dp", datapath); err != nil {
				violated("the lab works", "%v", err)
			}
			s.daemon.await(mark, "datapath_gone")
			s.daemon.await(mark, "ready")
		})
	case stopStart:
		s.gap(a.kind, func() {
			if err := s.daemon.end(unix.SIGTERM); err != nil {
				violated("the daemon stops in good order", "%v", err)
			}
			s.daemon.start()
		})
	case killStart:
		s.gap(a.kind, func() {
			_ = s.daemon.end(unix.SIGKILL) // the exit status is that of SIGKILL
			s.daemon.start()
		})
	case execSelf:
		// Upcalls queue in their sockets meanwhile, so this is no gap.
		mark := s.book.mark()
		s.daemon.signal(unix.SIGUSR2)
		s.daemon.await(mark, "handed_over")
		s.daemon.await(mark, "ready")
		s.daemon.serial++
		s.memory.watch(s.daemon)
		s.changed = time.Now()
	case check:
		s.check()
	}
}

// gap runs do and records the time as a gap.
func (s *soak) gap(k kind, do func()) {
	g := gap{kind: k, from: time.Now()}
	s.book.mu.Lock()
	quiet := s.book.hurt
	s.book.mu.Unlock()
	if s.changed.After(quiet) {
		quiet = s.changed
	}
	g.scarce = time.Since(quiet) < settleLimit
	do()
	s.memory.watch(s.daemon)
	g.to = time.Now()
	s.changed = g.to
	s.gaps = append(s.gaps, g)
}

// plugIn creates a plug. A plug that is not configured is attached by this program, under a port
// number never used before: flows may still output to the numbers of removed ports, which only the
// daemon knows.
func (s *soak) plugIn(i int) {
	s.bay.Plug(s.tb, i)
	if i < stablePlugs+s.file.configured {
		return
	}
	s.number++
	s.withDatapath(func(dp *dpif.Datapath) error {
		_, err := dp.AddVport(lab.PlugName(i), dpif.VportNetdev, odp.PortNo(1000+s.number), 0)
		return err
	})
}

func (s *soak) setMTU(i, mtu int) {
	for _, ns := range []*lab.NetNS{s.bay.Switch, s.bay.Far} {
		err := ns.Do(func() error {
			link, err := vnetlink.LinkByName(lab.PlugName(i))
			if err != nil {
				return err
			}
			return vnetlink.LinkSetMTU(link, mtu)
		})
		if err != nil {
			violated("the lab works", "MTU of plug %d: %v", i, err)
		}
	}
}

// names lists the ports for a configuration.
func (s *soak) names(file settings) []string {
	var names []string
	for i := range stablePlugs + file.configured {
		names = append(names, lab.PlugName(i))
	}
	return names
}

func (s *soak) write(text string) {
	if err := os.WriteFile(s.daemon.file, []byte(text), 0o600); err != nil {
		violated("the lab works", "%v", err)
	}
}

// reload applies a configuration.
func (s *soak) reload(file settings) {
	mark := s.book.mark()
	s.write(file.text(s.names(file)))
	s.book.setLimit(file.flowLimit)
	s.daemon.signal(unix.SIGHUP)
	if e := s.daemon.await(mark, "reloaded", "reload_failed"); e.Name != "reloaded" {
		violated("good files are taken", "%s", e.Text("error"))
	}
	// The limit applies from when it is in force.
	s.book.setLimit(file.flowLimit)
	s.file, s.changed = file, time.Now()
}

// withDatapath calls fn with the datapath, opened on a separate request socket.
func (s *soak) withDatapath(fn func(*dpif.Datapath) error) {
	var conn *netlink.Conn
	err := s.bay.Switch.Do(func() (err error) {
		conn, err = netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{RcvBuf: 1 << 20})
		return err
	})
	if err == nil {
		defer conn.Close()
		var fam *dpif.Families
		if fam, err = dpif.ResolveFamilies(conn); err == nil {
			var dp *dpif.Datapath
			if dp, err = dpif.OpenDatapath(conn, fam, datapath); err == nil {
				err = fn(dp)
			}
		}
	}
	if err != nil {
		violated("the datapath answers", "%v", err)
	}
}

// at formats a time as seconds since the start.
func (s *soak) at(t time.Time) string {
	return fmt.Sprintf("%.1fs", t.Sub(s.started).Seconds())
}
