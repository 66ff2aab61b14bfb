package daemon

import (
	"context"
	"os"
	"strconv"
	"strings"

	"dpifd/internal/clock"
	"dpifd/internal/config"
	"dpifd/internal/endpoint"
	"dpifd/internal/policyswitch"
	"dpifd/internal/portdevice"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap/zapcore"
)

// reloads reads the configuration file again, or logs the state, on each request until ctx
// ends.
func (d *run) reloads(ctx context.Context, asked, dump <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
			_, _ = d.reload() // the result is logged
		case <-dump:
			d.dumpState()
		}
	}
}

// notifyReloading reports a reload to the service manager, with the time (Type=notify-reload,
// systemd 253).
func (d *run) notifyReloading() {
	d.notifyManager(sd.SdNotifyReloading, "MONOTONIC_USEC="+strconv.FormatInt(clock.Now().Microseconds(), 10))
}

// reload applies the file's configuration. A file that cannot be used changes nothing; keys
// that need a restart keep their values. The result is logged and reported to the service
// manager.
func (d *run) reload() (endpoint.Reloaded, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notifyReloading()
	status := "serving " + d.cfg().Datapath.Name
	done, err := d.use()
	if err != nil {
		d.log.emit(evReloadFailed{Config: d.path, Err: err})
		first, _, _ := strings.Cut(err.Error(), "\n")
		status += "; the last reload failed: " + first
	}
	d.notifyManager(sd.SdNotifyReady, "STATUS="+status)
	return done, err
}

// use is reload without reporting a failure. The caller holds d.mu.
func (d *run) use() (endpoint.Reloaded, error) {
	next, err := config.Load(d.path, d.set...)
	if err != nil {
		return endpoint.Reloaded{}, err
	}
	was := d.cfg()
	ignored, changed := config.ReloadChanges(next, was)
	if !policyswitch.ForwardsAlike(next, was) {
		if err := d.policy.Use(next); err != nil {
			return endpoint.Reloaded{}, err
		}
	}
	d.config.Store(next)
	if level, err := zapcore.ParseLevel(string(next.Log.Level)); err == nil {
		d.log.level.SetLevel(level)
	}
	d.trace()
	if d.devices != nil {
		d.devices.Configure(next.Ports)
	}
	if d.server != nil {
		d.server.Reconfigure(portdevice.Ports(next), flowLimits(next))
	}
	d.log.emit(evReloaded{Config: d.path, Changed: changed})
	if len(ignored) > 0 {
		d.log.emit(evReloadIgnored{Config: d.path, Keys: ignored})
	}
	return endpoint.Reloaded{Config: d.path, Changed: changed, Ignored: ignored}, nil
}
