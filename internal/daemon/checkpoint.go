package daemon

import (
	"slices"
	"time"

	"dpifd/internal/checkpoint"
	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/forward"
	"dpifd/internal/odp"
	"dpifd/internal/rundir"
	"dpifd/internal/snoop"
	"dpifd/internal/vswitch"
)

// takeCheckpoint reports what the datapath lost since its last checkpoint, and keeps the saved
// MACs until the ports are known. It runs in the network namespace, before upcalls are
// received.
func (d *run) takeCheckpoint(server *vswitch.Server, dp *dpif.DatapathInfo) {
	now, err := checkpoint.New(dp)
	if err != nil {
		d.checkpointFailed(err)
		return
	}
	now.Datapath = d.cfg().Datapath.Name // the local port may have another name now
	d.now = *now
	before, err := checkpoint.Load(rundir.Path, checkpoint.Name(now.Datapath, now.Namespace))
	if err != nil {
		d.checkpointFailed(err)
		return
	}
	if d.served || before == nil || !before.Precedes(now) {
		return
	}
	same, err := server.Restore(before.Ports)
	if err != nil {
		d.checkpointFailed(err)
		return
	}
	// A number that now has another device does not inherit MACs. Tunnels have separate
	// numbers.
	other := func(no odp.PortNo) bool { return no < forward.FirstTunnelNo && !same[no] }
	d.policy.Await(slices.DeleteFunc(before.MACs.Entries(), func(e forward.MACEntry) bool { return other(e.Port) }),
		slices.DeleteFunc(before.Groups, func(e snoop.Entry) bool { return other(e.Port) }))
	if lost := now.Lost - before.Lost; lost > 0 {
		d.log.emit(evLostWhileDown{Lost: lost, Missed: now.Missed - before.Missed,
			Down: time.Duration(now.AtMS-before.AtMS) * time.Millisecond})
	}
}

// leaveCheckpoint saves the counters, and the MACs and groups if there are any.
func (d *run) leaveCheckpoint(server *vswitch.Server, dp *dpif.DatapathInfo, macs []forward.MACEntry,
	groups []snoop.Entry,
) {
	if d.now.Namespace == "" {
		return // the datapath cannot be distinguished from others
	}
	c := d.now
	c.AtMS, c.Missed, c.Lost, c.MACs = clock.NowMS(), dp.Stats.Missed, dp.Stats.Lost, checkpoint.Pack(macs)
	c.Groups = groups
	c.Ports = server.Entries()
	err := c.Save(rundir.Path)
	if err != nil {
		d.checkpointFailed(err)
		d.now.Namespace = ""
	}
}

func (d *run) checkpointFailed(err error) {
	d.log.emit(evCheckpointFailed{Err: err})
}
