package bench

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
)

// PerCPU is dpifd with dispatch by CPU.
const PerCPU = "dpifd per-cpu"

// ScalePorts and ScaleFlows are the sizes that a scale run measures.
var (
	ScalePorts = []int{2, 128, 1000}
	ScaleFlows = []int{10_000, 50_000, 100_000, 200_000}
)

// ScalePoint is what one switch of one size was measured at, in one round.
type ScalePoint struct {
	Switch string
	Round  int
	Ports  int
	Flows  int // that the datapath was to hold; 0 in a measurement of ports
	// Failed is why there is no measurement, empty if there is one.
	Failed string

	ReadySeconds float64 // from the start of the process until all ports are served
	IdleCPU      float64 // of one core, while nothing is sent
	RSSKiB, FDs  int
	CPUPerUpcall float64 // microseconds
	Lost         uint64  // of the packets sent
	Held         int     // flows in the datapath
	TerseSeconds float64 // that a dump of identifiers and statistics takes
	FullSeconds  float64 // that a dump with keys and actions takes

	// ChangeCPU is CPU seconds for a change after which all flows are looked
	// at again, without what the switch takes at rest.
	ChangeCPU float64
	// Left is how many flows there were after the changes: a switch that finds
	// its dumps too slow lowers its limit, and deletes what exceeds that.
	Left int
	// CycleSeconds is what a dump after a change took, by the switch's account.
	CycleSeconds float64
	// AliveCPU is that of one core while packets use each flow, with the idle
	// time that the switch has by default; 0 if that was not measured.
	AliveCPU float64
	// DumpCPU is CPU seconds for each dump meanwhile, with all that the switch
	// does besides.
	DumpCPU float64
}

// ScaleRun is all that one scale run measured.
type ScaleRun struct {
	Kernel, OVS string
	CPUs        int
	Points      []ScalePoint
}

// ReadScaleRun reads a file that Write wrote.
func ReadScaleRun(file string) (*ScaleRun, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r ScaleRun
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &r, nil
}

// Write writes the run as JSON.
func (r *ScaleRun) Write(file string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// Of returns the spread of a figure of one switch at one size over the rounds;
// ok is false if it was not measured.
func (r *ScaleRun) Of(name string, ports, flows int, f func(*ScalePoint) float64) (Spread, bool) {
	return spread(r.byRound(name, ports, flows, f))
}

func (r *ScaleRun) byRound(name string, ports, flows int, f func(*ScalePoint) float64) map[int]float64 {
	byRound := make(map[int]float64)
	for i := range r.Points {
		if p := &r.Points[i]; p.Switch == name && p.Ports == ports && p.Flows == flows && p.Failed == "" {
			byRound[p.Round] = f(p)
		}
	}
	return byRound
}

// Ratio is the spread of a/b, each taken within one round. Rounds in which one of
// them is 0, and so was not measured, do not count.
func (r *ScaleRun) Ratio(a, b string, ports, flows int, f func(*ScalePoint) float64) (Spread, bool) {
	above := r.byRound(a, ports, flows, f)
	maps.DeleteFunc(above, func(_ int, v float64) bool { return v == 0 })
	return ratio(above, r.byRound(b, ports, flows, f))
}

// Failure returns why a switch at one size has no measurement, "" if no round
// failed.
func (r *ScaleRun) Failure(name string, ports, flows int) string {
	for i := range r.Points {
		if p := &r.Points[i]; p.Switch == name && p.Ports == ports && p.Flows == flows && p.Failed != "" {
			return p.Failed
		}
	}
	return ""
}

// Sizes returns the numbers of ports, or with flows those of flows, that are in
// the run, in order.
func (r *ScaleRun) Sizes(flows bool) []int {
	var sizes []int
	for _, p := range r.Points {
		switch {
		case flows && p.Flows > 0:
			sizes = append(sizes, p.Flows)
		case !flows && p.Flows == 0:
			sizes = append(sizes, p.Ports)
		}
	}
	slices.Sort(sizes)
	return slices.Compact(sizes)
}
