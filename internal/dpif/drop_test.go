package dpif_test

import (
	"testing"

	"dpifd/internal/dpif/dpiftest"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// TestHasDrop: support is detected from the kernel's answer to a packet with a drop action.
func TestHasDrop(t *testing.T) {
	for errno, want := range map[unix.Errno]bool{0: true, unix.EINVAL: false} {
		var actions []byte
		d := dpiftest.NewDatapath(t, func(r dpiftest.Request) ([][]byte, unix.Errno) {
			actions = netlink.FindAttr(r.Attrs, 3) // OVS_PACKET_ATTR_ACTIONS
			return nil, errno
		})
		if got := d.HasDrop(); got != want {
			t.Errorf("errno %d: %v", errno, got)
		}
		if drop := netlink.FindAttr(actions, odp.ActionAttrDrop); len(drop) != 4 {
			t.Errorf("errno %d: asked with actions %x", errno, actions)
		}
	}
}
