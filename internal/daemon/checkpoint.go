package daemon

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"dpifd/internal/binding"
	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/forward"
	"dpifd/internal/netns"
	"dpifd/internal/odp"
	"dpifd/internal/rundir"
	"dpifd/internal/vswitch"
)

// checkpoint is what a daemon leaves to the next one of the datapath, so that
// this knows what was lost while nobody listened, and which station is where.
// It is a file in memory (/run), written at each look at the counters.
type checkpoint struct {
	Datapath  string `json:"datapath"`
	Index     int32  `json:"dp_index"`
	Namespace string `json:"namespace"`
	AtMS      int64  `json:"at_ms"` // CLOCK_MONOTONIC
	Missed    uint64 `json:"missed"`
	Lost      uint64 `json:"lost"`
	// MACs is the MAC table, left at a hand-over only: other successors learn
	// from the flows.
	MACs macTable `json:"macs,omitempty"`
	// Ports are the vports with their devices and entries in the configuration.
	Ports []binding.Port `json:"ports,omitempty"`
}

// macTable is a MAC table in fixed records: reading it takes time in which
// upcalls wait.
type macTable []byte

// macRecord is the size of a record: VLAN, MAC, port and time, big-endian.
const macRecord = 2 + 6 + 4 + 8

func packMACs(entries []forward.MACEntry) macTable {
	t := make(macTable, 0, len(entries)*macRecord)
	for _, e := range entries {
		t = binary.BigEndian.AppendUint16(t, e.VLAN)
		t = append(t, e.MAC[:]...)
		t = binary.BigEndian.AppendUint32(t, uint32(e.Port))
		t = binary.BigEndian.AppendUint64(t, uint64(e.SeenMS))
	}
	return t
}

// entries returns the records that are whole.
func (t macTable) entries() []forward.MACEntry {
	list := make([]forward.MACEntry, 0, len(t)/macRecord)
	for ; len(t) >= macRecord; t = t[macRecord:] {
		list = append(list, forward.MACEntry{
			VLAN: binary.BigEndian.Uint16(t), MAC: odp.MAC(t[2:8]),
			Port: odp.PortNo(binary.BigEndian.Uint32(t[8:])), SeenMS: int64(binary.BigEndian.Uint64(t[12:])),
		})
	}
	return list
}

// maxCheckpoint bounds the file that is read, in bytes: two million MACs.
const maxCheckpoint = 64 << 20

// checkpointName is the file of a datapath's checkpoint in the runtime directory.
// Datapaths of one name may exist in several network namespaces.
func checkpointName(datapath, namespace string) string {
	return fmt.Sprintf("%s.%s.state", datapath, netns.Number(namespace))
}

// newCheckpoint returns the state of a datapath in the calling thread's network
// namespace.
func newCheckpoint(dp *dpif.DatapathInfo) (*checkpoint, error) {
	ns, err := netns.Current()
	if err != nil {
		return nil, err
	}
	return &checkpoint{Datapath: dp.Name, Index: dp.Index, Namespace: ns, AtMS: clock.NowMS(),
		Missed: dp.Stats.Missed, Lost: dp.Stats.Lost}, nil
}

// save replaces the file of a name in a runtime directory.
func (c *checkpoint) save(dir, name string) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	d, err := rundir.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.WriteFile(name, data)
}

// loadCheckpoint reads the file of a name in a runtime directory, nil if there is none.
func loadCheckpoint(dir, name string) (*checkpoint, error) {
	d, err := rundir.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	data, err := d.ReadFile(name, maxCheckpoint)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := parseCheckpoint(data)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", dir, name, err)
	}
	return c, nil
}

func parseCheckpoint(data []byte) (*checkpoint, error) {
	c := &checkpoint{}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, err
	}
	return c, nil
}

// precedes reports whether c is of the same datapath as now, and older.
func (c *checkpoint) precedes(now *checkpoint) bool {
	return c.Datapath == now.Datapath && c.Index == now.Index && c.Namespace == now.Namespace &&
		c.AtMS <= now.AtMS && c.Missed <= now.Missed && c.Lost <= now.Lost
}

// takeCheckpoint says what the datapath lost since its last checkpoint, and
// keeps the MACs left there for when the ports are known. It runs in the
// network namespace, before upcalls are received.
func (d *run) takeCheckpoint(server *vswitch.Server, dp *dpif.DatapathInfo) {
	now, err := newCheckpoint(dp)
	if err != nil {
		d.checkpointFailed(err)
		return
	}
	now.Datapath = d.cfg().Datapath.Name // the local port may have another name now
	d.now = *now
	d.checkpoints = checkpointName(now.Datapath, now.Namespace)
	before, err := loadCheckpoint(rundir.Path, d.checkpoints)
	if err != nil {
		d.checkpointFailed(err)
		return
	}
	if d.served || before == nil || !before.precedes(now) {
		return
	}
	same, err := server.Restore(before.Ports)
	if err != nil {
		d.checkpointFailed(err)
		return
	}
	// A number that another device has now does not inherit MACs. Tunnels have numbers of
	// their own.
	d.policy.await(slices.DeleteFunc(before.MACs.entries(), func(e forward.MACEntry) bool {
		return e.Port < forward.FirstTunnelNo && !same[e.Port]
	}))
	if lost := now.Lost - before.Lost; lost > 0 {
		d.log.emit(evLostWhileDown{Lost: lost, Missed: now.Missed - before.Missed,
			Down: time.Duration(now.AtMS-before.AtMS) * time.Millisecond})
	}
}

// leaveCheckpoint writes the counters down, and the MACs if there are any.
func (d *run) leaveCheckpoint(server *vswitch.Server, dp *dpif.DatapathInfo, macs []forward.MACEntry) {
	if d.now.Namespace == "" {
		return // there is no way to tell the datapath from others
	}
	c := d.now
	c.AtMS, c.Missed, c.Lost, c.MACs = clock.NowMS(), dp.Stats.Missed, dp.Stats.Lost, packMACs(macs)
	c.Ports = server.Entries()
	err := c.save(rundir.Path, d.checkpoints)
	if err != nil {
		d.checkpointFailed(err)
		d.now.Namespace = ""
	}
}

func (d *run) checkpointFailed(err error) {
	d.log.emit(evCheckpointFailed{Err: err})
}
