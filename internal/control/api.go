package control

import "time"

const (
	pathUpcalls  = "/v1/upcalls"
	pathProfiles = "/debug/pprof/"
)

// Notice is one line of a stream of upcalls: first the datapath's name, when watching starts,
// then upcalls, and the number of upcalls left out at a position.
type Notice struct {
	Watching string  `json:"watching,omitempty"` // a datapath
	Upcall   *Upcall `json:"upcall,omitempty"`
	Dropped  uint64  `json:"dropped,omitempty"`
}

// Upcall is one upcall with its decision, as in the event upcall.
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
	// Packet starts with the Ethernet header and has at most the requested number of bytes.
	Packet []byte `json:"packet,omitempty"`
}

// Failure is the answer to a request that failed.
type Failure struct {
	Error string `json:"error"`
}
