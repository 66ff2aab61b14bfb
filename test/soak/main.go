//go:build lab

package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

func main() {
	length := flag.Duration("time", 10*time.Minute, "how long to run")
	seed := flag.Uint64("seed", 0, "which actions to do; 0 chooses one")
	dispatch := flag.String("dispatch", "", "per-vport or per-cpu; the seed draws one if it is empty")
	dir := flag.String("log", "/tmp/soak", "folder for dpifd.log, the daemon's log, and actions.log")
	flag.Parse()
	if flag.NArg() > 0 || *length <= 0 || *dispatch != "" && !slices.Contains(dispatches, *dispatch) {
		flag.Usage()
		os.Exit(2)
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())%1e9 + 1
	}
	if *dispatch == "" {
		*dispatch = drawDispatch(*seed)
	}
	if err := run(*length, *seed, *dispatch, *dir); err != nil {
		fmt.Println("soak:", err)
		os.Exit(1)
	}
}

// soak is one run.
type soak struct {
	tb      *harness
	seed    uint64
	started time.Time
	plan    *plan
	actions io.Writer // gets a line for each action
	bay     *lab.Patchbay
	book    *book
	daemon  *daemon
	traffic *traffic
	memory  *memory

	file    settings  // in force
	changed time.Time // when the file or the daemon last changed
	number  int       // number of ports attached by this program
	done    map[kind]int
	gaps    []gap // since the last check

	checked    int   // frames checked so far
	explained  int64 // losses in the log by then
	checks     int
	total      account
	base       *base
	census     lab.Census // at the last check, like the next two fields
	goroutines int
	ports      int
}

func run(length time.Duration, seed uint64, dispatch, dir string) error {
	// The per-CPU backlog queue between two devices, by default 1,000 frames, drops frames that the
	// daemon has forwarded, which the daemon cannot count.
	if err := os.WriteFile("/proc/sys/net/core/netdev_max_backlog", []byte("100000"), 0o644); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "dpifd.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	actions, err := os.Create(filepath.Join(dir, "actions.log"))
	if err != nil {
		return err
	}
	defer actions.Close()
	fmt.Printf("soak: %v with seed %d, dispatch %s\n", length, seed, dispatch)
	s := &soak{tb: &harness{}, seed: seed, plan: newPlan(seed, dispatch), actions: actions, book: newBook(log),
		done: map[kind]int{}}
	defer s.tb.close()
	v := s.guarded(length, dir)
	s.table(length)
	if v == nil {
		fmt.Println("soak: all invariants held")
		return nil
	}
	fmt.Printf("soak: the log's last lines:\n%s\n", s.book.excerpt())
	return fmt.Errorf("VIOLATED at %s (%s): %w\n"+
		"soak: the same actions again: make soak SOAKTIME=%v SOAKSEED=%d SOAKDISPATCH=%s",
		s.at(v.at), v.at.UTC().Format(time.RFC3339Nano), v, length, seed, dispatch)
}

// guarded runs until the time is over, and returns the violation, if any.
func (s *soak) guarded(length time.Duration, dir string) (v *violation) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *violation:
			v = r
		default:
			v = &violation{"the soak itself works", fmt.Sprintf("%v\n%s", r, debug.Stack()), time.Now()}
		}
	}()
	s.started = time.Now()
	s.setUp(dir)
	progress := time.Now()
	for time.Since(s.started) < length {
		a := s.plan.next()
		time.Sleep(a.pause)
		s.daemon.look()
		fmt.Fprintf(s.actions, "%s %s\n", s.at(time.Now()), a)
		s.perform(a)
		s.done[a.kind]++
		if time.Since(progress) >= progressInterval {
			progress = time.Now()
			s.progress()
		}
	}
	s.check()
	s.traffic.stop()
	if err := s.daemon.end(unix.SIGTERM); err != nil {
		violated("the daemon stops in good order", "%v", err)
	}
	s.memory.stop()
	if v := s.book.failure(); v != nil {
		panic(v)
	}
	if err := s.memory.judge(); err != nil {
		violated("resident memory is flat", "%v", err)
	}
	return nil
}

// setUp creates the topology and starts the daemon and the traffic.
func (s *soak) setUp(dir string) {
	s.bay = lab.NewPatchbay(s.tb, lab.NewNetNS(s.tb, "sw"), witness)
	for i := range stablePlugs {
		s.bay.Plug(s.tb, i)
	}
	s.daemon = &daemon{tb: s.tb, ns: s.bay.Switch, file: filepath.Join(dir, "dpifd.yaml"), book: s.book}
	s.file, s.changed = s.plan.first(), time.Now()
	s.write(s.file.text(s.names(s.file)))
	s.book.setLimit(s.file.flowLimit)
	s.daemon.start()
	s.memory = watchMemory(s.daemon)
	// All stations are learned before frames are counted.
	for i := range stablePlugs {
		to := steadyLeft
		if i == steadyLeft {
			to = steadyRight
		}
		if _, err := s.bay.Send(i, 0, to, other); err != nil {
			violated("the lab works", "%v", err)
		}
	}
	s.traffic = startTraffic(s.bay, s.seed)
	s.check()
}
