// Package checkpoint saves the state of a daemon for the next daemon of the same datapath, in
// the runtime directory.
package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"dpifd/internal/binding"
	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/forward"
	"dpifd/internal/netns"
	"dpifd/internal/odp"
	"dpifd/internal/rundir"
	"dpifd/internal/snoop"
)

// Checkpoint is the state that a daemon saves for the next daemon of the same datapath. From it
// the next one knows how many packets were lost while no daemon listened, and the port of each
// station. It is a file in memory (/run), written each time the counters are read.
type Checkpoint struct {
	Datapath  string `json:"datapath"`
	Index     int32  `json:"dp_index"`
	Namespace string `json:"namespace"`
	AtMS      int64  `json:"at_ms"` // CLOCK_MONOTONIC
	Missed    uint64 `json:"missed"`
	Lost      uint64 `json:"lost"`
	// MACs is the MAC table, saved at a hand-over only: other successors learn from the flows.
	MACs MACTable `json:"macs,omitempty"`
	// Groups are the members of multicast groups, saved at a hand-over only.
	Groups []snoop.Entry `json:"groups,omitempty"`
	// Ports are the vports with their devices and entries in the configuration.
	Ports []binding.Port `json:"ports,omitempty"`
}

// MACTable is a MAC table in records of fixed size, because upcalls wait while it is read.
type MACTable []byte

// recordSize is the size of a record: VLAN, MAC, port and time, big-endian.
const recordSize = 2 + 6 + 4 + 8

// Pack returns the table of entries.
func Pack(entries []forward.MACEntry) MACTable {
	t := make(MACTable, 0, len(entries)*recordSize)
	for _, e := range entries {
		t = binary.BigEndian.AppendUint16(t, e.VLAN)
		t = append(t, e.MAC[:]...)
		t = binary.BigEndian.AppendUint32(t, uint32(e.Port))
		t = binary.BigEndian.AppendUint64(t, uint64(e.SeenMS))
	}
	return t
}

// Entries returns the complete records.
func (t MACTable) Entries() []forward.MACEntry {
	list := make([]forward.MACEntry, 0, len(t)/recordSize)
	for ; len(t) >= recordSize; t = t[recordSize:] {
		list = append(list, forward.MACEntry{
			VLAN: binary.BigEndian.Uint16(t), MAC: odp.MAC(t[2:8]),
			Port: odp.PortNo(binary.BigEndian.Uint32(t[8:])), SeenMS: int64(binary.BigEndian.Uint64(t[12:])),
		})
	}
	return list
}

// maxSize limits the size of the file in bytes: it has room for two million MACs.
const maxSize = 64 << 20

// Name is the file of a datapath's checkpoint in the runtime directory.
// Datapaths of one name may exist in several network namespaces.
func Name(datapath, namespace string) string {
	return fmt.Sprintf("%s.%s.state", datapath, netns.Number(namespace))
}

// New returns the state of a datapath in the calling thread's network
// namespace.
func New(dp *dpif.DatapathInfo) (*Checkpoint, error) {
	ns, err := netns.Current()
	if err != nil {
		return nil, err
	}
	return &Checkpoint{Datapath: dp.Name, Index: dp.Index, Namespace: ns, AtMS: clock.NowMS(),
		Missed: dp.Stats.Missed, Lost: dp.Stats.Lost}, nil
}

// Save replaces the file of the datapath, see Name, in a runtime directory.
func (c *Checkpoint) Save(dir string) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	d, err := rundir.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.WriteFile(Name(c.Datapath, c.Namespace), data)
}

// Load reads the file of a name in a runtime directory, nil if there is none.
func Load(dir, name string) (*Checkpoint, error) {
	d, err := rundir.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	data, err := d.ReadFile(name, maxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", dir, name, err)
	}
	return c, nil
}

func parse(data []byte) (*Checkpoint, error) {
	c := &Checkpoint{}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, err
	}
	return c, nil
}

// Precedes reports whether c is of the same datapath as now, and older.
func (c *Checkpoint) Precedes(now *Checkpoint) bool {
	return c.Datapath == now.Datapath && c.Index == now.Index && c.Namespace == now.Namespace &&
		c.AtMS <= now.AtMS && c.Missed <= now.Missed && c.Lost <= now.Lost
}
