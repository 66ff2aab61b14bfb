package inspect

import (
	"fmt"
	"strings"

	"dpifd/internal/device"
)

// AppendText appends what `ovs-dpctl show` prints of the datapath, with the ports' counters of
// -s if statistics is true. Lines about features and upcall sockets are added.
func (d *Datapath) AppendText(dst []byte, statistics bool) []byte {
	w := &text{buf: dst}
	w.line("system@%s:", d.Name)
	s := &d.Stats
	w.line("  lookups: hit:%d missed:%d lost:%d", s.Hit, s.Missed, s.Lost)
	w.line("  flows: %d", s.Flows)
	packets := s.Hit + s.Missed
	w.line("  masks: hit:%d total:%d hit/pkt:%.2f", s.MaskHit, s.Masks, ratio(s.MaskHit, packets))
	if s.CacheSize > 0 || s.CacheHit > 0 {
		w.line("  cache: hit:%d hit-rate:%.2f%%", s.CacheHit, 100*ratio(s.CacheHit, packets))
		w.line("  caches:")
		w.line("    masks-cache: size:%d", s.CacheSize)
	}
	features := "none"
	if len(d.Features) > 0 {
		features = strings.Join(d.Features, ",")
	}
	w.line("  features: %s", features)
	for cpu, s := range d.PerCPU {
		w.line("  upcalls of CPU %d: %s", cpu, s.text())
	}
	if d.perCPU && len(d.PerCPU) == 0 {
		w.line("  upcalls by CPU: no sockets are known; without any, packets that miss are lost")
	}
	for i := range d.Ports {
		d.Ports[i].append(w, statistics, !d.perCPU)
	}
	return w.buf
}

func (p *Port) append(w *text, statistics, sockets bool) {
	w.line("  port %d: %s%s", p.No, p.Name, p.options())
	if statistics {
		s := &p.Stats
		w.line("    RX packets:%d errors:%d dropped:%d", s.RxPackets, s.RxErrors, s.RxDropped)
		w.line("    TX packets:%d errors:%d dropped:%d", s.TxPackets, s.TxErrors, s.TxDropped)
		w.line("    RX bytes:%d%s  TX bytes:%d%s", s.RxBytes, human(s.RxBytes), s.TxBytes, human(s.TxBytes))
		if u := p.Upcalls; u != nil {
			w.line("    UPCALL packets:%d errors:%d", u.Packets, u.Errors)
		}
	}
	if sockets {
		for _, s := range p.Sockets {
			w.line("    upcalls: %s", s.text())
		}
	}
}

// options are a port's type and its options, nothing for a device that is not a tunnel. Tunnels
// have their own type, although the datapath has their devices like any other.
func (p *Port) options() string {
	kind := p.Type
	if kind == "netdev" {
		if kind = tunnelKinds[p.Device]; kind == "" {
			return ""
		}
	}
	if p.DstPort != 0 {
		return fmt.Sprintf(" (%s: dst_port=%d)", kind, p.DstPort)
	}
	return fmt.Sprintf(" (%s)", kind)
}

// tunnelKinds are Open vSwitch's names for kinds of tunnel devices.
var tunnelKinds = map[string]string{
	string(device.VXLAN): "vxlan", string(device.Geneve): "geneve",
	string(device.GRE): "gre", string(device.GRE6): "ip6gre",
}

func (s *Socket) text() string {
	switch {
	case s.PID == 0:
		return "pid:0, no listener: packets that miss are lost"
	case !s.Found:
		return fmt.Sprintf("pid:%d, not a socket of this network namespace", s.PID)
	}
	t := fmt.Sprintf("pid:%d queued:%d%s drops:%d", s.PID, s.Queued, human(s.Queued), s.Drops)
	if r := s.Ring; r != nil {
		t += fmt.Sprintf(" ring:%d/%d", r.Used, r.Frames)
	}
	for sep, i := " owner:", 0; i < len(s.Owners); sep, i = ",", i+1 {
		t += sep + s.Owners[i].String()
	}
	return t
}

// text collects lines.
type text struct{ buf []byte }

func (w *text) line(format string, args ...any) {
	w.buf = append(fmt.Appendf(w.buf, format, args...), '\n')
}

func ratio(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// human writes a size after its number of bytes as print_human_size of lib/dpctl.c does;
// nothing below a KiB.
func human(n uint64) string {
	for i, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if size := uint64(1) << (40 - 10*i); n >= size {
			return fmt.Sprintf(" (%.1f %s)", float64(n)/float64(size), unit)
		}
	}
	return ""
}
