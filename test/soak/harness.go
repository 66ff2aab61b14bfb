//go:build lab

package main

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

// violation is an invariant that did not hold.
type violation struct {
	invariant, detail string
	at                time.Time
}

func (v *violation) Error() string { return v.invariant + ": " + v.detail }

// violated ends the run.
func violated(invariant, format string, args ...any) {
	panic(&violation{invariant, fmt.Sprintf(format, args...), time.Now()})
}

// harness stands in for the test that package lab works for. What fails there
// ends the run. Only the goroutine of main may use it.
type harness struct {
	testing.TB // none: what is not defined here is not used
	cleanups   []func()
}

func (h *harness) Helper()             {}
func (h *harness) Cleanup(fn func())   { h.cleanups = append(h.cleanups, fn) }
func (h *harness) Logf(string, ...any) {}
func (h *harness) Failed() bool        { return false } // book has the log

func (h *harness) Fatal(args ...any) { violated("the lab works", "%s", fmt.Sprint(args...)) }

func (h *harness) Fatalf(format string, args ...any) { violated("the lab works", format, args...) }

func (h *harness) Errorf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "soak: "+format+"\n", args...)
}

// close removes what was made, last things first.
func (h *harness) close() {
	for _, fn := range slices.Backward(h.cleanups) {
		fn()
	}
	h.cleanups = nil
}
