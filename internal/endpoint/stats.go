package endpoint

import (
	"encoding/json"
	"net/http"

	"dpifd/internal/control"
	"dpifd/internal/metric"
)

// Stats are a daemon's counters. Names and units are the same as in the log.
type Stats struct {
	Datapath string `json:"datapath"`
	// Totals are the figures of totals.Table, except those of the log's interval. The upcall_us
	// figures cover the time since the last but one stats line of the log, or since the start.
	Totals metric.Values `json:"totals"`
	// UpcallTimes is the histogram from which the upcall_us figures are computed, since the
	// start.
	UpcallTimes Histogram `json:"upcall_times"`
	// Ports are the ports that are served, in order of their numbers.
	Ports []PortStats `json:"ports"`
	// Losses are the losses of the served ports and of the datapath. Zeros are left out.
	Losses []Loss `json:"losses"`
}

// Histogram counts durations.
type Histogram struct {
	Count   uint64          `json:"count"`
	SumUS   int64           `json:"sum_us"`
	Buckets []metric.Bucket `json:"buckets"`
}

// PortStats are the figures of vswitch.PortStatsMetrics for one port. In JSON the same object
// begins with name and number.
type PortStats struct {
	Port   string        `json:"port"`
	PortNo uint32        `json:"port_no"`
	Values metric.Values `json:"-"`
}

// MarshalJSON implements json.Marshaler.
func (p PortStats) MarshalJSON() ([]byte, error) {
	type head PortStats
	front, err := json.Marshal(head(p))
	if err != nil {
		return nil, err
	}
	values, err := json.Marshal(p.Values)
	if err != nil {
		return nil, err
	}
	if len(p.Values) > 0 {
		front[len(front)-1] = ','
		front = append(front, values[1:]...)
	}
	return front, nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *PortStats) UnmarshalJSON(data []byte) error {
	type head PortStats
	if err := json.Unmarshal(data, (*head)(p)); err != nil {
		return err
	}
	return p.Values.UnmarshalNumbers(data, "port", "port_no")
}

// Loss counts lost packets of one port and cause. Causes are those of event upcalls_lost in
// docs/LOGS.md, and storm_ followed by a kind of storm control.
type Loss struct {
	Port   string `json:"port"` // "" for what belongs to none
	PortNo uint32 `json:"port_no"`
	Cause  string `json:"cause"`
	Lost   uint64 `json:"lost"`
}

// GetStats asks for the counters of the daemon.
var GetStats = control.Endpoint[control.None, *Stats]{Method: http.MethodGet, Path: "/v1/stats"}
