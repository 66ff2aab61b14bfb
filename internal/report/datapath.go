package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// maxSamples is the number of samples kept of a datapath; twice as many are merged in
	// pairs.
	maxSamples = 2000
	// maxMarks is the maximum number of listed events, maxRoutine of routine ones.
	maxMarks, maxRoutine = 2000, 300
)

// states are events of level INFO that concern the whole daemon. Others of that level are
// routine: listed, but not marked in the plots.
var states = []string{"starting", "ready", "stopping", "stopped", "reloaded", "datapath_opened", "restarting"}

// Datapath is the log of one datapath.
type Datapath struct {
	Name    string
	Samples []Sample // in order of time
	Marks   []Mark   // in order of time; the first ones
	Unshown int      // events beyond them

	causes  map[string]*Cause
	ports   map[string]*Port
	last    figures // of the previous sample
	seen    bool    // last is set
	routine int     // how many of Marks are routine
}

// Sample is the data of one stats event, or of several merged ones, about the time before it.
type Sample struct {
	Time     time.Time
	Interval time.Duration
	Hit      uint64 // packets that a flow of the kernel matched
	Missed   uint64 // packets that matched no flow
	Lost     uint64 // of these, packets lost in the kernel
	Upcalls  uint64 // received by the daemon
	Flows    uint64 // in the kernel, at Time
	Limit    uint64 // on flows, at Time
	Batches  uint64
	Busy     time.Duration // spent on the batches
	Longest  time.Duration // spent on one
	P99      time.Duration // 99th percentile of the upcall times, maximum of merged events
	First    bool          // of a run, as far as the counters tell
}

// Cause is a cause of loss, with the losses.
type Cause struct {
	Name   string
	Total  uint64
	Losses []Loss // in order of time
}

// Loss is one upcalls_lost event, or several merged ones.
type Loss struct {
	Time time.Time
	N    uint64
}

// Mark is an event worth a line in the plots.
type Mark struct {
	Time         time.Time
	Level, Event string
	Details      string // the other fields, as in JSON
	Routine      bool   // not marked in plots
}

// Causes returns the causes of loss, by name.
func (d *Datapath) Causes() []*Cause {
	return slices.SortedFunc(maps.Values(d.causes), func(a, b *Cause) int { return strings.Compare(a.Name, b.Name) })
}

func (d *Datapath) sample(at time.Time, f figures) {
	s := Sample{
		Time: at, Interval: time.Duration(f.IntervalMS) * time.Millisecond,
		Hit: f.HitDelta, Missed: f.MissedDelta, Lost: f.LostDelta, Upcalls: f.UpcallsDelta,
		Flows: f.Flows, Limit: f.FlowLimit, Longest: time.Duration(f.BatchMaxUS) * time.Microsecond,
		P99: time.Duration(f.UpcallP99US) * time.Microsecond,
	}
	// These have no delta fields. They start from 0 when the daemon starts and after it lost
	// its datapath.
	s.Batches, s.Busy = f.Batches, time.Duration(f.BatchUS)*time.Microsecond
	if d.seen && f.Batches >= d.last.Batches && f.BatchUS >= d.last.BatchUS && f.Upcalls >= d.last.Upcalls {
		s.Batches -= d.last.Batches
		s.Busy -= time.Duration(d.last.BatchUS) * time.Microsecond
	} else {
		s.First = true
	}
	d.last, d.seen = f, true
	d.Samples = append(d.Samples, s)
	if len(d.Samples) >= 2*maxSamples {
		d.Samples = thin(d.Samples)
	}
}

// thin merges samples in pairs, in place. Sums and peaks do not change.
func thin(all []Sample) []Sample {
	for i := range len(all) / 2 {
		a, b := all[2*i], all[2*i+1]
		b.Interval += a.Interval
		b.Hit += a.Hit
		b.Missed += a.Missed
		b.Lost += a.Lost
		b.Upcalls += a.Upcalls
		b.Flows = max(a.Flows, b.Flows)
		b.Batches += a.Batches
		b.Busy += a.Busy
		b.Longest = max(a.Longest, b.Longest)
		b.P99 = max(a.P99, b.P99)
		b.First = b.First || a.First
		all[i] = b
	}
	return all[:len(all)/2]
}

func (d *Datapath) lost(at time.Time, x loss) {
	c := d.causes[x.Cause]
	if c == nil {
		c = &Cause{Name: x.Cause}
		d.causes[x.Cause] = c
	}
	c.Total += x.Lost
	// The plot does not distinguish ports.
	if n := len(c.Losses); n > 0 && at.Sub(c.Losses[n-1].Time).Abs() < time.Second {
		c.Losses[n-1].N += x.Lost
		return
	}
	c.Losses = append(c.Losses, Loss{at, x.Lost})
	if len(c.Losses) >= 2*maxSamples {
		for i := range len(c.Losses) / 2 {
			c.Losses[i] = Loss{c.Losses[2*i].Time, c.Losses[2*i].N + c.Losses[2*i+1].N}
		}
		c.Losses = c.Losses[:len(c.Losses)/2]
	}
}

func (d *Datapath) mark(e *event, text []byte) {
	routine := class(e.Level) == "plain" && !slices.Contains(states, e.Event)
	if len(d.Marks)-d.routine >= maxMarks || routine && d.routine >= maxRoutine {
		d.Unshown++
		return
	}
	if routine {
		d.routine++
	}
	d.Marks = append(d.Marks, Mark{e.TS, e.Level, e.Event, details(text), routine})
}

// details returns the fields of the event itself, in order.
func details(text []byte) string {
	dec := json.NewDecoder(bytes.NewReader(text))
	if _, err := dec.Token(); err != nil {
		return ""
	}
	var out []string
	for dec.More() {
		key, err := dec.Token()
		var value json.RawMessage
		if err != nil || dec.Decode(&value) != nil {
			break
		}
		switch key {
		case "level", "ts", "event", "datapath", "schema":
			continue
		}
		out = append(out, fmt.Sprintf("%s=%s", key, value))
	}
	return strings.Join(out, " ")
}
