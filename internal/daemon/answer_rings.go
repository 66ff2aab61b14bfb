package daemon

import (
	"net/http"
	"os"

	"dpifd/internal/control"
)

// Rings are the rings of a daemon's upcall sockets.
type Rings struct {
	PID   int    `json:"pid"` // of the daemon
	Rings []Ring `json:"rings"`
}

// Ring is the ring of one socket.
type Ring struct {
	UpcallPID uint32 `json:"upcall_pid"` // netlink port id
	Frames    uint32 `json:"frames"`
	Used      uint32 `json:"used"`
}

// GetRings asks how full the daemon's rings are.
var GetRings = answer(control.Endpoint[control.None, Rings]{Method: http.MethodGet, Path: "/v1/rings"}, (*run).rings)

func (d *run) rings(control.None, control.Peer) (Rings, error) {
	d.mu.Lock() // the server stays open meanwhile
	defer d.mu.Unlock()
	if d.server == nil {
		return Rings{}, control.ErrNotReady
	}
	all := Rings{PID: os.Getpid(), Rings: []Ring{}}
	for _, s := range d.server.PortSockets() {
		if s.RingFrames > 0 {
			all.Rings = append(all.Rings, Ring{s.UpcallPID, s.RingFrames, s.RingUsed})
		}
	}
	return all, nil
}
