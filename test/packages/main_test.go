//go:build lab && systemd

package packages_test

import (
	"testing"

	"dpifd/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
