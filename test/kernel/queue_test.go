//go:build lab

package kernel_test

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/endpoint"
	"dpifd/internal/lab"
)

// TestQueueHolds fills the queue of a port whose handler is stopped. Each message uses at least 512
// bytes of it, which bounds the age of messages in a full queue.
func TestQueueHolds(t *testing.T) {
	t.Parallel()
	const frames, least = 8000, 512
	n := newQuietNetwork(t, 2)
	d := n.run(t, settings{"socket": "{rcvbuf: 1MiB}", "flows": "{max_idle: 60s}"})
	var granted int64
	if perCPU {
		e := d.Wait(t, time.Time{}, "dispatch_selected", nil)
		granted = e.Int(t, "rcvbuf_bytes") * int64(runtime.NumCPU()) // each CPU may fill one socket
	} else {
		e := d.Wait(t, time.Time{}, "transport_selected", func(e lab.Event) bool { return e.Text("port") == n.hosts[0].port })
		if e.Text("transport") == "ring" {
			t.Skip("a ring holds as many messages as it has frames")
		}
		granted = e.Int(t, "rcvbuf_bytes")
	}
	v := n.view(t)
	p := n.sockets(t)
	to := sink(t, p)
	serial := uint32(0)
	for _, size := range []int{60, 200, 1000, 1450, 1500} {
		f := lab.Frame(t, to, "02:9b:00:00:00:00", 0x88b7, make([]byte, size-14))
		before := v.info(t).Stats
		var after dpif.DatapathStats
		freeze(t, d, func() {
			for range frames {
				serial++
				binary.BigEndian.PutUint32(f[8:], serial)
				send(t, p[0], f)
			}
			after = v.comeUp(t, before.Missed+frames)
		})
		queued := int64(after.Missed - before.Missed - (after.Lost - before.Lost))
		t.Logf("frames of %4d bytes: %d wait in a queue of %d bytes, %d bytes each", size, queued, granted, granted/queued)
		if after.Lost == before.Lost || queued*least > granted+least {
			t.Errorf("%d upcalls of frames of %d bytes wait in %d bytes, %d are lost", queued, size, granted,
				after.Lost-before.Lost)
		}
		n.answered(t, v)
	}
	stop(t, d)
}

// answered waits until the daemon has answered all upcalls.
func (n *network) answered(t *testing.T, v view) {
	t.Helper()
	eventually(t, waitLimit, "the daemon has answered all upcalls", func() bool {
		stats := ask[endpoint.Stats](t, n, "stats", n.dpName)
		upcalls, _ := stats.Totals.Get("upcalls")
		now := v.info(t).Stats
		return uint64(upcalls) == now.Missed-now.Lost
	})
}
