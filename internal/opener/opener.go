package opener

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dpifd/internal/checkpoint"
	"dpifd/internal/config"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/genl"
	"dpifd/internal/netlink"
	"dpifd/internal/netns"
	"dpifd/internal/rundir"

	"golang.org/x/sys/unix"
)

// moduleName is the kernel module of the datapath.
const moduleName = "openvswitch"

const (
	moduleRetry    = time.Second // between two look-ups while waiting
	moduleReminder = time.Minute // between two lines about it
	datapathRetry  = time.Second // between two looks for a removed datapath
)

// Config says which datapath to open, and holds the functions to call.
type Config struct {
	Config   func() *config.Config // in force
	Opened   bool                  // a datapath was served before: wait for it
	Progress func()                // called at each look while there is nothing to open
	Notify   event.Sink
}

// Opener opens the datapath of a daemon, and opens it again after it was removed.
type Opener struct {
	cfg    Config
	conn   *netlink.Conn
	opened bool // before
}

// New returns an Opener that sends its requests on conn.
func New(conn *netlink.Conn, cfg Config) *Opener {
	return &Opener{cfg: cfg, conn: conn, opened: cfg.Opened}
}

// resolve finds the openvswitch families. If they are missing, it loads the module, once, and
// then waits for it if the configuration says so.
func (o *Opener) resolve(ctx context.Context) (*dpif.Families, error) {
	fam, err := dpif.ResolveFamilies(o.conn)
	if !errors.Is(err, dpif.ErrNoModule) {
		return fam, err
	}
	if o.opened {
		return o.waitForModule(ctx)
	}
	o.cfg.Notify(ModuleLoading{Module: moduleName})
	if loadErr := genl.LoadModule(ctx, moduleName); loadErr != nil {
		o.cfg.Notify(ModuleLoadFailed{Module: moduleName, Err: loadErr})
	}
	fam, err = dpif.ResolveFamilies(o.conn)
	if !errors.Is(err, dpif.ErrNoModule) {
		return fam, err
	}
	if !o.cfg.Config().WaitForModule {
		return nil, fmt.Errorf("%w; load it with `modprobe %s` (Debian: it is part of the kernel package), "+
			"or set wait_for_module: true to wait for it", err, moduleName)
	}
	return o.waitForModule(ctx)
}

func (o *Opener) waitForModule(ctx context.Context) (*dpif.Families, error) {
	start := time.Now()
	reported := start.Add(-moduleReminder)
	tick := time.NewTicker(moduleRetry)
	defer tick.Stop()
	for {
		if time.Since(reported) >= moduleReminder {
			reported = time.Now()
			o.cfg.Notify(ModuleWaiting{Module: moduleName, Waited: time.Since(start)})
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
		o.cfg.Progress()
		fam, err := dpif.ResolveFamilies(o.conn)
		if !errors.Is(err, dpif.ErrNoModule) {
			return fam, err
		}
	}
}

// Open finds the families and opens the configured datapath, or creates it if the configuration
// allows it. It waits for a datapath that was served before and must not be created, and for
// the module.
func (o *Opener) Open(ctx context.Context) (dp *dpif.Datapath, created bool, err error) {
	for {
		fam, err := o.resolve(ctx)
		if err != nil {
			return nil, false, err
		}
		dp, created, info, err := o.tryDatapath(fam)
		if err == nil {
			o.cfg.Notify(DatapathOpened{Index: dp.Index(), Created: created, Flows: info.Stats.Flows,
				Hit: info.Stats.Hit, Missed: info.Stats.Missed, Lost: info.Stats.Lost})
			o.opened = true
			return dp, created, nil
		}
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w (dpifd needs CAP_NET_ADMIN)", err)
		}
		// ENOENT: the module, and with it the families, has been removed meanwhile.
		if !o.opened || !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENOENT) {
			return nil, false, err
		}
		select {
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-time.After(datapathRetry):
		}
		o.cfg.Progress()
	}
}

// tryDatapath opens the datapath once, or creates it if the configuration allows it.
func (o *Opener) tryDatapath(fam *dpif.Families) (dp *dpif.Datapath, created bool, info dpif.DatapathInfo, err error) {
	name := o.cfg.Config().Datapath.Name
	dp, err = dpif.OpenDatapath(o.conn, fam, name)
	if errors.Is(err, unix.ENODEV) {
		if dp, info, ok := o.formerDatapath(fam); ok {
			return dp, false, info, nil
		}
		if !o.cfg.Config().Datapath.Create {
			return nil, false, info, fmt.Errorf("%w (it does not exist, and datapath.create is false)", err)
		}
		dp, err = dpif.CreateDatapath(o.conn, fam, name, 0)
		created = err == nil
		if errors.Is(err, unix.EEXIST) {
			// Another program was faster.
			dp, err = dpif.OpenDatapath(o.conn, fam, name)
		}
	}
	if err == nil {
		info, err = dp.Info()
	}
	return dp, created, info, err
}

// formerDatapath finds the datapath that the previous daemon of this configuration served by
// its index, because its local port may have another name now.
func (o *Opener) formerDatapath(fam *dpif.Families) (*dpif.Datapath, dpif.DatapathInfo, bool) {
	name := o.cfg.Config().Datapath.Name
	ns, err := netns.Current()
	if err != nil {
		return nil, dpif.DatapathInfo{}, false
	}
	before, err := checkpoint.Load(rundir.Path, checkpoint.Name(name, ns))
	if err != nil || before == nil {
		return nil, dpif.DatapathInfo{}, false // reported when the checkpoint is needed
	}
	list, err := dpif.Datapaths(o.conn, fam)
	if err != nil {
		return nil, dpif.DatapathInfo{}, false
	}
	for _, info := range list {
		now, err := checkpoint.New(&info)
		if err != nil {
			continue
		}
		if now.Datapath = name; before.Precedes(now) {
			o.cfg.Notify(DatapathRenamed{LocalPort: info.Name, Index: info.Index})
			return dpif.NewDatapath(o.conn, fam, name, info.Index), info, true
		}
	}
	return nil, dpif.DatapathInfo{}, false
}
