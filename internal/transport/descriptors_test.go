package transport

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEnoughDescriptors(t *testing.T) {
	for _, tt := range []struct {
		sockets, open int
		limit         uint64
		ok            bool
	}{
		{2, 20, 1024, true},
		{988, 20, 1024, true},
		{989, 20, 1024, false},
		{1000, 22, 1024, false},
		{1000, 22, 1 << 20, true},
		{-3, 20, 36, true},
	} {
		err := enoughDescriptors(tt.sockets, tt.open, tt.limit)
		if (err == nil) != tt.ok {
			t.Errorf("%d sockets, %d open of %d: %v", tt.sockets, tt.open, tt.limit, err)
		}
		if err != nil && (!errors.Is(err, unix.EMFILE) || !strings.Contains(err.Error(), "LimitNOFILE")) {
			t.Errorf("%v", err)
		}
	}
}
