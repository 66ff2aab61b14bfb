package daemon

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"dpifd/internal/control"
	"dpifd/internal/event"
)

// Stats are a daemon's counters. Names and units are those of the log.
type Stats struct {
	// Totals are the fields of event stats without those of an interval.
	Totals control.Fields `json:"totals"`
	// Ports are the fields of event port_stats, one a port that is served.
	Ports []control.Fields `json:"ports"`
	// Losses are those of the ports served, and of the datapath. Zeros are
	// left out.
	Losses []Loss `json:"losses"`
}

// Loss counts packets lost by one port and cause, which event upcalls_lost and
// docs/LOGS.md name.
type Loss struct {
	Port   string `json:"port"` // "" for what belongs to none
	PortNo uint32 `json:"port_no"`
	Cause  string `json:"cause"`
	Lost   uint64 `json:"lost"`
}

// GetStats asks for the counters of the daemon.
var GetStats = answer(control.Endpoint[control.None, *Stats]{Method: http.MethodGet, Path: "/v1/stats"}, (*run).allStats)

func (d *run) allStats(control.None, control.Peer) (*Stats, error) {
	d.mu.Lock() // the server stays open meanwhile
	defer d.mu.Unlock()
	if d.server == nil || d.stats == nil || d.stats.server != d.server {
		return nil, control.ErrNotReady
	}
	return d.stats.snapshot()
}

// snapshot reads all counters once, and changes nothing that the log depends
// on.
func (s *statsLog) snapshot() (*Stats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.server.Stats()
	if err != nil {
		return nil, err
	}
	s.total = st.Total()
	s.total.Add(s.daemon.past)
	c := collector{Stats{Ports: []control.Fields{}, Losses: []Loss{}}, s.daemon.cfg().Datapath.Name}
	out := &c.stats
	s.print(c.take, &st, 0)
	s.eachLoss(&st, func(k lossKey, port string, n uint64) {
		if n > 0 {
			out.Losses = append(out.Losses, Loss{Port: port, PortNo: uint32(k.port), Cause: k.cause, Lost: n})
		}
	})
	return out, nil
}

// ofInterval are the fields of stats that are about the log's interval, beside
// the deltas.
var ofInterval = []string{"interval_ms", "batch_max_us"}

// collector takes the events of statistics in place of the log.
type collector struct {
	stats    Stats
	datapath string
}

func (c *collector) take(e event.Event) {
	var out control.Fields
	for name, v := range event.Values(e) {
		if strings.HasSuffix(name, "_delta") || slices.Contains(ofInterval, name) {
			continue
		}
		if v == nil {
			v = c.datapath
		}
		value, err := json.Marshal(v)
		if err != nil {
			value = []byte("null") // no counter is what JSON lacks
		}
		out = append(out, control.Field{Name: name, Value: value})
	}
	if _, ok := e.(evStats); ok {
		c.stats.Totals = out
	} else {
		c.stats.Ports = append(c.stats.Ports, out)
	}
}
