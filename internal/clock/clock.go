// Package clock reads CLOCK_MONOTONIC, the clock in which the kernel tells when a
// flow was used (OVS_FLOW_ATTR_USED), in which policies keep their entries, and in
// which the service manager is told of a reload.
package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// base pairs one reading of CLOCK_MONOTONIC with one of Go's monotonic clock,
// which is read without a system call afterwards.
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
