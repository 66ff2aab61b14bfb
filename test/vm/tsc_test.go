package main

import (
	"runtime"
	"testing"
)

func TestTSC(t *testing.T) {
	a, b := tscKHz(), tscKHz()
	if runtime.GOARCH != "amd64" {
		t.Skip("only amd64 has a time stamp counter")
	}
	if a == 0 {
		t.Fatal("no frequency was measured")
	}
	if diff := float64(a-b) / float64(a); diff < -0.01 || diff > 0.01 {
		t.Errorf("measured %d kHz and %d kHz", a, b)
	}
}
