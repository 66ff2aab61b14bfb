package overview

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"text/tabwriter"
)

// Order is the sort order of ports.
type Order string

// Orders of ports.
const (
	ByNumber Order = "port"
	ByRx     Order = "rx"
	ByTx     Order = "tx"
	ByLoss   Order = "loss"
)

// Sort sorts the ports in descending order.
func (o *Overview) Sort(by Order) {
	slices.SortStableFunc(o.Ports, func(a, b Port) int {
		switch by {
		case ByRx:
			return cmp.Compare(b.RxBits, a.RxBits)
		case ByTx:
			return cmp.Compare(b.TxBits, a.TxBits)
		case ByLoss:
			return cmp.Compare(b.Lost+b.Dropped, a.Lost+a.Dropped)
		}
		return cmp.Compare(a.No, b.No)
	})
}

// AppendHead appends a few lines about the whole datapath.
func (o *Overview) AppendHead(dst []byte) []byte {
	dst = fmt.Appendf(dst, "%s  ", o.Datapath)
	if o.Policy != "" {
		dst = fmt.Appendf(dst, "policy %s  up %s  flows %d of %d  masks %d  MACs %d\n", o.Policy, uptime(o.UptimeS),
			o.Flows, o.FlowLimit, o.Masks, o.MACs)
	} else {
		dst = fmt.Appendf(dst, "flows %d  masks %d\n", o.Flows, o.Masks)
	}
	ratio := 100.0
	if all := o.Hit + o.Missed; all > 0 {
		ratio = 100 * o.Hit / all
	}
	dst = fmt.Appendf(dst, "packets %s/s  upcalls %s/s  in the kernel %.1f%%  lost %s/s (%d in all)\n",
		number(o.Hit+o.Missed), number(o.Missed), ratio, number(o.Lost), o.LostTotal)
	if len(o.Problems) == 0 {
		return append(dst, "healthy\n"...)
	}
	for _, p := range o.Problems {
		dst = fmt.Appendf(dst, "problem: %s\n", p)
	}
	return dst
}

// AppendPorts appends a table of the ports.
func (o *Overview) AppendPorts(dst []byte) []byte {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NO\tPORT\tTYPE\tVLAN\tLINK\tMACS\tRX/s\tTX/s\tRX bit/s\tTX bit/s\tDROPPED\tLOST")
	for _, p := range o.Ports {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%d\t%d\n", p.No, p.Name, p.Type, cmp.Or(p.VLAN, "-"),
			cmp.Or(p.Link, "-"), p.MACs,
			number(p.RxPackets), number(p.TxPackets), number(p.RxBits), number(p.TxBits), p.Dropped, p.Lost)
	}
	_ = w.Flush() // into memory
	return append(dst, b.Bytes()...)
}

// AppendText appends the whole overview.
func (o *Overview) AppendText(dst []byte) []byte {
	return o.AppendPorts(append(o.AppendHead(dst), '\n'))
}
