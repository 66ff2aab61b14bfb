//go:build lab

package kernel_test

import (
	"fmt"
	"testing"
	"time"

	"dpifd/internal/lab"
)

// TestDatapathGoesAway: a datapath that another program deletes is created again, or awaited if the
// daemon may not create it, and then served again.
func TestDatapathGoesAway(t *testing.T) {
	t.Parallel()
	for _, create := range []string{"true", "false"} {
		t.Run("create "+create, func(t *testing.T) {
			n := newQuietNetwork(t, 2)
			if create == "false" {
				n.sw.DPCtl(t, "add-dp", n.dpName)
			}
			d := n.run(t, settings{"datapath": fmt.Sprintf("{name: %s, create: %s}", n.dpName, create)})
			p := n.sockets(t)
			exchange(t, p[0], p[1])
			for range 3 {
				since := time.Now()
				n.sw.DPCtl(t, "del-dp", n.dpName)
				if e := d.Wait(t, since, "datapath_gone", nil); e.Text("create") != create {
					t.Errorf("datapath_gone: %v, want create %s", e.Fields, create)
				}
				if create == "false" {
					n.sw.DPCtl(t, "add-dp", n.dpName)
				}
				if e := d.Wait(t, since, "datapath_opened", nil); e.Text("created") != create {
					t.Errorf("datapath_opened: %v, want created %s", e.Fields, create)
				}
				d.Wait(t, since, "ready", nil)
				exchange(t, p[0], p[1])
			}
			// Totals continue from one datapath to the next; each exchange causes two upcalls.
			d.Wait(t, time.Now(), "stats", func(e lab.Event) bool { return e.Int(t, "upcalls") >= 8 })
			stop(t, d)
		})
	}
}
