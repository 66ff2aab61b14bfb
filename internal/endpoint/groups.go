package endpoint

import (
	"net/http"

	"dpifd/internal/control"
)

// Group is a port that is a member of a multicast group, or behind which a querier is.
type Group struct {
	VLAN      uint16 `json:"vlan"`  // 0 for untagged
	Group     string `json:"group"` // "" for a router
	Router    bool   `json:"router"`
	IPv6      bool   `json:"ipv6"`
	Port      string `json:"port"` // name, "" if it has just gone
	PortNo    uint32 `json:"port_no"`
	ExpiresMS int64  `json:"expires_ms"` // unless it is heard of again
}

// GetGroups asks for the members of multicast groups by VLAN, group and port, those of a VLAN
// after its routers. There are none without snooping.
var GetGroups = control.Endpoint[control.None, []Group]{Method: http.MethodGet, Path: "/v1/groups"}
