package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"dpifd/test/bench"
	"dpifd/test/bench/load"
)

const (
	learnLimit = 20 * time.Second
	// userHZ is the unit of CPU times in /proc, independent of the kernel's HZ.
	userHZ = 100
)

// measure runs one switch under one load.
func measure(n *network, name string, l bench.Load) (m *bench.Result, err error) {
	s, err := start(name, setup{ports: n.ports(l.Ports), flood: l.Unknown, nice: n.nice})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	m = &bench.Result{Load: l.Name, Switch: name}
	var drive func() error
	switch {
	case l.Transactions > 0:
		drive = func() error { return n.transactions(m, l.Transactions) }
	case l.Conversations > 0:
		drive = func() error { return n.conversations(m, l.Conversations) }
	default:
		f, err := n.prepare(l)
		if err != nil {
			return nil, err
		}
		defer f.close()
		drive = func() error { return f.drive(m, s) }
	}
	before, err := s.usage()
	if err != nil {
		return nil, err
	}
	if err := drive(); err != nil {
		return nil, err
	}
	after, err := s.usage()
	if err != nil {
		return nil, err
	}
	m.User, m.System = after.user-before.user, after.system-before.system
	m.Missed, m.Lost = after.missed-before.missed, after.lost-before.lost
	m.RSSKiB, err = s.rss()
	return m, err
}

// usage holds the resources that the switch has used so far.
type usage struct {
	user, system float64 // CPU seconds
	missed, lost uint64
}

// cpu is the sum of user and system time.
func (u usage) cpu() float64 { return u.user + u.system }

func (s *vswitch) usage() (u usage, err error) {
	pid := s.cmd.Process.Pid
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	if u.user, u.system, err = cpuTimes(string(stat)); err != nil {
		return u, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	ran, err := ranFor(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return u, err
	}
	u.system = ran - u.user
	info, err := s.dp.Info()
	u.missed, u.lost = info.Stats.Missed, info.Stats.Lost
	return u, err
}

// cpuTimes reads utime and stime from /proc/PID/stat, in seconds. The process's name ends with the
// last parenthesis; proc(5) counts fields from 1, and the field after the name is the third.
func cpuTimes(stat string) (user, system float64, err error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, 0, fmt.Errorf("%d fields after the name", len(fields))
	}
	u, err := strconv.ParseUint(fields[14-3], 10, 64)
	if err != nil {
		return 0, 0, err
	}
	t, err := strconv.ParseUint(fields[15-3], 10, 64)
	return float64(u) / userHZ, float64(t) / userHZ, err
}

// ranFor sums the run time of threads, in seconds, from their schedstat files. Other files in /proc
// have a resolution of 10 ms.
func ranFor(files string) (float64, error) {
	threads, err := filepath.Glob(files)
	if err != nil {
		return 0, err
	}
	if len(threads) == 0 {
		return 0, fmt.Errorf("%s: %w", files, os.ErrNotExist)
	}
	sum := 0.0
	for _, file := range threads {
		stat, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread has just ended
		}
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(stat), " ")
		ns, err := strconv.ParseUint(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		sum += float64(ns) / 1e9
	}
	return sum, nil
}

// rss returns resident memory in KiB. Counters in other files of /proc lag behind.
func (s *vswitch) rss() (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	return parseRSS(string(b))
}

// parseRSS parses the line "Rss:  123 kB" of smaps_rollup.
func parseRSS(rollup string) (int, error) {
	_, rest, _ := strings.Cut(rollup, "\nRss:")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	return strconv.Atoi(number)
}

// frames is a prepared load of frames.
type frames struct {
	load   bench.Load
	sender *load.Sender
	sink   *load.Socket
	frames [][]byte
}

// prepare opens the sockets, builds the frames, and makes the switch learn the sink.
func (n *network) prepare(l bench.Load) (f *frames, err error) {
	f = &frames{load: l}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if err := inside(n.receiver, func() (err error) {
		f.sink, err = load.Open(receiving)
		return err
	}); err != nil {
		return f, err
	}
	to := load.Sink
	if l.Unknown {
		to = load.Nobody
	}
	for i := range l.Count {
		f.frames = append(f.frames, load.Frame(to, uint32(i), l.Size))
	}
	var witness *load.Socket
	if err := inside(n.sender, func() (err error) {
		if f.sender, err = load.OpenSender(n.senders[:l.Ports-1]); err != nil {
			return err
		}
		witness, err = load.Open(n.senders[0])
		return err
	}); err != nil {
		return f, err
	}
	defer witness.Close()
	if err := f.sink.Send(load.Hello()); err != nil {
		return f, err
	}
	_, err = witness.Receive(1, timeout(learnLimit, "the sink's first frame"))
	return f, err
}

// timeout returns a condition for load.Socket.Receive that fails after limit.
func timeout(limit time.Duration, what string) func() (bool, error) {
	deadline := time.Now().Add(limit)
	return func() (bool, error) {
		if time.Now().After(deadline) {
			return true, fmt.Errorf("%s did not arrive within %v", what, limit)
		}
		return false, nil
	}
}

func (f *frames) close() {
	if f.sender != nil {
		f.sender.Close()
	}
	if f.sink != nil {
		f.sink.Close()
	}
}

// drive sends the frames and receives them. It ends when no frame has come for a while and the
// switch's queues are empty.
func (f *frames) drive(m *bench.Result, s *vswitch) error {
	from, stopFlood := f.sender.Sources, func() error { return nil }
	if f.load.Flood > 0 {
		from = from[1:]
		stopFlood = f.startFlood(time.Duration(f.load.Flood) * time.Millisecond)
	}
	first, err := load.Paced(from, f.frames, f.load.Rate)
	if err := errors.Join(err, stopFlood()); err != nil {
		return err
	}
	quiet := 0
	var last uint64
	a, err := f.sink.Receive(f.load.Count, func() (bool, error) {
		info, err := s.dp.Info()
		seen := info.Stats.Hit + info.Stats.Missed + info.Stats.Flows
		if quiet++; seen != last {
			quiet, last = 0, seen
		}
		return quiet >= 5, err
	})
	if err != nil {
		return err
	}
	if dropped, err := f.sink.Dropped(); err != nil || (dropped > 0 && f.load.Flood == 0) {
		return errors.Join(err, fmt.Errorf("the receiving socket dropped %d frames", dropped))
	}
	m.Sent, m.Arrived = f.load.Count, len(a.Latency)
	m.Seconds = a.Last.Sub(first).Seconds()
	setLatency(m, a.Latency)
	return nil
}

func setLatency(m *bench.Result, sorted []time.Duration) {
	ms := func(p int) float64 { return float64(bench.Percentile(sorted, p)) / 1e6 }
	m.P50, m.P99, m.Max = ms(50), ms(99), ms(100)
}

// startFlood sends new flows from the first port as fast as possible; their numbers are above the
// measured ones. The returned function waits for the end.
func (f *frames) startFlood(length time.Duration) func() error {
	done := make(chan error, 1)
	go func() {
		number := uint32(f.load.Count)
		frame := load.Frame(load.Sink, number, f.load.Size)
		for end := time.Now().Add(length); time.Now().Before(end); number++ {
			load.Renumber(frame, number)
			if err := f.sender.Sources[0].Send(frame); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	return func() error { return <-done }
}
