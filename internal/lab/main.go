//go:build lab

package lab

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

// Main runs the tests of a package that needs the lab, checks that no goroutine outlives them, and
// exits. It is the whole body of a TestMain. Outside of the lab VM it refuses to run: these tests
// create datapaths and namespaces, and load modules.
func Main(m *testing.M) {
	if err := inVM(); err != nil {
		fmt.Fprintf(os.Stderr, "%v; run `make kernel-test`\n", err)
		os.Exit(1)
	}
	if err := os.WriteFile(backlog, []byte("100000"), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	startMeter()
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("dpifd/internal/lab.measureStalls"))
}

// backlog limits each CPU's queue between two devices. The kernel's default of 1,000 drops frames
// without a count when parallel tests send.
const backlog = "/proc/sys/net/core/netdev_max_backlog"

// inVM returns nil if this process is root in the lab VM, whose /init exports LAB_VM.
func inVM() error {
	if os.Getenv("LAB_VM") != "1" {
		return errors.New("not inside the lab VM")
	}
	if os.Geteuid() != 0 {
		return errors.New("not root inside the lab VM")
	}
	return nil
}

var serial atomic.Uint32

// Name returns a name that starts with hint and is unique in this process. It fits IFNAMSIZ (15
// bytes) if hint has at most 10 bytes.
func Name(hint string) string {
	return fmt.Sprintf("%s-%d", hint, serial.Add(1))
}
