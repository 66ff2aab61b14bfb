package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"dpifd/test/bench"
)

// TestScaleKeepsPoints: each point is in the file as soon as it is measured; failed points are
// there with the reason.
func TestScaleKeepsPoints(t *testing.T) {
	s := &scale{run: &bench.ScaleRun{}, out: filepath.Join(t.TempDir(), "scale.json"), within: time.Minute}
	late := fmt.Errorf("start: %w", errors.Join(&lateError{notReady, startLimit}, errors.New("signal: alarm clock")))
	for i, c := range []struct {
		failed error
		want   string
	}{
		{nil, ""},
		{late, "not ready within 120 s"},
		{errors.New("netlink: no such device"), "failed, see the output of the run"},
		{s.late(), "not begun within 60 s"},
	} {
		if err := s.add(&bench.ScalePoint{Switch: bench.Dpifd, Ports: i + 2}, c.failed); err != nil {
			t.Fatal(err)
		}
		r, err := bench.ReadScaleRun(s.out)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Points) != i+1 || r.Points[i].Failed != c.want {
			t.Errorf("after point %d the file has %+v; want %q last", i, r.Points, c.want)
		}
	}
	s.end = time.Now().Add(time.Hour)
	if err := s.late(); err != nil {
		t.Errorf("in time: %v", err)
	}
}
