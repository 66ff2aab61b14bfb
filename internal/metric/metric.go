package metric

import (
	"slices"
	"time"
)

// Kind is how a figure changes.
type Kind uint8

const (
	Count Kind = iota // only grows, until the daemon or the port starts again
	Level             // rises and falls
)

// String returns Prometheus' name of the kind.
func (k Kind) String() string { return [...]string{"counter", "gauge"}[k] }

// Unit is the unit of a figure as it is read and logged.
type Unit uint8

const (
	None Unit = iota // a count
	Bytes
	Microseconds
	Milliseconds
	Seconds
)

// Info describes a figure without its source.
type Info struct {
	Name string // snake_case, without the unit
	Part string // of a distribution: p50, p99, p999 or max
	Kind Kind
	Unit Unit
	Help string // what is counted, without a full stop
	// Delta means that the log also has its increase in the interval; LogOnly means that it
	// describes that interval and is read for the log only.
	Delta, LogOnly bool
}

// Metric is a figure of an S.
type Metric[S any] struct {
	Info
	read func(*S) int64
}

// number is the type of a figure.
type number interface {
	~int | ~int32 | ~int64 | ~uint32 | ~uint64
}

// Counter returns the entry of a figure that only grows.
func Counter[S any, N number](name string, unit Unit, help string, read func(*S) N) Metric[S] {
	return Metric[S]{Info{Name: name, Unit: unit, Help: help}, func(s *S) int64 { return int64(read(s)) }}
}

// Gauge returns the entry of a figure that rises and falls.
func Gauge[S any, N number](name string, unit Unit, help string, read func(*S) N) Metric[S] {
	m := Counter(name, unit, help, read)
	m.Kind = Level
	return m
}

// Quantiles returns the entries of a duration in microseconds: p50, p99, p99.9 and the maximum.
func Quantiles[S any](name, help string, read func(*S) *Distribution) Table[S] {
	quantile := func(part, of string, millionths uint64) Metric[S] {
		m := Gauge(name, Microseconds, help+": "+of+", rounded up", func(s *S) int64 {
			return Duration(read(s).Quantile(millionths), Microseconds)
		})
		m.Part = part
		return m
	}
	return Table[S]{quantile("p50", "median", 500_000), quantile("p99", "99th percentile", 990_000),
		quantile("p999", "99.9th percentile", 999_000), quantile("max", "maximum", 1_000_000)}
}

// WithDelta returns m with Delta set.
func (m Metric[S]) WithDelta() Metric[S] {
	m.Delta = true
	return m
}

// ForLogOnly returns m with LogOnly set.
func (m Metric[S]) ForLogOnly() Metric[S] {
	m.LogOnly = true
	return m
}

// Table is the figures of an S, in order.
type Table[S any] []Metric[S]

// Join returns one table with the entries of several.
func Join[S any](tables ...Table[S]) Table[S] { return slices.Concat(tables...) }

// Of returns the table t for the S that is part of a T.
func Of[T, S any](t Table[S], part func(*T) *S) Table[T] {
	out := make(Table[T], len(t))
	for i, m := range t {
		out[i] = Metric[T]{m.Info, func(whole *T) int64 { return m.read(part(whole)) }}
	}
	return out
}

// Only returns the entries with one of these names.
func (t Table[S]) Only(names ...string) Table[S] {
	var out Table[S]
	for _, name := range names {
		for _, m := range t {
			if m.Name == name {
				out = append(out, m)
			}
		}
	}
	return out
}

// Lasting returns the entries that are not LogOnly.
func (t Table[S]) Lasting() Table[S] {
	return slices.DeleteFunc(slices.Clone(t), func(m Metric[S]) bool { return m.LogOnly })
}

// Read returns all figures of s.
func (t Table[S]) Read(s *S) Values {
	out := make(Values, len(t))
	for i := range t {
		out[i] = Value{t[i].Field(), t[i].read(s)}
	}
	return out
}

// units are, for each Unit: the suffixes of names in the log and in Prometheus, and the number
// of units in one of Prometheus' units.
var units = [...]struct {
	log, base string
	scale     float64
}{
	None: {"", "", 1}, Bytes: {"_bytes", "_bytes", 1},
	Microseconds: {"_us", "_seconds", 1e6}, Milliseconds: {"_ms", "_seconds", 1e3}, Seconds: {"_s", "_seconds", 1},
}

// Field returns the name in the log and in the answers of the control socket.
func (i *Info) Field() string {
	name := i.Name + units[i.Unit].log
	if i.Part != "" {
		name += "_" + i.Part
	}
	return name
}

// Prometheus returns the name for Prometheus, with a prefix: in base units, and
// ending in _total if it is a counter.
func (i *Info) Prometheus(prefix string) string {
	name := prefix + i.Name
	if i.Part != "" {
		name += "_" + i.Part
	}
	name += units[i.Unit].base
	if i.Kind == Count {
		name += "_total"
	}
	return name
}

// Scale returns the divisor that converts a value to the unit of Prometheus.
func (i *Info) Scale() float64 { return units[i.Unit].scale }

// Duration returns d in the unit of a figure.
func Duration(d time.Duration, u Unit) int64 {
	return int64(d) / int64(float64(time.Second)/units[u].scale)
}

// Infos returns the descriptions of the figures, in order.
func (t Table[S]) Infos() []Info {
	out := make([]Info, len(t))
	for i := range t {
		out[i] = t[i].Info
	}
	return out
}
