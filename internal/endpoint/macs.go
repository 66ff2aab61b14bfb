package endpoint

import (
	"net/http"

	"dpifd/internal/control"
)

// MAC is one line of the MAC table.
type MAC struct {
	VLAN   uint16 `json:"vlan"` // 0 for untagged
	MAC    string `json:"mac"`
	Port   string `json:"port"` // name, "" if it was just removed
	PortNo uint32 `json:"port_no"`
	AgeMS  int64  `json:"age_ms"` // since it was last seen; 0 for a static one
	Static bool   `json:"static"` // configured, not learned
}

// GetMACs asks for the MAC table, in the order of VLANs and addresses. It is empty
// with a policy that does not learn.
var GetMACs = control.Endpoint[control.None, []MAC]{Method: http.MethodGet, Path: "/v1/macs"}

// Flush selects the MACs to forget by port and VLAN.
type Flush struct {
	Port string  `json:"port,omitempty"` // "" is any
	VLAN *uint16 `json:"vlan,omitempty"` // 0 is untagged, nil is any
}

// Flushed holds the number of MACs that were forgotten.
type Flushed struct {
	MACs int `json:"macs"`
}

// FlushMACs makes the daemon forget learned MACs. Static ones stay.
var FlushMACs = control.Endpoint[Flush, Flushed]{Method: http.MethodPost, Path: "/v1/macs/flush"}
