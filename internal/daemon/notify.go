package daemon

import (
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/vswitch"

	"go.uber.org/zap"
)

// notify turns the events of the layers below into lines of the log.
func (d *run) notify(e vswitch.Event) {
	dp := zap.String("datapath", d.cfg().Datapath.Name)
	switch e := e.(type) {
	case vswitch.PortAdded:
		d.log.emit(evPortAdded, dp, zap.String("port", e.Name), zap.Uint32("port_no", uint32(e.No)),
			zap.Stringer("type", e.Type), zap.Int("handler", e.Handler), zap.Uint32("upcall_pid", e.UpcallPID),
			zap.Bool("created", e.Created))
		if e.Handler >= 0 {
			d.log.emit(evTransport, dp, zap.String("port", e.Name), zap.Uint32("port_no", uint32(e.No)),
				zap.Stringer("transport", e.Transport), zap.String("reason", e.Reason),
				zap.Int("rcvbuf_bytes", e.RcvBuf), zap.Uint64("ring_bytes", e.RingBytes))
		}
	case vswitch.RingDenied:
		d.log.emit(evRingDenied, dp, zap.String("port", e.Name), zap.Error(e.Err),
			zap.Uint64("ring_bytes", e.RingBytes), zap.Uint64("used_bytes", e.UsedBytes), zap.Uint64("limit_bytes", e.LimitBytes))
	case vswitch.DispatchSelected:
		d.log.emit(evDispatch, dp, zap.Stringer("dispatch", e.Dispatch), zap.String("reason", e.Reason),
			zap.String("cpus", e.CPUs), zap.Uint32s("upcall_pids", e.UpcallPIDs), zap.Int("rcvbuf_bytes", e.RcvBuf))
	case vswitch.CPUsChanged:
		d.log.emit(evCPUsChanged, dp, zap.String("cpus", e.Online), zap.String("was", e.Was), zap.Int("handlers", e.Handlers))
	case vswitch.HandlerStarted:
		d.log.emit(evHandler, dp, zap.Int("handler", e.Handler), zap.Stringer("transport", e.Transport), zap.String("reason", e.Reason))
	case vswitch.TXRingGivenUp:
		d.log.emit(evTXRingGivenUp, dp, zap.Int("handler", e.Handler), zap.Error(e.Err))
	case vswitch.PortRemoved:
		d.log.emit(evPortRemoved, dp, zap.String("port", e.Name), zap.Uint32("port_no", uint32(e.No)),
			zap.Uint64("upcalls", e.Counters.Upcalls), zap.Uint64("executed", e.Counters.Executed),
			zap.Uint64("lost", lost(&e.Counters)))
	case vswitch.PortRenamed:
		d.log.emit(evPortRenamed, dp, zap.String("port", e.Name), zap.Uint32("port_no", uint32(e.No)), zap.String("was", e.Was))
	case vswitch.PortWaiting:
		d.log.emit(evPortWaiting, dp, zap.String("port", e.Name), zap.Error(e.Err))
	case vswitch.PortSetupFailed:
		d.log.emit(evPortSetupFailed, dp, zap.String("port", e.Name), zap.Error(e.Err))
	case vswitch.DeviceSweepFailed:
		d.log.emit(evDeviceSweepFailed, dp, zap.Error(e.Err))
	case vswitch.PortFailed:
		d.log.emit(evPortFailed, dp, zap.String("port", e.Name), zap.Uint32("port_no", uint32(e.No)), zap.Error(e.Err))
	case vswitch.UpcallPIDRestored:
		d.log.emit(evPIDRestored, dp, zap.String("port", e.Name), zap.Uint32("port_no", uint32(e.No)),
			zap.Uint32s("found_pids", e.Found), zap.Uint32("upcall_pid", e.PID))
	case vswitch.FeaturesSet:
		d.log.emit(evFeatures, dp, zap.Stringer("asked", e.Asked), zap.Stringer("kept", e.Kept), zap.Stringer("before", e.Before),
			zap.Bool("rings", e.Rings))
	case vswitch.FeaturesRestored:
		d.log.emit(evFeaturesRestored, dp, zap.Stringer("found", e.Found), zap.Stringer("kept", e.Kept))
	case vswitch.NotifierOverflow:
		d.log.emit(evNotifierOverflow, dp, zap.String("source", e.Source))
	case vswitch.SocketsAdopted:
		d.log.emit(evSocketsAdopted, dp, zap.Int("adopted", e.Adopted), zap.Int("closed", e.Closed))
	case vswitch.SocketRefused:
		d.log.emit(evSocketRefused, dp, zap.String("name", e.Name), zap.Error(e.Err))
	case vswitch.SocketNotKept:
		d.log.emit(evSocketNotKept, dp, zap.String("port", e.Name), zap.Uint32("port_no", uint32(e.No)), zap.Error(e.Err))
	case vswitch.FlowsAdopted:
		d.log.emit(evFlowsAdopted, dp, zap.Int("flows", e.Flows))
	case vswitch.FlowLimitChanged:
		d.log.emit(evFlowLimitChanged, dp, zap.Int("from", e.From), zap.Int("to", e.To), zap.String("cause", e.Cause))
	case vswitch.FlowLimitReached:
		d.log.emit(evFlowLimit, dp, zap.Int("flows", e.Flows), zap.Int("limit", e.Limit))
	case vswitch.FlowLimitCleared:
		d.log.emit(evFlowLimitCleared, dp, zap.Int("flows", e.Flows), zap.Int("limit", e.Limit))
	case vswitch.MetersUnusable:
		d.log.emit(evStormControlOff, dp, zap.Int("meters", e.Meters), zap.Error(e.Err))
	case vswitch.StaticFlowInstalled:
		d.log.emit(evStaticInstalled, dp, zap.String("match", e.Match), zap.String("actions", e.Actions), zap.Stringer("ufid", e.UFID))
	case vswitch.StaticFlowRemoved:
		d.log.emit(evStaticRemoved, dp, zap.String("match", e.Match), zap.Stringer("ufid", e.UFID))
	case vswitch.StaticFlowWaiting:
		d.log.emit(evStaticWaiting, dp, zap.String("match", e.Match), zap.String("port", e.Missing))
	case vswitch.StaticFlowRestored:
		d.log.emit(evStaticRestored, dp, zap.String("match", e.Match), zap.Stringer("ufid", e.UFID), zap.String("cause", e.Cause))
	case vswitch.StaticFlowFailed:
		d.log.emit(evStaticFailed, dp, zap.String("match", e.Match), zap.String("actions", e.Actions), zap.Error(e.Err))
	case vswitch.RevalidatorFailed:
		d.log.emit(evRevalidatorFailed, dp, zap.Error(e.Err), zap.Int64("after_ms", e.At.Milliseconds()))
	}
}

