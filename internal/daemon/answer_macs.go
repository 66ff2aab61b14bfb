package daemon

import (
	"cmp"
	"fmt"
	"slices"

	"dpifd/internal/clock"
	"dpifd/internal/control"
	"dpifd/internal/endpoint"
	"dpifd/internal/odp"
)

var (
	_ = answer(endpoint.GetMACs, (*run).macTable)
	_ = answer(endpoint.FlushMACs, (*run).flushMACs)
)

func (d *run) macTable(control.None, control.Peer) ([]endpoint.MAC, error) {
	now, out := clock.NowMS(), []endpoint.MAC{}
	for _, e := range d.policy.Snapshot() {
		out = append(out, endpoint.MAC{VLAN: e.VLAN, MAC: e.MAC.String(), Port: d.policy.PortName(e.Port),
			PortNo: uint32(e.Port), AgeMS: max(0, now-e.SeenMS)})
	}
	if t := d.policy.Table(); t != nil {
		for _, e := range t.Static() {
			out = append(out, endpoint.MAC{VLAN: e.VLAN, MAC: e.MAC.String(), Port: d.policy.PortName(e.Port),
				PortNo: uint32(e.Port), Static: true})
		}
		slices.SortFunc(out, func(a, b endpoint.MAC) int {
			return cmp.Or(cmp.Compare(a.VLAN, b.VLAN), cmp.Compare(a.MAC, b.MAC))
		})
	}
	return out, nil
}

func (d *run) flushMACs(f endpoint.Flush, by control.Peer) (endpoint.Flushed, error) {
	t := d.policy.Table()
	if t == nil {
		return endpoint.Flushed{}, control.BadRequest(fmt.Errorf("policy %s learns no MACs", d.cfg().Policy.Type))
	}
	var only odp.PortNo
	if f.Port != "" {
		var ok bool
		if only, ok = d.policy.PortNumber(f.Port); !ok {
			return endpoint.Flushed{}, control.BadRequest(fmt.Errorf("%s has no port %s", d.cfg().Datapath.Name, f.Port))
		}
	}
	n := t.Flush(clock.NowMS(), func(vlan uint16, port odp.PortNo) bool {
		return (f.Port == "" || port == only) && (f.VLAN == nil || vlan == *f.VLAN)
	})
	vlan := -1
	if f.VLAN != nil {
		vlan = int(*f.VLAN)
	}
	d.log.emit(evMACsFlushed{Port: f.Port, VLAN: vlan, MACs: n, PID: int(by.PID), UID: by.UID})
	return endpoint.Flushed{MACs: n}, nil
}
