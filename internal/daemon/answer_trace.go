package daemon

import (
	"fmt"
	"slices"

	"dpifd/internal/clock"
	"dpifd/internal/control"
	"dpifd/internal/dpif"
	"dpifd/internal/endpoint"
	"dpifd/internal/forward"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

var _ = answer(endpoint.TracePacket, (*run).tracePacket)

func (d *run) tracePacket(r endpoint.TraceRequest, _ control.Peer) (*endpoint.Trace, error) {
	cfg := d.cfg()
	if r.Datapath != cfg.Datapath.Name {
		return nil, control.BadRequest(fmt.Errorf("datapath %q: this daemon serves %s", r.Datapath, cfg.Datapath.Name))
	}
	key, given, err := odp.Text{PortNumber: d.policy.PortNumber}.ParseKey(r.Key)
	if err != nil {
		return nil, control.BadRequest(fmt.Errorf("key: %w", err))
	}
	in, err := odp.InPort(key)
	if err != nil {
		return nil, control.BadRequest(fmt.Errorf("key: 1:1: in_port is missing"))
	}
	text := odp.Text{}
	if r.Names {
		text.PortName = d.policy.PortName
	}
	key, assumed := odp.Complete(key, given)
	out := &endpoint.Trace{Datapath: cfg.Datapath.Name, Policy: string(cfg.Policy.Type),
		Key: string(text.AppendKey(nil, key, nil)), Assumed: assumed, Steps: []endpoint.Step{}}
	explain := func(step, found string) { out.Steps = append(out.Steps, endpoint.Step{Step: step, Found: found}) }
	var v policy.Verdict
	v.Explain = explain
	d.policy.Decide(&dpif.Upcall{Kind: dpif.Miss, InPort: in, Key: key}, clock.NowMS(), &v)
	d.explainMissing(out)
	var k odp.Key
	if err := odp.ParseKey(key, &k); err != nil {
		explain("key", err.Error())
	}
	mask := v.Mask.Bytes()
	out.Decision, out.Install = v.Reason, v.Install
	out.Match = string(text.AppendKey(nil, odp.Masked(key, mask), mask))
	out.Actions = string(text.AppendActions(nil, v.Actions.Bytes()))
	return out, nil
}

// explainMissing adds a step if the static flow that a step names is not in the datapath.
func (d *run) explainMissing(t *endpoint.Trace) {
	d.mu.Lock() // the server stays open meanwhile
	defer d.mu.Unlock()
	if d.server == nil {
		return
	}
	for _, f := range d.server.StaticFlows() {
		decided := func(s endpoint.Step) bool { return s.Found == forward.StaticHit+f.Match }
		if !f.Installed && f.Missing == "" && slices.ContainsFunc(t.Steps, decided) {
			t.Steps = append(t.Steps, endpoint.Step{Step: "static_flow",
				Found: "that flow is not installed: its packets come up to dpifd (event static_flow_failed has the reason)"})
			return
		}
	}
}
