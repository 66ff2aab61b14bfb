package daemon

import (
	"fmt"
	"net/http"

	"dpifd/internal/clock"
	"dpifd/internal/control"
	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// TraceRequest asks what the policy of a datapath would do with a packet.
type TraceRequest struct {
	Datapath string `json:"datapath"`
	Key      string `json:"key"` // ODP text; ports by number or name
}

// Trace is what the policy would do, and how it comes to that. Key, Match and
// Actions are ODP text.
type Trace struct {
	Datapath string `json:"datapath"`
	Policy   string `json:"policy"`
	Key      string `json:"key"` // as the policy was given it
	Steps    []Step `json:"steps"`
	Decision string `json:"decision"` // as in event upcall
	Install  bool   `json:"install"`  // whether a flow would be installed
	Match    string `json:"match"`    // of that flow
	Actions  string `json:"actions"`
}

// Step is something that a policy looked at.
type Step struct {
	Step  string `json:"step"`  // snake_case
	Found string `json:"found"` // for people
}

// TracePacket asks what the policy would do with a packet.
var TracePacket = answer(control.Endpoint[TraceRequest, *Trace]{Method: http.MethodPost, Path: "/v1/trace"}, (*run).tracePacket)

func (d *run) tracePacket(r TraceRequest, _ control.Peer) (*Trace, error) {
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
	out := &Trace{Datapath: cfg.Datapath.Name, Policy: string(cfg.Policy.Type), Key: string(text.AppendKey(nil, key, nil)), Steps: []Step{}}
	var v policy.Verdict
	v.Explain = func(step, found string) { out.Steps = append(out.Steps, Step{Step: step, Found: found}) }
	d.policy.Decide(&dpif.Upcall{Kind: dpif.Miss, InPort: in, Key: key}, clock.NowMS(), &v)
	mask := v.Mask.Bytes()
	out.Decision, out.Install = v.Reason, v.Install
	out.Match = string(text.AppendKey(nil, odp.Masked(key, mask), mask))
	out.Actions = string(text.AppendActions(nil, v.Actions.Bytes()))
	return out, nil
}
