// Package clock reads CLOCK_MONOTONIC, the clock of the kernel's time of use of a flow
// (OVS_FLOW_ATTR_USED), of the policies' entries, and of reload messages to the service
// manager.
package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// base is one reading of CLOCK_MONOTONIC and of Go's monotonic clock, which is then read
// without a system call.
var base = func() (b struct {
	monotonic time.Duration
	at        time.Time
}) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("CLOCK_MONOTONIC: " + err.Error()) // every Linux has it
	}
	b.monotonic, b.at = time.Duration(ts.Nano()), time.Now()
	return b
}()

// Now returns CLOCK_MONOTONIC.
func Now() time.Duration { return base.monotonic + time.Since(base.at) }

// NowMS returns CLOCK_MONOTONIC in milliseconds.
func NowMS() int64 { return Now().Milliseconds() }
