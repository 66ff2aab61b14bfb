package daemon

import (
	"dpifd/internal/clock"
	"dpifd/internal/control"
	"dpifd/internal/endpoint"
)

var _ = answer(endpoint.GetGroups, (*run).groupTable)

func (d *run) groupTable(control.None, control.Peer) ([]endpoint.Group, error) {
	now, out := clock.NowMS(), []endpoint.Group{}
	for _, e := range d.policy.Groups() {
		g := endpoint.Group{VLAN: e.VLAN, Router: !e.Group.IsValid(), IPv6: e.IPv6, Port: d.policy.PortName(e.Port),
			PortNo: uint32(e.Port), ExpiresMS: max(0, e.UntilMS-now)}
		if !g.Router {
			g.Group = e.Group.String()
		}
		out = append(out, g)
	}
	return out, nil
}
