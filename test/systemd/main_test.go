//go:build lab && systemd

package systemd_test

import (
	"testing"

	"dpifd/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
