package transport

import (
	"fmt"
	"slices"

	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/netlink"
	"dpifd/internal/upcall"

	"golang.org/x/sys/unix"
)

// noPerCPU is the reason why configured per-CPU dispatch is not used.
const noPerCPU = "the kernel has no per-CPU dispatch (Linux >= 5.15)"

// Dispatcher makes the kernel send upcalls to the sockets, through the user features of the
// datapath.
type Dispatcher struct {
	kernel   dpif.FeatureKernel
	sockets  *Sockets
	notify   event.Sink
	features dpif.Features // in force
	cpus     cpus          // as the kernel's table of upcall PIDs has them
	reader   *cpuReader    // nil under per-vport dispatch
}

// NewDispatcher returns a Dispatcher for sockets, whose handlers must be set.
func NewDispatcher(k dpif.FeatureKernel, sockets *Sockets) *Dispatcher {
	return &Dispatcher{kernel: k, sockets: sockets, notify: sockets.notify}
}

// Negotiate sets the user features, and with them the dispatch: the wanted one if the kernel
// has it.
func (d *Dispatcher) Negotiate(wanted dpif.Dispatch) error {
	before, err := d.kernel.Info()
	if err != nil {
		return err
	}
	asked, why := d.sockets.rings.features(), "configured"
	if wanted == dpif.DispatchPerCPU {
		if err := d.openShared(before); err != nil {
			return err
		}
		asked |= dpif.FeatureDispatchPerCPU
	}
	if err := d.setFeatures(asked); err != nil {
		return err
	}
	if wanted == dpif.DispatchPerCPU {
		has, err := d.dispatchesByCPU()
		if err != nil {
			return err
		}
		if !has {
			why = noPerCPU
			d.closeShared()
		}
	}
	d.notify(FeaturesSet{Asked: asked, Kept: d.features, Before: before.Features, Rings: d.sockets.HasRings()})
	chosen := DispatchSelected{Dispatch: d.dispatch(), Reason: why, CPUs: d.cpus.list}
	for _, sock := range d.sockets.Shared() {
		chosen.UpcallPIDs = append(chosen.UpcallPIDs, sock.PortID())
		chosen.RcvBuf = sock.RcvBuf()
	}
	d.notify(chosen)
	return nil
}

// setFeatures sets features with the table of upcall PIDs, and records what the kernel keeps.
func (d *Dispatcher) setFeatures(f dpif.Features) error {
	kept, err := dpif.SetFeatures(d.kernel, f, d.perCPUPIDs())
	if err == nil {
		d.features = kept
	}
	return err
}

// dispatchesByCPU reports whether the kernel really has per-CPU dispatch. Older kernels keep unknown
// features without supporting them, see RefusesUnknown. A kernel that reports the table of PIDs
// supports it, but Linux < 6.1 does not report the table. If it is not supported, the feature is
// removed again.
func (d *Dispatcher) dispatchesByCPU() (bool, error) {
	if d.features&dpif.FeatureDispatchPerCPU == 0 {
		return false, nil
	}
	info, err := d.kernel.Info()
	if err != nil || info.PerCPUPIDs != nil {
		return err == nil, err
	}
	if refuses, err := dpif.RefusesUnknown(d.kernel); err != nil || refuses {
		return refuses, err
	}
	d.features, err = dpif.SetFeatures(d.kernel, d.features&^dpif.FeatureDispatchPerCPU, nil)
	return false, err
}

// dispatch is the one in force.
func (d *Dispatcher) dispatch() dpif.Dispatch {
	if d.sockets.Shared() != nil {
		return dpif.DispatchPerCPU
	}
	return dpif.DispatchPerVport
}

