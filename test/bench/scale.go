package bench

import (
	"encoding/json"
	"fmt"
	"os"
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
	Flows  int // that were sent for; 0 in a measurement of ports

	ReadySeconds float64 // from the start of the process until all ports are served
	IdleCPU      float64 // of one core, while nothing is sent
	RSSKiB, FDs  int
	CPUPerUpcall float64 // microseconds
	Lost         uint64  // of the packets sent
	Held         int     // flows in the datapath
	TerseSeconds float64 // that a dump of identifiers and statistics takes
	FullSeconds  float64 // that a dump with keys and actions takes
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
	byRound := make(map[int]float64)
	for i := range r.Points {
		if p := &r.Points[i]; p.Switch == name && p.Ports == ports && p.Flows == flows {
			byRound[p.Round] = f(p)
		}
	}
	return spread(byRound)
}
