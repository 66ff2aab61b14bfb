package command

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"
)

// TestWatch: print is called repeatedly until a signal, once without --watch, and stops at an
// error.
func TestWatch(t *testing.T) {
	for _, tc := range []struct {
		again repeat
		fail  int // print fails at this call
		want  int // calls
	}{{repeat{}, 0, 1}, {repeat{minInterval}, 0, 3}, {repeat{minInterval}, 2, 2}} {
		n, wrong := 0, errors.New("wrong")
		err := tc.again.do(&bytes.Buffer{}, func() error {
			if n++; n == tc.fail {
				return wrong
			}
			if n == 3 {
				return syscall.Kill(os.Getpid(), syscall.SIGINT)
			}
			return nil
		})
		if n != tc.want || (err != nil) != (tc.fail > 0) {
			t.Errorf("%+v: %d calls, %v", tc, n, err)
		}
	}
}