// lost sums the packets of a port that came up, or should have, and did not
// go on.
func lost(c *vswitch.PortCounters) uint64 {
	return c.SocketDrops + undecodable(c) + c.ExecuteRefused + c.PolicyErrors + c.ActionUpcalls + c.Shed
}

// undecodable sums the messages that arrived and made no sense.
func undecodable(c *vswitch.PortCounters) uint64 {
	return c.DecodeErrors + c.Socket.Truncated + c.Socket.Malformed + c.Socket.Oversized + c.Socket.UnknownStatus
}

// traceUpcall logs one upcall, at level debug.
func (d *run) traceUpcall(port string, u *dpif.Upcall, v *policy.Verdict) {
	d.log.emit(evUpcall, zap.String("datapath", d.cfg().Datapath.Name), zap.String("port", port),
		zap.Uint32("port_no", uint32(u.InPort)), zap.Stringer("kind", u.Kind), zap.Int("packet_bytes", len(u.Packet)),
		zap.String("decision", v.Reason), zap.Bool("install", v.Install),
		zap.String("key", string(odp.Text{}.AppendKey(nil, u.Key, nil))),
		zap.String("actions", string(odp.Text{}.AppendActions(nil, v.Actions.Bytes()))))
}

// traceFlow logs what the revalidator does to a flow, at level debug.
func (d *run) traceFlow(op, reason string, f *dpif.Flow, idle time.Duration) {
	d.log.emit(evFlowChanged, zap.String("datapath", d.cfg().Datapath.Name), zap.String("op", op), zap.String("reason", reason),
		zap.Stringer("ufid", f.UFID), zap.Uint64("packets", f.Packets), zap.Int64("idle_ms", idle.Milliseconds()))
}
