package overview

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"dpifd/internal/dpif"
)

// Overview is the state of a datapath with rates per second.
type Overview struct {
	Datapath  string   `json:"datapath"`
	Policy    string   `json:"policy,omitempty"` // "" without a daemon
	UptimeS   int64    `json:"uptime_s"`         // of the daemon
	Flows     uint64   `json:"flows"`
	FlowLimit int64    `json:"flow_limit"` // 0 without a daemon
	Masks     uint32   `json:"masks"`
	MACs      int64    `json:"macs"`
	Hit       float64  `json:"hit_per_s"`    // packets that matched a flow
	Missed    float64  `json:"missed_per_s"` // upcalls
	Lost      float64  `json:"lost_per_s"`
	LostTotal uint64   `json:"lost"` // upcalls that the kernel could not deliver
	Ports     []Port   `json:"ports"`
	Problems  []string `json:"problems"` // for people; none means healthy
}

// Port is one port. Rates are per second, totals since it joined the datapath.
type Port struct {
	No        uint32  `json:"port_no"`
	Name      string  `json:"port"`
	Type      string  `json:"type"`
	VLAN      string  `json:"vlan"` // of the configuration; "" if that does not list the port
	Link      string  `json:"link"` // up, down, no carrier; "" if it is in another namespace
	MACs      int     `json:"macs"`
	RxPackets float64 `json:"rx_packets_per_s"`
	TxPackets float64 `json:"tx_packets_per_s"`
	RxBits    float64 `json:"rx_bits_per_s"`
	TxBits    float64 `json:"tx_bits_per_s"`
	Dropped   uint64  `json:"dropped"` // by the kernel or the device, both directions, with errors
	Lost      uint64  `json:"lost"`    // by dpifd, for any cause
}

// New compares two samples of one datapath.
func New(before, now *Sample) *Overview {
	k, was := now.Kernel.Stats, before.Kernel.Stats
	seconds := now.At.Sub(before.At).Seconds()
	o := &Overview{Datapath: now.Kernel.Name, Flows: k.Flows, Masks: k.Masks, LostTotal: k.Lost,
		Hit: rate(was.Hit, k.Hit, seconds), Missed: rate(was.Missed, k.Missed, seconds),
		Lost:  rate(was.Lost, k.Lost, seconds),
		Ports: []Port{}, Problems: []string{}}
	if now.Stats != nil {
		o.Policy = string(now.Config.Policy.Type)
		o.UptimeS, _ = now.Stats.Totals.Get("uptime_s")
		o.FlowLimit, _ = now.Stats.Totals.Get("flow_limit")
		o.MACs, _ = now.Stats.Totals.Get("macs")
	}
	old := map[string]dpif.VportStats{}
	for _, p := range before.Kernel.Ports {
		old[p.Name] = p.Stats
	}
	lost := now.lost()
	for _, p := range now.Kernel.Ports {
		was, known := old[p.Name]
		if !known {
			was = p.Stats
		}
		o.Ports = append(o.Ports, Port{No: uint32(p.No), Name: p.Name, Type: p.Type, VLAN: now.vlan(p.Name), Link: p.Link,
			MACs:      now.MACs[p.Name],
			RxPackets: rate(was.RxPackets, p.Stats.RxPackets, seconds),
			TxPackets: rate(was.TxPackets, p.Stats.TxPackets, seconds),
			RxBits:    8 * rate(was.RxBytes, p.Stats.RxBytes, seconds), TxBits: 8 * rate(was.TxBytes, p.Stats.TxBytes, seconds),
			Dropped: p.Stats.RxDropped + p.Stats.TxDropped + p.Stats.RxErrors + p.Stats.TxErrors, Lost: lost[p.Name]})
	}
	o.Problems = problems(before, now, o)
	return o
}

// rate returns the increase of a counter per second, 0 if it was reset.
func rate(before, now uint64, seconds float64) float64 {
	if now < before || seconds <= 0 {
		return 0
	}
	return float64(now-before) / seconds
}

// lost returns the packets lost by port.
func (s *Sample) lost() map[string]uint64 {
	sum := map[string]uint64{}
	if s.Stats != nil {
		for _, l := range s.Stats.Losses {
			sum[l.Port] += l.Lost
		}
	}
	return sum
}

// vlan returns the VLAN settings of a port, "" if it is not configured.
func (s *Sample) vlan(name string) string {
	if s.Config == nil {
		return ""
	}
	p := s.Config.Port(name)
	if p == nil {
		return ""
	}
	v := p.VLAN
	if v.Access != 0 {
		return fmt.Sprintf("access %d", v.Access)
	}
	text := "trunk all"
	if len(v.Trunk) > 0 {
		ranges := make([]string, len(v.Trunk))
		for i, r := range v.Trunk {
			ranges[i] = r.String()
		}
		text = "trunk " + strings.Join(ranges, ",")
	}
	if v.Native != 0 {
		text += fmt.Sprintf(" native %d", v.Native)
	}
	return text
}

// problems returns the problems in the order of urgency.
func problems(before, now *Sample, o *Overview) []string {
	list := []string{}
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if now.Err != nil {
		add("no daemon answers: %v", now.Err)
	}
	if o.Lost > 0 {
		add("%s packets/s are lost: the kernel cannot deliver them to the daemon", number(o.Lost))
	}
	if now.Stats == nil {
		return list
	}
	have := map[string]bool{}
	for _, p := range now.Kernel.Ports {
		have[p.Name] = true
		if p.Link == "no carrier" {
			add("%s has no carrier", p.Name)
		}
	}
	for _, p := range now.Config.Ports {
		if p.Match == "" && !have[p.Device().Name()] && !have[p.Name] {
			add("%s is configured and not attached", p.Name)
		}
	}
	if o.FlowLimit > 0 && int64(o.Flows) >= o.FlowLimit {
		add("the flow table is full: %d of %d flows", o.Flows, o.FlowLimit)
	}
	was := before.lost()
	for name, n := range now.lost() {
		if n > was[name] && before.Stats != nil && name != "" {
			add("%s lost %d packets since the previous sample (dpifd stats has the causes)", name, n-was[name])
		}
	}
	slices.Sort(list)
	return list
}

// number writes a rate with three digits and a decimal prefix.
func number(v float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= u.size {
			return fmt.Sprintf("%.3g%s", v/u.size, u.name)
		}
	}
	return fmt.Sprintf("%.3g", v)
}

// uptime formats seconds for people.
func uptime(s int64) string {
	d := time.Duration(s) * time.Second
	if days := s / (24 * 3600); days > 0 {
		return fmt.Sprintf("%dd%dh", days, s/3600%24)
	}
	return d.String()
}
