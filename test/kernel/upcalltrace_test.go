//go:build lab

package kernel_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// tracedTimes are the latencies of upcalls in the kernel's trace: from their arrival, or from the time
// at which a sleeping handler had woken up, until their answers were sent. least and most bound what
// the handler can have measured, since it reads its clock between its system calls. queued always
// counts from the arrival.
type tracedTimes struct{ took, least, most, queued latencies }

// upcallTrace traces the netlink messages that the kernel sends to processes, and the system
// calls of the daemon.
type upcallTrace struct {
	*lab.Trace
	ports map[string]uint32 // port IDs of upcall sockets by file descriptor, as the trace has it
}

// traceUpcalls starts a trace, or returns nil if the kernel has no kprobes.
func traceUpcalls(t *testing.T, n *network, d *lab.Daemon) (u *upcallTrace) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", d.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for i, dir := range threads {
		threads[i] = "common_pid == " + filepath.Base(dir)
	}
	ours := strings.Join(threads, " || ")
	u = &upcallTrace{ports: upcallSockets(t, n, d)}
	lab.Has(t, "kprobes", func() (err error) {
		u.Trace, err = lab.StartTrace(t, []string{"p:dpifd/unicast netlink_unicast portid=$arg3:u32"},
			map[string]string{"dpifd/unicast": "", "raw_syscalls/sys_enter": ours, "raw_syscalls/sys_exit": ours})
		if err != nil {
			u = nil
		}
		return err
	})
	return u
}

