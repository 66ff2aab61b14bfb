package main

import "testing"

func TestTSC(t *testing.T) {
	a, b := tscKHz(), tscKHz()
	if a == 0 {
		t.Skip("no time stamp counter")
	}
	if diff := float64(a-b) / float64(a); diff < -0.01 || diff > 0.01 {
		t.Errorf("measured %d kHz and %d kHz", a, b)
	}
}
