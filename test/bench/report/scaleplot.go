package main

import (
	"fmt"
	"strconv"

	"dpifd/test/bench"
)

// drawScalePlot draws the plot of a scale run: start by ports, and memory by flows.
func drawScalePlot(r *bench.ScaleRun) []byte {
	var ports, flows []plotRow
	for _, n := range r.Sizes(false) {
		ports = append(ports, plotRow{strconv.Itoa(n), "ports"})
	}
	for _, n := range r.Sizes(true) {
		about := "flows"
		if s, ok := r.Of(bench.Vswitchd, 2, n, held); ok && s.Median < float64(n) {
			about = fmt.Sprintf("flows, of which ovs-vswitchd held %.0f", s.Median)
		}
		flows = append(flows, plotRow{strconv.Itoa(n), about})
	}
	size := func(row string) int {
		n, _ := strconv.Atoi(row) // written above
		return n
	}
	mebibytes := func(p *bench.ScalePoint) float64 { return float64(p.RSSKiB) / 1024 }
	return draw([]series{dpifdSeries, perCPUSeries, ovsSeries}, []plotPanel{
		{"Ready after start, seconds (less is better)", ports, func(row, name string) (bench.Spread, bool) {
			return r.Of(name, size(row), 0, readySeconds)
		}},
		{"Resident memory, MiB (less is better)", flows, func(row, name string) (bench.Spread, bool) {
			return r.Of(name, 2, size(row), mebibytes)
		}},
	})
}
