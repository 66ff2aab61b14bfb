package endpoint

import (
	"net/http"

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
var GetRings = control.Endpoint[control.None, Rings]{Method: http.MethodGet, Path: "/v1/rings"}
