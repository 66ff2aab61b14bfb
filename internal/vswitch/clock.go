package vswitch

import (
	"time"

	"golang.org/x/sys/unix"
)

// clockBase pairs one reading of CLOCK_MONOTONIC, the clock of
// OVS_FLOW_ATTR_USED, with one of Go's monotonic clock, which is read without
// a system call afterwards.
var clockBase = func() (b struct {
	ms int64
	at time.Time
}) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("CLOCK_MONOTONIC: " + err.Error()) // every Linux has it
	}
	b.ms, b.at = ts.Nano()/int64(time.Millisecond), time.Now()
	return b
}()

// monotonic returns CLOCK_MONOTONIC.
func monotonic() time.Duration {
	return time.Duration(clockBase.ms)*time.Millisecond + time.Since(clockBase.at)
}

// NowMS returns CLOCK_MONOTONIC in milliseconds, the time that policies are
// given and have their entries in.
func NowMS() int64 { return nowMS() }

// nowMS returns CLOCK_MONOTONIC in milliseconds.
func nowMS() int64 { return monotonic().Milliseconds() }

// MonotonicMS returns CLOCK_MONOTONIC in milliseconds, the clock of
// Flow.UsedMS.
func MonotonicMS() int64 { return nowMS() }
