//go:build lab

package lab

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// Census counts resources of a process that may leak.
type Census struct {
	FDs      int // open file descriptors
	Mappings int // memory mappings
	Threads  int
	RSSKiB   int // resident memory
}

func (c Census) String() string {
	return fmt.Sprintf("%d fds, %d mappings, %d threads, %d KiB", c.FDs, c.Mappings, c.Threads, c.RSSKiB)
}

// TakeCensus counts the resources of the process with the given id.
func TakeCensus(pid int) (Census, error) {
	var c Census
	dir := "/proc/" + strconv.Itoa(pid)
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return c, err
	}
	c.FDs = len(fds)
	maps, err := os.ReadFile(dir + "/maps")
	if err != nil {
		return c, err
	}
	c.Mappings = bytes.Count(maps, []byte("\n"))
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return c, err
	}
	for line := range bytes.Lines(status) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		field := bytes.Fields(value)
		if len(field) == 0 {
			continue
		}
		n, _ := strconv.Atoi(string(field[0])) // 0 if it is not a number
		switch string(key) {
		case "Threads":
			c.Threads = n
		case "VmRSS":
			c.RSSKiB = n
		}
	}
	return c, nil
}
