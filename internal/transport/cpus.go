package transport

import (
	"fmt"
	"io"
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

// cpuReader reads the CPUs again and again by one descriptor: a file opened for
// each look would need one when there may be none left.
type cpuReader struct {
	possible int
	online   *os.File
	buf      [maxCPUList]byte
}

// maxCPUList is the greatest length of the kernel's list: a page.
const maxCPUList = 4096

func openCPUs() (*cpuReader, error) {
	const name = cpuDir + "possible"
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	possible, err := parseCPUList(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	online, err := os.Open(cpuDir + "online")
	if err != nil {
		return nil, err
	}
	return &cpuReader{possible: possible[len(possible)-1] + 1, online: online}, nil
}

func (r *cpuReader) read() (cpus, error) {
	n, err := r.online.ReadAt(r.buf[:], 0)
	if err != nil && err != io.EOF {
		return cpus{}, err
	}
	c := cpus{possible: r.possible, list: strings.TrimSpace(string(r.buf[:n]))}
	if c.online, err = parseCPUList(c.list); err != nil {
		return c, fmt.Errorf("%s: %w", r.online.Name(), err)
	}
	return c, nil
}

// close is idempotent, and nothing to a reader that was not opened.
func (r *cpuReader) close() {
	if r != nil {
		_ = r.online.Close()
	}
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
			return nil, fmt.Errorf("%q is not part of a list of CPUs", part)
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