// upcallSockets returns the port IDs of the daemon's upcall sockets by file descriptor.
func upcallSockets(t *testing.T, n *network, d *lab.Daemon) map[string]uint32 {
	t.Helper()
	var list []netlink.SocketEntry
	if err := n.sw.Do(func() (err error) {
		list, err = netlink.Sockets(unix.NETLINK_GENERIC)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var upcalls []uint32
	for _, v := range n.view(t).vports(t) {
		upcalls = append(upcalls, v.UpcallPIDs...)
	}
	for _, e := range d.Events("dispatch_selected") {
		for _, pid := range e.Fields["upcall_pids"].([]any) {
			upcalls = append(upcalls, uint32(lab.Event{Fields: map[string]any{"pid": pid}}.Int(t, "pid")))
		}
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", d.PID()))
	if err != nil {
		t.Fatal(err)
	}
	ports := map[string]uint32{}
	for _, fd := range fds {
		link, err := os.Readlink(fd)
		if err != nil {
			continue
		}
		i := slices.IndexFunc(list, func(s netlink.SocketEntry) bool { return link == fmt.Sprintf("socket:[%d]", s.Inode) })
		if i >= 0 && slices.Contains(upcalls, list[i].PortID) {
			var number int
			fmt.Sscan(filepath.Base(fd), &number)
			ports[fmt.Sprintf("%x", number)] = list[i].PortID
		}
	}
	return ports
}

// traceThread is what a thread of the daemon has done so far.
type traceThread struct {
	fd          string        // of the system call under way
	entered     time.Duration // when that began
	polled      bool          // epoll was asked since the last answers
	asked, told time.Duration // when that call began and ended
	woken       time.Duration // when a call that slept ended
	batch       []tracedUpcall
	answered    time.Duration // when the batch's answers had been sent, 0 if not yet
}

type tracedUpcall struct {
	arrived, received time.Duration // in the queue; the call that received it began
	asleep            time.Duration // when epoll returned that was under way at its arrival, or 0
	polled            bool
	woken             time.Duration // when the handler had last slept
}

// stop ends the trace and returns the times of all upcalls in it, each in ascending order.
func (u *upcallTrace) stop(t *testing.T) *tracedTimes {
	t.Helper()
	queues, threads, times := map[uint32][]time.Duration{}, map[int]*traceThread{}, &tracedTimes{}
	for _, e := range u.Stop(t) {
		if e.Name == "unicast" {
			var port uint32
			if _, err := fmt.Sscanf(e.Text[strings.LastIndex(e.Text, "portid="):], "portid=%d", &port); err != nil {
				t.Fatalf("trace: %s: %v", e.Text, err)
			}
			queues[port] = append(queues[port], e.At)
			continue
		}
		th := threads[e.Thread]
		if th == nil {
			th = &traceThread{}
			threads[e.Thread] = th
		}
		var number, result int
		if e.Name == "sys_enter" {
			if _, err := fmt.Sscanf(e.Text, "NR %d (", &number); err != nil {
				t.Fatalf("trace: %s: %v", e.Text, err)
			}
			_, args, _ := strings.Cut(e.Text, "(")
			th.fd, _, _ = strings.Cut(args, ",")
			th.entered = e.At
			if th.answered != 0 {
				times.add(th, e.At)
			}
			continue
		}
		if _, err := fmt.Sscanf(e.Text, "NR %d = %d", &number, &result); err != nil {
			t.Fatalf("trace: %s: %v", e.Text, err)
		}
		switch number {
		case unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT:
			th.polled, th.asked, th.told = true, th.entered, e.At
			if th.told-th.asked > 100*time.Microsecond { // more than upcall's asleep
				th.woken = th.told
			}
		case unix.SYS_RECVMMSG:
			port, ok := u.ports[th.fd]
			if !ok || result <= 0 {
				continue
			}
			if len(queues[port]) < result {
				t.Fatalf("trace: %d messages received, %d had arrived", result, len(queues[port]))
			}
			for _, arrived := range queues[port][:result] {
				up := tracedUpcall{arrived: arrived, received: th.entered, polled: th.polled, woken: th.woken}
				if th.polled && th.asked <= arrived && arrived <= th.told {
					up.asleep = th.told
				}
				th.batch = append(th.batch, up)
			}
			queues[port] = queues[port][result:]
		case unix.SYS_SENDMSG:
			if len(th.batch) > 0 {
				th.answered = e.At
			}
		}
	}
	for _, l := range []latencies{times.took, times.least, times.most, times.queued} {
		slices.Sort(l)
	}
	return times
}

// add adds the thread's batch, after which the next system call began at a time.
func (l *tracedTimes) add(th *traceThread, next time.Duration) {
	for _, up := range th.batch {
		least := up.arrived
		if up.polled {
			least = up.received
		}
		l.took = append(l.took, th.answered-max(up.arrived, up.asleep))
		l.least = append(l.least, th.answered-least)
		l.most = append(l.most, next-up.woken)
		l.queued = append(l.queued, th.answered-up.arrived)
	}
	th.batch, th.answered, th.polled = th.batch[:0], 0, false
}

// compare compares a quantile that the daemon reported for count upcalls, in us, with the trace. The
// daemon's figures are rounded up by at most 1/16 and 1 us.
func (l *tracedTimes) compare(t *testing.T, name string, q float64, count uint64, us int64) {
	t.Helper()
	said, others := time.Duration(us)*time.Microsecond, int(count)-len(l.took)
	if others < 0 {
		t.Fatalf("%d upcalls in the trace, the daemon has answered %d", len(l.took), count)
	}
	rank := int(math.Ceil(q*float64(count))) - 1
	took := l.took[min(rank, len(l.took)-1)]
	t.Logf("%-4s daemon %v, trace %v: %+.1f %%", name, said, took, 100*(float64(said)/float64(took)-1))
	// Those that are not in the trace may be the shortest or the longest.
	if low := rank - others; low >= 0 && said < l.least[low] {
		t.Errorf("%s is %v, in the trace at least %v", name, said, l.least[low])
	}
	if most := l.most[min(rank+others, len(l.most)-1)]; rank+others < len(l.most) && said > most+most/16+time.Microsecond {
		t.Errorf("%s is %v, in the trace at most %v", name, said, most)
	}
}
