package dpif

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// cpuDir has the kernel's lists of CPUs (Documentation/admin-guide/cputopology.rst).
const cpuDir = "/sys/devices/system/cpu/"

// maxCPUs bounds what is believed of a list: NR_CPUS of x86 is 8192 at most.
const maxCPUs = 1 << 14

// cpus are the CPUs of the machine: those that may ever be, and those that are.
type cpus struct {
	possible int    // one more than the greatest number there may be
	online   []int  // ascending
	list     string // the kernel's list of the latter
}

func readCPUs() (c cpus, err error) {
	possible, err := readCPUList("possible")
	if err != nil {
		return c, err
	}
	if c.list, err = readFile("online"); err != nil {
		return c, err
	}
	if c.online, err = parseCPUList(c.list); err != nil {
		return c, fmt.Errorf("%sonline: %w", cpuDir, err)
	}
	c.possible = possible[len(possible)-1] + 1
	return c, nil
}

func readCPUList(name string) ([]int, error) {
	text, err := readFile(name)
	if err != nil {
		return nil, err
	}
	list, err := parseCPUList(text)
	if err != nil {
		return nil, fmt.Errorf("%s%s: %w", cpuDir, name, err)
	}
	return list, nil
}

func readFile(name string) (string, error) {
	b, err := os.ReadFile(cpuDir + name)
	return strings.TrimSpace(string(b)), err
}

// parseCPUList reads a list such as 0-3,5, which names one CPU at least, in
// ascending order.
func parseCPUList(text string) ([]int, error) {
	var list []int
	next := 0
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.Atoi(from)
		last, lastErr := strconv.Atoi(to)
		if err != nil || lastErr != nil || first < next || last < first || last >= maxCPUs {
			return nil, fmt.Errorf("%q is no part of a list of CPUs", part)
		}
		for cpu := first; cpu <= last; cpu++ {
			list = append(list, cpu)
		}
		next = last + 1
	}
	return list, nil
}

// spread gives each possible CPU one of the values in turn, the online ones first,
// so that each value serves as many of these as the others.
func spread[T any](c cpus, values []T) []T {
	out := make([]T, c.possible)
	for cpu := range out {
		out[cpu] = values[cpu%len(values)]
	}
	for i, cpu := range c.online {
		out[cpu] = values[i%len(values)]
	}
	return out
}
