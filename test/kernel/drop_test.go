//go:build lab

package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// TestDropReasons: drop flows carry a reason if the kernel has the drop action, otherwise they have
// no actions.
func TestDropReasons(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	n.run(t, settings{"ports": fmt.Sprintf("[{name: %s, vlan: {access: 10}}, {name: %s, vlan: {access: 10}}]",
		n.hosts[0].port, n.hosts[1].port)})
	v := n.view(t)
	forwarding, refusing := "drop", "drop"
	if lab.Has(t, "drop-action", func() error {
		if !v.HasDrop() {
			return unix.EINVAL
		}
		return nil
	}) {
		forwarding, refusing = "drop(0)", "drop(1)"
	}
	p := n.sockets(t)
	send(t, p[0], frame(t, "01:80:c2:00:00:00", "02:51:00:00:02:01"))
	send(t, p[0], tagged(t, 20, broadcast, "02:51:00:00:02:02"))
	for _, want := range []struct{ part, actions string }{{"dst=01:80:c2", forwarding}, {"vlan(", refusing}} {
		eventually(t, waitLimit, "a flow with "+want.part+" has "+want.actions, func() bool {
			for match, actions := range v.texts(t) {
				if strings.Contains(match, want.part) {
					return actions == want.actions
				}
			}
			return false
		})
	}
}
