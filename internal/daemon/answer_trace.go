package daemon

import (
	"fmt"

	"dpifd/internal/clock"
	"dpifd/internal/control"
	"dpifd/internal/dpif"
	"dpifd/internal/endpoint"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

var _ = answer(endpoint.TracePacket, (*run).tracePacket)

func (d *run) tracePacket(r endpoint.TraceRequest, _ control.Peer) (*endpoint.Trace, error) {
	cfg := d.cfg()
	if r.Datapath != cfg.Datapath.Name {
		return nil, control.BadRequest(fmt.Errorf("datapath %q: this daemon serves %s", r.Datapath, cfg.Datapath.Name))
	}
	key, _, err := odp.Text{PortNumber: d.policy.portNumber}.ParseKey(r.Key)
	if err != nil {
		return nil, control.BadRequest(fmt.Errorf("key: %w", err))
	}
	in, err := odp.InPort(key)
	if err != nil {
		return nil, control.BadRequest(fmt.Errorf("key: 1:1: in_port is missing"))
	}
	text := odp.Text{}
	out := &endpoint.Trace{Datapath: cfg.Datapath.Name, Policy: string(cfg.Policy.Type),
		Key: string(text.AppendKey(nil, key, nil)), Steps: []endpoint.Step{}}
	var v policy.Verdict
	v.Explain = func(step, found string) { out.Steps = append(out.Steps, endpoint.Step{Step: step, Found: found}) }
	d.policy.Decide(&dpif.Upcall{Kind: dpif.Miss, InPort: in, Key: key}, clock.NowMS(), &v)
	mask := v.Mask.Bytes()
	out.Decision, out.Install = v.Reason, v.Install
	out.Match = string(text.AppendKey(nil, odp.Masked(key, mask), mask))
	out.Actions = string(text.AppendActions(nil, v.Actions.Bytes()))
	return out, nil
}
