package daemon

import (
	"dpifd/internal/control"
	"dpifd/internal/endpoint"
)

var (
	_ = answer(endpoint.Reload, (*run).reloadNow)
	_ = answer(endpoint.GetConfig, (*run).inForce)
)

func (d *run) reloadNow(control.None, control.Peer) (endpoint.Reloaded, error) { return d.reload() }

func (d *run) inForce(control.None, control.Peer) (endpoint.InForce, error) {
	return endpoint.InForce{Config: d.path, YAML: string(d.cfg().Effective())}, nil
}
