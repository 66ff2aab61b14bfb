package report

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

const (
	// maxPorts is the maximum number of ports that are kept, and plottedPorts of those that are
	// plotted: the ports with the most traffic.
	maxPorts, plottedPorts = 200, 7
	// maxPortSamples is the number of samples kept of a port; twice as many are merged in
	// pairs.
	maxPortSamples = 500
)

// portFigures are the plotted fields of port_stats. They are totals.
type portFigures struct {
	Port    string `json:"port"`
	RxBytes uint64 `json:"rx_bytes"`
	TxBytes uint64 `json:"tx_bytes"`
	Upcalls uint64 `json:"upcalls"`
}

// Port is the log of one port, at level debug.
type Port struct {
	Name    string
	Samples []PortSample // in order of time

	last portFigures
	at   time.Time
}

// PortSample is the difference of two port_stats events, or the sum of several differences.
type PortSample struct {
	Time     time.Time
	Interval time.Duration
	RxBytes  uint64
	TxBytes  uint64
	Upcalls  uint64
	First    bool // of a run, as far as the counters tell
}

// Busiest returns the ports with the most traffic, by name.
func (d *Datapath) Busiest() []*Port {
	bytes := map[*Port]uint64{}
	for _, p := range d.ports {
		for _, s := range p.Samples {
			if n := s.RxBytes + s.TxBytes; n > 0 {
				bytes[p] += n
			}
		}
	}
	list := slices.SortedFunc(maps.Keys(bytes), func(a, b *Port) int {
		return cmp.Or(cmp.Compare(bytes[b], bytes[a]), cmp.Compare(a.Name, b.Name))
	})
	list = list[:min(len(list), plottedPorts)]
	slices.SortFunc(list, func(a, b *Port) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func (d *Datapath) portSample(at time.Time, f portFigures) {
	p := d.ports[f.Port]
	if p == nil {
		if len(d.ports) == maxPorts {
			return
		}
		p = &Port{Name: f.Port}
		d.ports[f.Port] = p
	}
	was, before := p.last, p.at
	p.last, p.at = f, at
	if before.IsZero() || !at.After(before) {
		return
	}
	s := PortSample{Time: at, Interval: at.Sub(before)}
	if f.RxBytes < was.RxBytes || f.TxBytes < was.TxBytes || f.Upcalls < was.Upcalls {
		s.First = true // the port was created again, or the daemon restarted
	} else {
		s.RxBytes, s.TxBytes, s.Upcalls = f.RxBytes-was.RxBytes, f.TxBytes-was.TxBytes, f.Upcalls-was.Upcalls
	}
	p.Samples = append(p.Samples, s)
	if len(p.Samples) < 2*maxPortSamples {
		return
	}
	for i := range len(p.Samples) / 2 {
		a, b := p.Samples[2*i], p.Samples[2*i+1]
		b.Interval += a.Interval
		b.RxBytes += a.RxBytes
		b.TxBytes += a.TxBytes
		b.Upcalls += a.Upcalls
		b.First = b.First || a.First
		p.Samples[i] = b
	}
	p.Samples = p.Samples[:len(p.Samples)/2]
}

// portCurves plots a rate of each of the busiest ports.
func portCurves(ports []*Port, of func(PortSample) uint64) []curve {
	var list []curve
	for i, p := range ports {
		c := curve{name: p.Name, colour: palette[i%len(palette)]}
		for j, s := range p.Samples {
			apart := s.First || j > 0 && s.Time.Sub(p.Samples[j-1].Time) > 2*s.Interval+time.Second
			c.points = append(c.points, point{s.Time, float64(of(s)) / s.Interval.Seconds(), apart})
		}
		list = append(list, c)
	}
	return list
}
