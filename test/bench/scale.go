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

// ScalePorts and ScaleFlows are the sizes of a scale run.
var (
	ScalePorts = []int{2, 128, 1000}
	ScaleFlows = []int{10_000, 50_000, 100_000, 200_000}
)

// ScalePoint is the measurement of one switch at one size in one round.
type ScalePoint struct {
	Switch string
	Round  int
	Ports  int
	Flows  int // flows to hold; 0 in a measurement of ports
	// Failed is why the measurement failed, "" if it succeeded.
	Failed string

	ReadySeconds float64 // from the start of the process until all ports are served
	IdleCPU      float64 // of one core, while nothing is sent
	RSSKiB, FDs  int
	CPUPerUpcall float64 // microseconds
	Lost         uint64  // of the packets sent
	Held         int     // flows in the datapath
	TerseSeconds float64 // duration of a dump of identifiers and statistics
	FullSeconds  float64 // duration of a dump with keys and actions

	// ChangeCPU is the CPU time in seconds for a change after which all flows are decided again,
	// minus that of the switch at rest.
	ChangeCPU float64
	// Left is the number of flows after the changes: a switch whose dumps are too slow lowers its
	// limit and deletes flows above it.
	Left int
	// CycleSeconds is the duration of a dump after a change, as the switch reports it.
	CycleSeconds float64
	// AliveCPU is the CPU use, in cores, while packets use each flow, with the switch's default
	// idle time; 0 if it was not measured.
	AliveCPU float64
	// DumpCPU is the CPU time in seconds per dump meanwhile, including everything else that the
	// switch does.
	DumpCPU float64
}

// ScaleRun is the result of a scale run.
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

// Of returns the spread of a figure of one switch at one size over the rounds; ok is false if there
// is no measurement.
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

// Ratio is the spread of a/b, computed within each round. Rounds in which one of them is 0, that
// is, not measured, are ignored.
func (r *ScaleRun) Ratio(a, b string, ports, flows int, f func(*ScalePoint) float64) (Spread, bool) {
	above := r.byRound(a, ports, flows, f)
	maps.DeleteFunc(above, func(_ int, v float64) bool { return v == 0 })
	return ratio(above, r.byRound(b, ports, flows, f))
}

// Failure returns why a switch has no measurement at one size, "" if no round failed.
func (r *ScaleRun) Failure(name string, ports, flows int) string {
	for i := range r.Points {
		if p := &r.Points[i]; p.Switch == name && p.Ports == ports && p.Flows == flows && p.Failed != "" {
			return p.Failed
		}
	}
	return ""
}

// Sizes returns the numbers of ports in the run, or with flows the numbers of flows, in ascending
// order.
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
