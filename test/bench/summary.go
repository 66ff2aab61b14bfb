package bench

import "slices"

// Spread is the range of one figure over the rounds of a run.
type Spread struct{ Min, Median, Max float64 }

// NewSpread returns the spread of values, which must not be empty.
func NewSpread(values []float64) Spread {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return Spread{v[0], (v[(n-1)/2] + v[n/2]) / 2, v[n-1]}
}

// Figure is one number of a measurement.
type Figure func(*Result) float64

// Of returns a figure of one switch under one load by round.
func (r *Run) Of(load, name string, f Figure) map[int]float64 {
	out := make(map[int]float64)
	for i := range r.Results {
		if m := &r.Results[i]; m.Load == load && m.Switch == name {
			out[m.Round] = f(m)
		}
	}
	return out
}

// Spread is the spread of a figure; ok is false if there is no measurement.
func (r *Run) Spread(load, name string, f Figure) (s Spread, ok bool) {
	return spread(r.Of(load, name, f))
}

// Ratio is the spread of a/b, computed within each round. Rounds in which b is 0 are ignored.
func (r *Run) Ratio(load, a, b string, f Figure) (s Spread, ok bool) {
	return ratio(r.Of(load, a, f), r.Of(load, b, f))
}

func ratio(above, below map[int]float64) (Spread, bool) {
	ratios := make(map[int]float64)
	for round, v := range above {
		if d := below[round]; d != 0 {
			ratios[round] = v / d
		}
	}
	return spread(ratios)
}

func spread(byRound map[int]float64) (Spread, bool) {
	if len(byRound) == 0 {
		return Spread{}, false
	}
	var values []float64
	for _, v := range byRound {
		values = append(values, v)
	}
	return NewSpread(values), true
}

// Rounds is the number of rounds.
func (r *Run) Rounds() int {
	n := 0
	for _, m := range r.Results {
		n = max(n, m.Round)
	}
	return n
}
