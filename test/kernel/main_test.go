//go:build lab

package kernel_test

import (
	"testing"

	"dpifd/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
