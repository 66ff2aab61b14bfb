package daemon

import (
	"time"

	"dpifd/internal/event"
	"dpifd/internal/odp"
	"dpifd/internal/vswitch"
)

type evSourceRefused struct {
	event.OfDatapath
	Port         string     `event:"port"`
	No           odp.PortNo `event:"port_no"`
	Refused      uint64     `event:"refused" means:"packets that the port may not send"`
	RefusedTotal uint64     `event:"refused_total" means:"the same since the port was added"`
	Reason       string     `event:"reason"`
	Example      string     `event:"example" means:"one of the packets: flow key in the syntax of ovs-dpctl"`
}

var _ = event.Declare[evSourceRefused](event.Kind{Name: "source_refused", Level: event.Warn,
	Meaning: "A port sends packets that its settings (`allow`, `dhcp_server`, `router_advertisements`) forbid; they " +
		"are dropped. `refused` counts them since the last such event of the port; at most one event in ten seconds " +
		"for each port. `example` is one of the last refused upcalls, and `reason` says why it was refused.",
	Advice: "Compare `example` with the settings of the port. If the host has a new address, add it to " +
		"`ports[].allow`. Otherwise it is an attack or a wrong setting of the host.",
})

// spoofedReport is the minimum interval of source_refused per port.
const spoofedReport = 10 * time.Second

// spoofedLog holds what source_refused has reported, by the serials of ports.
type spoofedLog map[uint64]struct {
	packets uint64
	at      time.Time
}

// spoofedPackets logs source_refused for each port that has sent forbidden packets.
func (s *statsLog) spoofedPackets(st *vswitch.Stats, now time.Time) {
	reported := make(spoofedLog, len(s.spoofed))
	for i := range st.Ports {
		p := &st.Ports[i]
		n := p.Counters.Spoofed
		if n == 0 {
			continue
		}
		last := s.spoofed[p.Serial]
		if n > last.packets && now.Sub(last.at) >= spoofedReport {
			x := s.server.SpoofedPacket(p.No)
			s.daemon.log.emit(evSourceRefused{Port: p.Name, No: p.No, Refused: n - last.packets, RefusedTotal: n,
				Reason: x.Reason, Example: string(odp.Text{}.AppendKey(nil, x.Key, nil))})
			last.packets, last.at = n, now
		}
		reported[p.Serial] = last
	}
	s.spoofed = reported
}
