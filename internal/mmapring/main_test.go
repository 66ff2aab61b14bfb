package mmapring

import (
	"testing"

	"go.uber.org/goleak"

	"dpifd/internal/mmapring/ringtest"
)

func TestMain(m *testing.M) {
	ringtest.Main()
	goleak.VerifyTestMain(m)
}
