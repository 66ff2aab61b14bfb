package daemon

import (
	"fmt"
	"net/http"

	"dpifd/internal/clock"
	"dpifd/internal/control"
	"dpifd/internal/odp"
)

// Flush says which MACs to forget: those of a port and a VLAN.
type Flush struct {
	Port string  `json:"port,omitempty"` // "" is any
	VLAN *uint16 `json:"vlan,omitempty"` // 0 is untagged, nil is any
}

// Flushed tells how many MACs were forgotten.
type Flushed struct {
	MACs int `json:"macs"`
}

// FlushMACs has the daemon forget MACs that it has learned. Static ones stay.
var FlushMACs = answer(control.Endpoint[Flush, Flushed]{Method: http.MethodPost, Path: "/v1/macs/flush"}, (*run).flushMACs)

func (d *run) flushMACs(f Flush, by control.Peer) (Flushed, error) {
	t := d.policy.current.Load().table
	if t == nil {
		return Flushed{}, control.BadRequest(fmt.Errorf("policy %s learns no MACs", d.cfg().Policy.Type))
	}
	var only odp.PortNo
	if f.Port != "" {
		var ok bool
		if only, ok = d.policy.portNumber(f.Port); !ok {
			return Flushed{}, control.BadRequest(fmt.Errorf("%s has no port %s", d.cfg().Datapath.Name, f.Port))
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
	return Flushed{n}, nil
}