// openShared opens a socket for each handler, or takes over one to which the datapath sends
// upcalls. They queue upcalls until Serve.
func (d *Dispatcher) openShared(before dpif.DatapathInfo) (err error) {
	if d.reader, err = openCPUs(); err != nil {
		return err
	}
	if d.cpus, err = d.reader.read(); err != nil {
		return err
	}
	s := d.sockets
	pids := before.PerCPUPIDs
	if pids == nil && before.Features&dpif.FeatureDispatchPerCPU != 0 {
		// The kernel does not report them, but only these are possible.
		pids = s.inheritedPIDs()
	}
	var shared []*Socket
	for _, h := range s.handlers {
		sock := s.adoptShared(pids, h.ID())
		if sock == nil {
			r, err := netlink.OpenReceiver(unix.NETLINK_GENERIC, netlink.ReceiverConfig{RcvBuf: s.rcvBuf})
			if err != nil {
				return fmt.Errorf("handler %d: upcall socket: %w", h.ID(), err)
			}
			sock = &Socket{Socket: upcall.NewSharedSocket(r, h.ID())}
		}
		sock.Reason, sock.handler = "per-CPU dispatch has no rings", h
		shared = append(shared, sock)
		s.Keep(sock)
	}
	s.shared.Store(&shared)
	return nil
}

// Serve makes the handlers serve the sockets of per-CPU dispatch. Call it when the policy knows
// the ports; otherwise it would drop upcalls that were queued between two processes.
func (d *Dispatcher) Serve() error {
	for _, sock := range d.sockets.Shared() {
		for _, err := range sock.handler.Attach(sock.Socket) {
			return err
		}
	}
	return nil
}

// closeShared closes the sockets that no handler serves yet.
func (d *Dispatcher) closeShared() {
	for _, sock := range d.sockets.Shared() {
		d.sockets.store.remove(sock)
		sock.Close()
	}
	d.reader.close()
	d.sockets.shared.Store(nil)
}

// perCPUPIDs are the upcall PIDs by CPU, nil without per-CPU dispatch. CPUs that are not online
// have one too, so that the kernel always finds a handler.
func (d *Dispatcher) perCPUPIDs() []uint32 {
	shared := d.sockets.Shared()
	if shared == nil {
		return nil
	}
	pids := make([]uint32, len(shared))
	for i, sock := range shared {
		pids[i] = sock.PortID()
	}
	return spread(d.cpus, pids)
}

// Changed reports whether the datapath's features, or its table of upcall PIDs if the kernel
// reports it, differ from the wanted ones.
func (d *Dispatcher) Changed(info dpif.DatapathInfo) bool {
	return info.Features != d.features ||
		d.sockets.Shared() != nil && info.PerCPUPIDs != nil && !slices.Equal(info.PerCPUPIDs, d.perCPUPIDs())
}

// Restore sets features and table again, and returns the features that the kernel kept. It does
// not request others again, because its own change is notified like that of any program.
func (d *Dispatcher) Restore() (dpif.Features, error) {
	err := d.setFeatures(d.features)
	return d.features, err
}

// CheckCPUs checks whether CPUs went offline or online, and makes the handlers share the online
// ones. Without per-CPU dispatch it does nothing.
func (d *Dispatcher) CheckCPUs() error {
	shared := d.sockets.Shared()
	if shared == nil {
		return nil
	}
	now, err := d.reader.read()
	if err != nil || now.list == d.cpus.list {
		return err
	}
	was := d.cpus.list
	d.cpus = now
	if _, err := dpif.SetFeatures(d.kernel, d.features, d.perCPUPIDs()); err != nil {
		return err
	}
	d.notify(CPUsChanged{Online: now.list, Was: was, Handlers: len(shared)})
	return nil
}

// Off stops the upcalls to the sockets of CPUs. A deleted datapath is not an error.
func (d *Dispatcher) Off() error {
	if d.sockets.Shared() == nil {
		return nil
	}
	_, err := dpif.SetFeatures(d.kernel, d.features&^dpif.FeatureDispatchPerCPU, nil)
	if dpif.IsGone(err) {
		return nil
	}
	return err
}

// Close is idempotent. It leaves the sockets to Sockets.Close.
func (d *Dispatcher) Close() { d.reader.close() }
