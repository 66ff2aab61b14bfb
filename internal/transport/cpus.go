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

// maxCPUs limits the numbers accepted from a list: NR_CPUS of x86 is at most 8192.
const maxCPUs = 1 << 14

// cpus are the possible and the online CPUs of the machine.
type cpus struct {
	possible int    // greatest possible number plus 1
	online   []int  // ascending
	list     string // the kernel's list of online CPUs
}

// cpuReader reads the CPUs repeatedly with one descriptor, because opening a file each time
// could fail for lack of descriptors.
type cpuReader struct {
	possible int
	online   *os.File
	buf      [maxCPUList]byte
}

// maxCPUList is the maximum length of the kernel's list: a page.
const maxCPUList = 4096

func openCPUs() (*cpuReader, error) {
	const name = cpuDir + "possible"
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("per-CPU dispatch needs the list of CPUs: %w", err)
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

// close is idempotent, and does nothing if the reader was not opened.
func (r *cpuReader) close() {
	if r != nil {
		_ = r.online.Close()
	}
}

// parseCPUList reads a list such as 0-3,5 of at least one CPU, in ascending order.
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

// spread assigns the values to the possible CPUs in turn, online CPUs first, so that all values
// serve equally many online CPUs.
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
