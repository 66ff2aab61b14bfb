//go:build lab

package main

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

// violation is an invariant that does not hold.
type violation struct {
	invariant, detail string
	at                time.Time
}

func (v *violation) Error() string { return v.invariant + ": " + v.detail }

// violated ends the run.
func violated(invariant, format string, args ...any) {
	panic(&violation{invariant, fmt.Sprintf(format, args...), time.Now()})
}

// harness is the testing.TB for package lab. A failure ends the run. Only the goroutine of main may
// use it.
type harness struct {
	testing.TB // nil: only the methods defined here are called
	cleanups   []func()
}

func (h *harness) Helper()             {}
func (h *harness) Cleanup(fn func())   { h.cleanups = append(h.cleanups, fn) }
func (h *harness) Logf(string, ...any) {}
func (h *harness) Failed() bool        { return false } // book keeps the log

func (h *harness) Fatal(args ...any) { violated("the lab works", "%s", fmt.Sprint(args...)) }

func (h *harness) Fatalf(format string, args ...any) { violated("the lab works", format, args...) }

func (h *harness) Errorf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "soak: "+format+"\n", args...)
}

// close runs the cleanup functions, last first.
func (h *harness) close() {
	for _, fn := range slices.Backward(h.cleanups) {
		fn()
	}
	h.cleanups = nil
}
