//go:build lab

package lab

import (
	"os"
	"testing"
)

// mayLack names the features that the default kernel, Debian's 6.1, cannot
// have: it is newer than netlink rings and older than the vports' upcall
// statistics.
var mayLack = map[string]bool{
	"rings":        true,
	"upcall-stats": true,
}

// Need tries a feature of the kernel and skips the test, with the error as the
// reason, if the kernel lacks it. With DPIFD_LAB_STRICT=1 a feature that the
// default kernel ought to have fails the test instead.
func Need(t testing.TB, feature string, try func() error) {
	t.Helper()
	err := try()
	if err == nil {
		return
	}
	if os.Getenv("DPIFD_LAB_STRICT") == "1" && !mayLack[feature] {
		t.Fatalf("kernel lacks %s, which this kernel must have: %v", feature, err)
	}
	t.Skipf("kernel lacks %s: %v", feature, err)
}
