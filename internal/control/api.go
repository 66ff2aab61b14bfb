package control

import "time"

const (
	pathUpcalls  = "/v1/upcalls"
	pathProfiles = "/debug/pprof/"
)

// Notice is one line of a stream of upcalls: first the datapath's name, when
// what comes from then on is watched, then upcalls, and how many were left out at
// a place.
type Notice struct {
	Watching string  `json:"watching,omitempty"` // a datapath
	Upcall   *Upcall `json:"upcall,omitempty"`
	Dropped  uint64  `json:"dropped,omitempty"`
}

// Upcall is one upcall and what was decided about it, as event upcall tells
// it.
type Upcall struct {
	Time        time.Time `json:"time"` // when it was decided
	Datapath    string    `json:"datapath"`
	Port        string    `json:"port"`
	PortNo      uint32    `json:"port_no"`
	PacketBytes int       `json:"packet_bytes"` // of the whole packet
	Decision    string    `json:"decision"`
	Install     bool      `json:"install"`
	Key         string    `json:"key"`     // ODP text
	Actions     string    `json:"actions"` // ODP text
	// Packet begins with the Ethernet header; as many bytes as were asked for.
	Packet []byte `json:"packet,omitempty"`
}

// Failure is the answer to a request that failed.
type Failure struct {
	Error string `json:"error"`
}
