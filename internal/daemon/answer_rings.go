package daemon

import (
	"os"

	"dpifd/internal/control"
	"dpifd/internal/endpoint"
)

var _ = answer(endpoint.GetRings, (*run).rings)

func (d *run) rings(control.None, control.Peer) (endpoint.Rings, error) {
	d.mu.Lock() // the server stays open meanwhile
	defer d.mu.Unlock()
	if d.server == nil {
		return endpoint.Rings{}, control.ErrNotReady
	}
	all := endpoint.Rings{PID: os.Getpid(), Rings: []endpoint.Ring{}}
	for _, s := range d.server.PortSockets() {
		if s.RingFrames > 0 {
			all.Rings = append(all.Rings, endpoint.Ring{UpcallPID: s.UpcallPID, Frames: s.RingFrames, Used: s.RingUsed})
		}
	}
	return all, nil
}
