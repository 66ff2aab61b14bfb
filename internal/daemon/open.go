package daemon

import (
	"context"
	"dpifd/internal/netns"
	"errors"
	"fmt"
	"time"

	"dpifd/internal/checkpoint"
	"dpifd/internal/config"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/genl"
	"dpifd/internal/netlink"
	"dpifd/internal/rundir"

	"golang.org/x/sys/unix"
)

// moduleName is the kernel module of the datapath.
const moduleName = "openvswitch"

const (
	moduleRetry    = time.Second // between two look-ups while waiting
	moduleReminder = time.Minute // between two lines about it
	datapathRetry  = time.Second // between two looks for a datapath that went away
)

// resolve finds the openvswitch families. Where they are missing it has the
// module loaded, once, and then waits for it if the configuration says so.
func (d *run) resolve(ctx context.Context, conn *netlink.Conn) (*dpif.Families, error) {
	fam, err := dpif.ResolveFamilies(conn)
	if !errors.Is(err, dpif.ErrNoModule) {
		return fam, err
	}
	if d.served {
		return d.waitForModule(ctx, conn)
	}
	d.log.emit(evModuleLoading{Module: moduleName})
	if loadErr := genl.LoadModule(ctx, moduleName); loadErr != nil {
		d.log.emit(evModuleLoadFailed{Module: moduleName, Err: loadErr})
	}
	fam, err = dpif.ResolveFamilies(conn)
	if !errors.Is(err, dpif.ErrNoModule) {
		return fam, err
	}
	if !d.cfg().WaitForModule {
		return nil, fmt.Errorf("%w; load it with `modprobe %s` (Debian: it is part of the kernel package), "+
			"or set wait_for_module: true to wait for it", err, moduleName)
	}
	return d.waitForModule(ctx, conn)
}

func (d *run) waitForModule(ctx context.Context, conn *netlink.Conn) (*dpif.Families, error) {
	start := time.Now()
	said := start.Add(-moduleReminder)
	tick := time.NewTicker(moduleRetry)
	defer tick.Stop()
	for {
		if time.Since(said) >= moduleReminder {
			said = time.Now()
			d.log.emit(evModuleWaiting{Module: moduleName, Waited: time.Since(start)})
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
		d.looks.Add(1)
		fam, err := dpif.ResolveFamilies(conn)
		if !errors.Is(err, dpif.ErrNoModule) {
			return fam, err
		}
	}
}

// openDatapath finds the families and opens the configured datapath, or
// creates it where it may. One that was served before and may not be created
// is waited for, and so is the module.
func (d *run) openDatapath(ctx context.Context, conn *netlink.Conn) (*dpif.Datapath, error) {
	for {
		fam, err := d.resolve(ctx, conn)
		if err != nil {
			return nil, err
		}
		dp, created, info, err := d.tryDatapath(conn, fam)
		if err == nil {
			d.devices.SetDatapathCreated(created)
			d.log.emit(evDatapathOpened{Index: dp.Index(), Created: created, Flows: info.Stats.Flows,
				Hit: info.Stats.Hit, Missed: info.Stats.Missed, Lost: info.Stats.Lost})
			return dp, nil
		}
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w (dpifd needs CAP_NET_ADMIN)", err)
		}
		// ENOENT: the module, and with it the families, went meanwhile.
		if !d.served || !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(datapathRetry):
		}
		d.looks.Add(1)
	}
}

// tryDatapath opens the datapath once, or creates it where it may.
func (d *run) tryDatapath(conn *netlink.Conn, fam *dpif.Families) (dp *dpif.Datapath, created bool, info dpif.DatapathInfo, err error) {
	name := d.cfg().Datapath.Name
	dp, err = dpif.OpenDatapath(conn, fam, name)
	if errors.Is(err, unix.ENODEV) {
		if dp, info, ok := d.formerDatapath(conn, fam); ok {
			return dp, false, info, nil
		}
		if !d.cfg().Datapath.Create {
			return nil, false, info, fmt.Errorf("%w (it does not exist, and datapath.create is false)", err)
		}
		dp, err = dpif.CreateDatapath(conn, fam, name, 0)
		created = err == nil
		if errors.Is(err, unix.EEXIST) {
			// Somebody else was faster.
			dp, err = dpif.OpenDatapath(conn, fam, name)
		}
	}
	if err == nil {
		info, err = dp.Info()
	}
	return dp, created, info, err
}

// formerDatapath finds the datapath that the last daemon of this configuration served, by
// its index: its local port may have another name now.
func (d *run) formerDatapath(conn *netlink.Conn, fam *dpif.Families) (*dpif.Datapath, dpif.DatapathInfo, bool) {
	name := d.cfg().Datapath.Name
	ns, err := netns.Current()
	if err != nil {
		return nil, dpif.DatapathInfo{}, false
	}
	before, err := checkpoint.Load(rundir.Path, checkpoint.Name(name, ns))
	if err != nil || before == nil {
		return nil, dpif.DatapathInfo{}, false // said when the checkpoint is needed
	}
	list, err := dpif.Datapaths(conn, fam)
	if err != nil {
		return nil, dpif.DatapathInfo{}, false
	}
	for _, info := range list {
		now, err := checkpoint.New(&info)
		if err != nil {
			continue
		}
		if now.Datapath = name; before.Precedes(now) {
			d.log.emit(evDatapathRenamed{LocalPort: info.Name, Index: info.Index})
			return dpif.NewDatapath(conn, fam, name, info.Index), info, true
		}
	}
	return nil, dpif.DatapathInfo{}, false
}

// leave does what on_exit asks for.
func (d *run) leave(dp *dpif.Datapath) error {
	var err error
	var done event.Event = evFlowsFlushed{}
	switch d.cfg().Datapath.OnExit {
	case config.OnExitFlush:
		err = dp.FlushFlows()
	case config.OnExitDelete:
		done = evDatapathDeleted{}
		if err = dp.Delete(); err == nil {
			err = d.devices.Sweep(nil)
		}
	default:
		return nil
	}
	if err != nil {
		d.log.emit(evExitFailed{OnExit: string(d.cfg().Datapath.OnExit), Err: err})
		return err
	}
	d.log.emit(done)
	return nil
}
