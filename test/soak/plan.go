package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"dpifd/internal/lab"
)

// Plugs of the patchbay. The stable ones stay plugged in, the others come and go.
const (
	steadyLeft, steadyRight = 0, 1 // send to each other all the time
	witness                 = 2    // never a destination
	stablePlugs             = 6
	churnPlugs              = 24
	allPlugs                = stablePlugs + churnPlugs
)

// kind is what an action does.
type kind uint8

const (
	plug kind = iota
	unplug
	replug // at once, so that number and name may be reused
	linkFlap
	setMTU
	reloadGood
	reloadBad
	flip // ovs-dpctl show changes the datapath's features
	burst
	deleteDatapath
	stopStart
	killStart
	execSelf // SIGUSR2
	check    // pauses the traffic and checks the invariants
)

var kindNames = map[kind]string{
	plug: "plug", unplug: "unplug", replug: "replug", linkFlap: "link flap", setMTU: "MTU",
	reloadGood: "reload", reloadBad: "bad reload", flip: "feature flip", burst: "burst",
	deleteDatapath: "del-dp", stopStart: "stop and start", killStart: "kill -9 and start", execSelf: "exec",
	check: "check",
}

func (k kind) String() string { return kindNames[k] }

// weights are the frequencies of actions, per 1,000. Restarts are rare, since leaks need time to
// show.
var weights = []struct {
	kind   kind
	weight int
}{
	{plug, 250}, {unplug, 180}, {replug, 60}, {linkFlap, 100}, {setMTU, 50},
	{reloadGood, 130}, {reloadBad, 60}, {flip, 70}, {burst, 90},
	{deleteDatapath, 3}, {stopStart, 2}, {killStart, 2}, {execSelf, 3},
}

// early actions occur once in any case, in an order given by the seed, so that a short run includes
// them. earlyEvery is the number of actions between them.
var early = []kind{deleteDatapath, stopStart, killStart, execSelf}

const earlyEvery = 20

// action is one action of the plan.
type action struct {
	kind  kind
	plug  int
	mtu   int
	file  settings
	way   int           // how to make the file invalid
	count int           // frames in a burst
	pause time.Duration // before the action
}

func (a action) String() string {
	what := a.kind.String()
	switch a.kind {
	case plug, unplug, replug, linkFlap:
		what += fmt.Sprintf(" %d", a.plug)
	case setMTU:
		what += fmt.Sprintf(" %d of plug %d", a.mtu, a.plug)
	case reloadGood:
		what += " " + strings.ReplaceAll(strings.TrimSpace(a.file.text(nil)), "\n", "; ")
	case reloadBad:
		what += fmt.Sprintf(", way %d", a.way)
	case burst:
		what += fmt.Sprintf(" of %d", a.count)
	}
	return what
}

// settings are what reloads change, and the dispatch, which they do not change.
type settings struct {
	dispatch   string
	configured int // churning plugs in the list of ports
	flood      bool
	macAging   time.Duration
	macLimit   int
	flowLimit  int
	maxIdle    time.Duration
	debug      bool
}

// text returns the configuration file, without the list of ports if names is nil.
func (s settings) text(names []string) string {
	level := "info"
	if s.debug {
		level = "debug"
	}
	all := lab.Settings{
		"datapath": "{name: " + datapath + "}",
		"dispatch": s.dispatch,
		"policy":   "{type: flood}",
		"flows":    fmt.Sprintf("{limit: %d, max_idle: %v}", s.flowLimit, s.maxIdle),
		"log":      "{stats_interval: 1s, level: " + level + "}",
	}
	if !s.flood {
		all["policy"] = fmt.Sprintf("{type: learning, mac_aging: %v, mac_limit: %d}", s.macAging, s.macLimit)
	}
	if names != nil {
		all["ports"] = lab.Ports(names...)
	}
	return all.Text()
}

const datapath = "dp-soak"

// plan chooses the next action. It depends only on the seed.
type plan struct {
	random   *rand.Rand
	dispatch string
	plugged  [allPlugs]bool
	early    []int // indices of early, in order
	count    int   // number of actions
}

// checkEvery is the number of actions between two checks.
const checkEvery = 40

// dispatches are the values that a seed may choose.
var dispatches = []string{perVport, perCPU}

const perVport, perCPU = "per-vport", "per-cpu"

// drawDispatch uses its own random source: the actions are the same with either dispatch.
func drawDispatch(seed uint64) string {
	return dispatches[rand.New(rand.NewPCG(seed, 2)).IntN(len(dispatches))]
}

func newPlan(seed uint64, dispatch string) *plan {
	p := &plan{random: rand.New(rand.NewPCG(seed, 0)), dispatch: dispatch}
	p.early = p.random.Perm(len(early))
	for i := range stablePlugs {
		p.plugged[i] = true
	}
	return p
}

// first returns the configuration to start with.
func (p *plan) first() settings {
	return settings{dispatch: p.dispatch, configured: churnPlugs / 2, macAging: 5 * time.Minute, macLimit: 8192,
		flowLimit: 3000, maxIdle: 5 * time.Second}
}

// next returns the next action.
func (p *plan) next() action {
	p.count++
	if p.count%checkEvery == 0 {
		return action{kind: check}
	}
	a := action{kind: p.choose(), pause: time.Duration(20+p.random.IntN(400)) * time.Millisecond}
	if p.count%earlyEvery == earlyEvery/2 && len(p.early) > 0 {
		a.kind, p.early = early[p.early[0]], p.early[1:]
	}
	switch a.kind {
	case plug, unplug, replug, linkFlap, setMTU:
		p.aim(&a)
	case reloadGood:
		a.file = p.settings()
	case reloadBad:
		a.way = p.random.IntN(lab.SpoilWays)
	case burst:
		a.count = 100 + p.random.IntN(1400)
	}
	return a
}

func (p *plan) choose() kind {
	n := p.random.IntN(1000)
	for _, w := range weights {
		if n -= w.weight; n < 0 {
			return w.kind
		}
	}
	return check // unreachable: the weights add up to 1,000
}

// aim chooses the plug of an action, and replaces an action that a missing plug does not allow by
// plugging it in.
func (p *plan) aim(a *action) {
	i := stablePlugs + p.random.IntN(churnPlugs)
	a.plug, a.mtu = i, 600+p.random.IntN(8400)
	switch {
	case !p.plugged[i]:
		a.kind = plug
		p.plugged[i] = true
	case a.kind == plug || a.kind == unplug:
		a.kind = unplug
		p.plugged[i] = false
	}
}

// settings chooses a configuration. Few reloads change limits, so that flows can be observed to
// respect them. Idle times are long enough to keep the flow of a sending station.
func (p *plan) settings() settings {
	s := p.first()
	s.configured = p.random.IntN(churnPlugs + 1)
	s.flood = p.random.IntN(8) == 0
	s.macAging = time.Duration(30+p.random.IntN(270)) * time.Second
	s.macLimit = 1000 + p.random.IntN(9000)
	s.maxIdle = time.Duration(3000+p.random.IntN(7000)) * time.Millisecond
	s.debug = p.random.IntN(6) == 0
	if p.random.IntN(4) == 0 {
		s.flowLimit = 2000 + p.random.IntN(4000)
	}
	return s
}
