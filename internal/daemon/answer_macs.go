package daemon

import (
	"cmp"
	"net/http"
	"slices"

	"dpifd/internal/clock"
	"dpifd/internal/control"
)

// MAC is one line of the MAC table.
type MAC struct {
	VLAN   uint16 `json:"vlan"` // 0 for untagged
	MAC    string `json:"mac"`
	Port   string `json:"port"` // name, "" if it has just gone
	PortNo uint32 `json:"port_no"`
	AgeMS  int64  `json:"age_ms"` // since it was last seen; 0 for a static one
	Static bool   `json:"static"` // configured, not learned
}

// GetMACs asks for the MAC table, in the order of VLANs and addresses. It is empty
// with a policy that does not learn.
var GetMACs = answer(control.Endpoint[control.None, []MAC]{Method: http.MethodGet, Path: "/v1/macs"}, (*run).macTable)

func (d *run) macTable(control.None, control.Peer) ([]MAC, error) {
	now, out := clock.NowMS(), []MAC{}
	for _, e := range d.policy.snapshot() {
		out = append(out, MAC{VLAN: e.VLAN, MAC: e.MAC.String(), Port: d.policy.portName(e.Port), PortNo: uint32(e.Port), AgeMS: max(0, now-e.SeenMS)})
	}
	if t := d.policy.current.Load().table; t != nil {
		for _, e := range t.Static() {
			out = append(out, MAC{VLAN: e.VLAN, MAC: e.MAC.String(), Port: d.policy.portName(e.Port), PortNo: uint32(e.Port), Static: true})
		}
		slices.SortFunc(out, func(a, b MAC) int {
			return cmp.Or(cmp.Compare(a.VLAN, b.VLAN), cmp.Compare(a.MAC, b.MAC))
		})
	}
	return out, nil
}
