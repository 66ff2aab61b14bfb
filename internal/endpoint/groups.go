package endpoint

import (
	"net/http"

	"dpifd/internal/control"
)

// Group is a port that is a member of a multicast group, or that leads to a querier.
type Group struct {
	VLAN      uint16 `json:"vlan"`  // 0 for untagged
	Group     string `json:"group"` // "" for a router
	Router    bool   `json:"router"`
	IPv6      bool   `json:"ipv6"`
	Port      string `json:"port"` // name, "" if it was just removed
	PortNo    uint32 `json:"port_no"`
	ExpiresMS int64  `json:"expires_ms"` // unless it is refreshed
}

// GetGroups asks for the members of multicast groups in the order of VLAN, group and port. The
// routers of a VLAN come before its members. Without snooping the list is empty.
var GetGroups = control.Endpoint[control.None, []Group]{Method: http.MethodGet, Path: "/v1/groups"}
