//go:build lab

package lab

import (
	"fmt"
	"os"
	"testing"
)

// mayLack names the features that the default kernel, Debian's 6.1, lacks: it is newer than netlink
// rings and older than the upcall statistics of vports and the drop action.
var mayLack = map[string]bool{
	"rings":        true,
	"upcall-stats": true,
	"drop-action":  true,
}

// Need tries a feature of the kernel and skips the test, with the error as the reason, if the
// kernel lacks it. With DPIFD_LAB_STRICT=1 the test fails instead, unless the feature is in
// mayLack.
func Need(t testing.TB, feature string, try func() error) {
	t.Helper()
	if err := lacks(t, feature, try); err != nil {
		t.Skip(err)
	}
}

// Has is Need for a part of a test: it logs a missing feature and reports whether the kernel has
// it.
func Has(t testing.TB, feature string, try func() error) bool {
	t.Helper()
	err := lacks(t, feature, try)
	if err != nil {
		t.Log(err)
	}
	return err == nil
}

func lacks(t testing.TB, feature string, try func() error) error {
	t.Helper()
	err := try()
	if err == nil {
		return nil
	}
	if Strict() && !mayLack[feature] {
		t.Fatalf("kernel lacks %s, which this kernel must have: %v", feature, err)
	}
	return fmt.Errorf("kernel lacks %s: %w", feature, err)
}

// Strict reports whether the kernel is the default one, which must have all features that it can.
func Strict() bool { return os.Getenv("DPIFD_LAB_STRICT") == "1" }
