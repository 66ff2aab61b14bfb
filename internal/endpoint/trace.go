package endpoint

import (
	"net/http"

	"dpifd/internal/control"
)

// TraceRequest asks what the policy of a datapath would do with a packet.
type TraceRequest struct {
	Datapath string `json:"datapath"`
	Key      string `json:"key"` // ODP text; ports by number or name
	Names    bool   `json:"names"`
}

// Trace is the policy's decision and the steps that led to it. Key, Assumed, Match and Actions
// are ODP text, with port names if the request asks for them.
type Trace struct {
	Datapath string `json:"datapath"`
	Policy   string `json:"policy"`
	Key      string `json:"key"`     // as passed to the policy
	Assumed  string `json:"assumed"` // parts that the request lacked
	Steps    []Step `json:"steps"`
	Decision string `json:"decision"` // as in event upcall
	Install  bool   `json:"install"`  // whether a flow would be installed
	Match    string `json:"match"`    // of that flow
	Actions  string `json:"actions"`
}

// Step is something that a policy considered.
type Step struct {
	Step  string `json:"step"`  // snake_case
	Found string `json:"found"` // for people
}

// TracePacket asks what the policy would do with a packet.
var TracePacket = control.Endpoint[TraceRequest, *Trace]{Method: http.MethodPost, Path: "/v1/trace"}
