package inspect

import (
	"encoding/json"
	"fmt"
	"math"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
)

// Ports returns the names of the ports of the datapath of a name.
func (r *Reader) Ports(name string) (map[odp.PortNo]string, error) {
	dp, err := dpif.OpenDatapath(r.conn, r.fam, name)
	if err != nil {
		return nil, err
	}
	vports, err := dp.Vports()
	names := make(map[odp.PortNo]string, len(vports))
	for _, v := range vports {
		names[v.No] = v.Name
	}
	return names, err
}

// Flows reads the flow table of the datapath of a name and calls each for every flow, which is
// borrowed until each returns. reset, which may be nil, is called when the dump starts again;
// earlier calls of each then do not count. An error of each ends the dump. The table may change
// meanwhile: a flow may be missed or seen twice.
func (r *Reader) Flows(name string, reset func(), each func(*dpif.Flow) error) error {
	dp, err := dpif.OpenDatapath(r.conn, r.fam, name)
	if err != nil {
		return err
	}
	return dp.Flows(false, reset, each)
}

// FlowText writes flows. Its Text controls port names and wildcarded fields.
type FlowText struct {
	odp.Text
	NowMS int64 // of CLOCK_MONOTONIC, to compute how long a flow was unused
}

// Append appends the flow as `ovs-dpctl dump-flows` prints it, without a
// newline; with Verbose as for -m. The flow's memory is not kept.
func (t *FlowText) Append(dst []byte, f *dpif.Flow) []byte {
	if t.Verbose && f.HasUFID {
		dst = fmt.Appendf(dst, "ufid:%s, ", f.UFID)
	}
	dst = t.AppendKey(dst, f.Key, f.Mask)
	dst = fmt.Appendf(dst, ", packets:%d, bytes:%d, used:", f.Packets, f.Bytes)
	if f.UsedMS == 0 {
		dst = append(dst, "never"...)
	} else {
		dst = fmt.Appendf(dst, "%.3fs", t.unused(f))
	}
	if f.TCPFlags != 0 {
		dst = appendTCPFlags(append(dst, ", flags:"...), f.TCPFlags)
	}
	if t.Verbose {
		dst = append(dst, ", dp:ovs"...)
	}
	return t.AppendActions(append(dst, ", actions:"...), f.Actions)
}

// unused is how long ago the flow was used, in seconds.
func (t *FlowText) unused(f *dpif.Flow) float64 { return float64(t.NowMS-f.UsedMS) / 1000 }

// flowJSON is a flow as the commands print it.
type flowJSON struct {
	UFID     string   `json:"ufid,omitempty"`
	Key      string   `json:"key"` // ODP text
	Actions  string   `json:"actions"`
	Packets  uint64   `json:"packets"`
	Bytes    uint64   `json:"bytes"`
	UnusedS  *float64 `json:"unused_s"` // seconds; null if no packet matched yet
	TCPFlags string   `json:"tcp_flags,omitempty"`
}

// AppendJSON appends the flow as one JSON object.
func (t *FlowText) AppendJSON(dst []byte, f *dpif.Flow) ([]byte, error) {
	j := flowJSON{Packets: f.Packets, Bytes: f.Bytes,
		Key: string(t.AppendKey(nil, f.Key, f.Mask)), Actions: string(t.AppendActions(nil, f.Actions))}
	if f.HasUFID {
		j.UFID = f.UFID.String()
	}
	if f.UsedMS != 0 {
		s := math.Round(t.unused(f)*1000) / 1000
		j.UnusedS = &s
	}
	if f.TCPFlags != 0 {
		j.TCPFlags = string(appendTCPFlags(nil, f.TCPFlags))
	}
	b, err := json.Marshal(j)
	return append(dst, b...), err
}

// tcpFlags are the letters of packet_format_tcp_flags (lib/packets.c, Open
// vSwitch 3.1), in its order. The kernel keeps the low eight flags.
var tcpFlags = []struct {
	bit    uint8
	letter byte
}{
	{0x02, 'S'}, {0x01, 'F'}, {0x08, 'P'}, {0x04, 'R'},
	{0x20, 'U'}, {0x10, '.'}, {0x40, 'E'}, {0x80, 'C'},
}

func appendTCPFlags(dst []byte, flags uint8) []byte {
	for _, f := range tcpFlags {
		if flags&f.bit != 0 {
			dst = append(dst, f.letter)
		}
	}
	return dst
}
