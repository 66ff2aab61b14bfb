//go:build lab

package kernel_test

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMeterDeleted: the daemon recreates a meter that another program deletes.
func TestMeterDeleted(t *testing.T) {
	t.Parallel()
	needMeters(t)
	n := newQuietNetwork(t, 2)
	d := n.run(t,
		settings{"ports": "[{name: " + n.hosts[0].port + ", storm: {broadcast: 100/s}}, {name: " + n.hosts[1].port + "}]"})
	v := n.view(t)
	var id uint32
	eventually(t, waitLimit, "a meter", func() bool {
		for id = 0; id < 100; id++ {
			if _, err := v.MeterStats(id); err == nil {
				return true
			} else if !errors.Is(err, unix.ENOENT) {
				t.Fatal(err)
			}
		}
		return false
	})
	d.Wait(t, time.Now(), "stats", nil) // the daemon reads back each meter that it has set
	since := time.Now()
	if err := v.DeleteMeter(id); err != nil {
		t.Fatal(err)
	}
	if e := d.Wait(t, since, "meter_restored", nil); e.Int(t, "meter") != int64(id) {
		t.Errorf("meter_restored: %v, want meter %d", e.Fields, id)
	}
	if _, err := v.MeterStats(id); err != nil {
		t.Error(err)
	}
}
