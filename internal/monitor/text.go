package monitor

import (
	"encoding/json"
	"fmt"

	"dpifd/internal/clock"
	"dpifd/internal/inspect"
	"dpifd/internal/odp"
)

// kind is the kind of an event's object.
func (ev *Event) kind() string {
	switch {
	case ev.Overflow != "":
		return "overflow"
	case ev.Link != nil:
		return "link"
	case ev.Datapath != nil:
		return "datapath"
	case ev.Vport != nil:
		return "vport"
	}
	return "flow"
}

// Name returns the name of the device, the port or, also for flows, the datapath.
func (ev *Event) Name() string {
	switch {
	case ev.Link != nil:
		return ev.Link.Name
	case ev.Vport != nil:
		return ev.Vport.Name
	}
	return ev.DP
}

// timeLayout is RFC 3339 with a fixed width, in UTC.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// AppendText appends the event as a line without newline. Flows are written by
// flows.
func (ev *Event) AppendText(dst []byte, flows *inspect.FlowText) []byte {
	dst = ev.Time.UTC().AppendFormat(dst, timeLayout)
	if ev.Overflow != "" {
		return fmt.Appendf(dst, " overflow %s: the kernel dropped events", ev.Overflow)
	}
	dst = fmt.Appendf(dst, " %s %s ", ev.kind(), ev.Op)
	switch {
	case ev.Link != nil:
		l := ev.Link
		dst = fmt.Appendf(dst, "%s ifindex:%d", l.Name, l.Index)
		if l.Kind != "" {
			dst = fmt.Appendf(dst, " kind:%s", l.Kind)
		}
		dst = fmt.Appendf(dst, " mtu:%d %s state:%s", l.MTU, upDown(l.Up()), operState(l.State))
		if l.Master != 0 {
			dst = fmt.Appendf(dst, " master:%d", l.Master)
		}
		if l.Address != "" {
			dst = fmt.Appendf(dst, " address:%s", l.Address)
		}
	case ev.Datapath != nil:
		dst = fmt.Appendf(dst, "%s features:%s", ev.DP, ev.Datapath.Features)
	case ev.Vport != nil:
		v := ev.Vport
		dst = fmt.Appendf(dst, "%s port:%d %s type:%s upcall_pids:%d", ev.DP, v.No, v.Name, v.Type, v.UpcallPIDs)
	case ev.Flow != nil:
		dst = flows.Append(fmt.Appendf(dst, "%s ", ev.DP), ev.Flow)
	}
	return dst
}

// eventJSON is an event as the command prints it.
type eventJSON struct {
	Time     string          `json:"time"`
	Event    string          `json:"event"`
	Op       string          `json:"op,omitempty"`
	Source   string          `json:"source,omitempty"`   // of an overflow
	Datapath string          `json:"datapath,omitempty"` // by name
	Features []string        `json:"features,omitempty"`
	Link     *linkJSON       `json:"link,omitempty"`
	Vport    *vportJSON      `json:"vport,omitempty"`
	Flow     json.RawMessage `json:"flow,omitempty"`
}

type linkJSON struct {
	Name    string `json:"name"`
	Ifindex int    `json:"ifindex"`
	Kind    string `json:"kind,omitempty"`
	MTU     uint32 `json:"mtu"`
	Up      bool   `json:"up"`
	State   string `json:"state"` // operational, RFC 2863
	Master  int    `json:"master,omitempty"`
	Address string `json:"address,omitempty"`
}

type vportJSON struct {
	No         odp.PortNo `json:"port_no"`
	Name       string     `json:"name"`
	Type       string     `json:"type"`
	Ifindex    uint32     `json:"ifindex,omitempty"`
	UpcallPIDs []uint32   `json:"upcall_pids"`
}

// AppendJSON appends the event as one JSON object.
func (ev *Event) AppendJSON(dst []byte, flows *inspect.FlowText) ([]byte, error) {
	j := eventJSON{Time: ev.Time.UTC().Format(timeLayout), Event: ev.kind(), Source: ev.Overflow, Datapath: ev.DP}
	if ev.Overflow == "" {
		j.Op = ev.Op.String()
	}
	switch {
	case ev.Link != nil:
		l := ev.Link
		j.Link = &linkJSON{l.Name, l.Index, l.Kind, l.MTU, l.Up(), operState(l.State), l.Master, l.Address}
	case ev.Datapath != nil:
		j.Features = ev.Datapath.Features.Names()
	case ev.Vport != nil:
		v := ev.Vport
		j.Vport = &vportJSON{v.No, v.Name, v.Type.String(), v.Ifindex, v.UpcallPIDs}
	case ev.Flow != nil:
		flow, err := flows.AppendJSON(nil, ev.Flow)
		if err != nil {
			return dst, err
		}
		j.Flow = flow
	}
	b, err := json.Marshal(j)
	return append(dst, b...), err
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

// operState is the name of an IF_OPER_* of linux/if.h as iproute2 writes it.
func operState(s uint8) string {
	names := [...]string{"unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state%d", s)
}

// FlowText returns text for writing the flows of an event, with the current port names if names
// is true.
func (m *Monitor) FlowText(ev *Event, text odp.Text, names bool) inspect.FlowText {
	if names {
		ports := m.names.find(ev.DP)
		text.PortName = func(no odp.PortNo) string { return ports[no] }
	}
	return inspect.FlowText{Text: text, NowMS: clock.NowMS()}
}
