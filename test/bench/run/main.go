// Command run, inside the lab VM, measures each switch under each load in each round. It prints a
// line for each measurement and writes the results to a file.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"dpifd/test/bench"

	"golang.org/x/sys/unix"
)

// settled is the uptime from which ovs-vswitchd can be started: version 3.1 takes the number of
// CPUs from statistics that are empty in the first ten seconds, and starts no handlers without
// CPUs.
const settled = 15 * time.Second

func main() {
	rounds := flag.Int("rounds", 5, "measure everything this many times")
	only := flag.String("loads", "", "names of the loads to run, separated by commas; all if empty")
	switches := flag.String("switches", strings.Join(bench.Switches, ","),
		"what to measure, separated by commas; NAME=PROGRAM is another build of dpifd, "+
			"NAME='PROGRAM --set KEY=VALUE' one with other settings")
	nice := flag.Int("nice", 0, "run what is measured with this nice value; -10 is that of dpifd's unit and of ovs-ctl")
	out := flag.String("out", "", "write the measurements to this `file`")
	growing := flag.Bool("scale", false, "measure growing numbers of ports and flows instead of loads")
	ports := flag.String("ports", numbers(bench.ScalePorts), "with -scale: numbers of ports")
	flows := flag.String("flows", numbers(bench.ScaleFlows), "with -scale: numbers of flows")
	within := flag.Duration("within", 25*time.Minute, "with -scale: begin no measurement after this time")
	flag.Parse()
	if *growing {
		s := &scale{out: *out, switches: append(strings.Split(*switches, ","), bench.PerCPU), within: *within}
		if err := s.start(*rounds, *ports, *flows); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(*rounds, *nice, *only, strings.Split(*switches, ","), *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(rounds, nice int, only string, switches []string, out string) error {
	loads := slices.Clone(bench.Loads)
	if only != "" {
		names := strings.Split(only, ",")
		loads = slices.DeleteFunc(loads, func(l bench.Load) bool { return !slices.Contains(names, l.Name) })
	}
	if len(loads) == 0 {
		return fmt.Errorf("no load is called %s", only)
	}
	ports := 0
	for _, l := range loads {
		ports = max(ports, l.Ports)
	}
	net, err := newNetwork(ports)
	if err != nil {
		return err
	}
	net.nice = nice
	kernel, ovs, err := versions()
	if err != nil {
		return err
	}
	r := bench.Run{Kernel: kernel, OVS: ovs, CPUs: runtime.NumCPU()}
	if err := settleHost(); err != nil {
		return err
	}
	err = measureAll(net, &r, rounds, loads, switches)
	if out != "" {
		err = errors.Join(err, os.MkdirAll(filepath.Dir(out), 0o755), r.Write(out))
	}
	return err
}

// versions returns the kernel's release and ovs-vswitchd's version line.
func versions() (kernel, ovs string, err error) {
	version, err := exec.Command("ovs-vswitchd", "--version").Output()
	if err != nil {
		return "", "", fmt.Errorf("ovs-vswitchd --version: %w", err)
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "", "", err
	}
	ovs, _, _ = strings.Cut(string(version), "\n")
	return unix.ByteSliceToString(uts.Release[:]), ovs, nil
}

// settleHost waits until ovs-vswitchd can be started.
func settleHost() error {
	up, err := uptime()
	if err == nil {
		time.Sleep(settled - up)
	}
	return err
}

// start runs a scale run with growing numbers of ports and flows.
func (s *scale) start(rounds int, ports, flows string) error {
	ps, err := parseNumbers(ports)
	if err != nil {
		return fmt.Errorf("-ports: %w", err)
	}
	fs, err := parseNumbers(flows)
	if err != nil {
		return fmt.Errorf("-flows: %w", err)
	}
	if s.run, err = newScaleRun(); err != nil {
		return err
	}
	if s.out != "" {
		if err := os.MkdirAll(filepath.Dir(s.out), 0o755); err != nil {
			return err
		}
	}
	slices.Sort(ps)
	slices.Sort(fs)
	return s.measure(rounds, ps, fs)
}

func newScaleRun() (*bench.ScaleRun, error) {
	kernel, ovs, err := versions()
	return &bench.ScaleRun{Kernel: kernel, OVS: ovs, CPUs: runtime.NumCPU()}, err
}

// numbers and parseNumbers convert a list to and from the form of a flag.
func numbers(list []int) string {
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(list)), ","), "[]")
}

func parseNumbers(text string) ([]int, error) {
	var list []int
	for s := range strings.SplitSeq(text, ",") {
		if s == "" {
			continue
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 2 {
			return nil, fmt.Errorf("%q is no number of 2 or more", s)
		}
		list = append(list, n)
	}
	return list, nil
}

// measureAll adds all measurements to r.
func measureAll(net *network, r *bench.Run, rounds int, loads []bench.Load, switches []string) error {
	for round := 1; round <= rounds; round++ {
		for _, load := range loads {
			for _, name := range switches {
				m, err := measure(net, name, load)
				if err != nil {
					return fmt.Errorf("round %d, %s under load %s: %w", round, name, load.Name, err)
				}
				m.Round = round
				fmt.Printf("%d/%d %-10s %-12s arrived %d/%d upcalls %d (%.2f each) lost %d  "+
					"%.1f us/upcall (user %.1f)  %.0f/s  p50 %.2f p99 %.2f ms  %d KiB\n",
					round, rounds, load.Name, name, m.Arrived, m.Sent, m.Missed, m.UpcallsEach(), m.Lost,
					m.CPUPerUpcall(false), m.CPUPerUpcall(true), m.Throughput(), m.P50, m.P99, m.RSSKiB)
				r.Results = append(r.Results, *m)
			}
		}
	}
	return nil
}

// uptime returns the time since boot.
func uptime() (time.Duration, error) {
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, err
	}
	seconds, _, _ := strings.Cut(string(b), " ")
	f, err := strconv.ParseFloat(seconds, 64)
	return time.Duration(f * float64(time.Second)), err
}
