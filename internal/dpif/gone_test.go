package dpif

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestIsGone(t *testing.T) {
	_, missing := os.Open("/nowhere/at/all")
	for _, tt := range []struct {
		err  error
		gone bool
	}{
		{fmt.Errorf("datapath dp0: %w", unix.ENODEV), true},
		{fmt.Errorf("flow: %w", unix.ENOENT), true},
		{unix.EBUSY, false},
		{nil, false},
		{fmt.Errorf("list of CPUs: %w", missing), false},
	} {
		if got := IsGone(tt.err); got != tt.gone {
			t.Errorf("%v: %v", tt.err, got)
		}
	}
}
