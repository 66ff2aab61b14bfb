package daemon

import (
	"context"
	"os"
	"reflect"
	"strconv"
	"strings"

	"dpifd/internal/clock"
	"dpifd/internal/config"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap/zapcore"
)

// reloads reads the configuration file again, or logs the state, each time it
// is asked to, until ctx ends.
func (d *run) reloads(ctx context.Context, asked, dump <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
			_, _ = d.reload() // the outcome is logged
		case <-dump:
			d.dumpState()
		}
	}
}

// tellReloading tells the service manager, which wants the time as well
// (Type=notify-reload, systemd 253).
func (d *run) tellReloading() {
	d.tellManager(sd.SdNotifyReloading, "MONOTONIC_USEC="+strconv.FormatInt(clock.Now().Microseconds(), 10))
}

// reload puts the file's configuration into force. A file that cannot be used
// changes nothing; what takes a restart keeps its value. The log and the service
// manager are told the outcome.
func (d *run) reload() (Reloaded, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tellReloading()
	status := "serving " + d.cfg().Datapath.Name
	done, err := d.use()
	if err != nil {
		d.log.emit(evReloadFailed{Config: d.path, Err: err})
		first, _, _ := strings.Cut(err.Error(), "\n")
		status += "; the last reload failed: " + first
	}
	d.tellManager(sd.SdNotifyReady, "STATUS="+status)
	return done, err
}

// use is reload without telling of a failure. d.mu is held.
func (d *run) use() (Reloaded, error) {
	next, err := config.Load(d.path, d.set...)
	if err != nil {
		return Reloaded{}, err
	}
	was := d.cfg()
	ignored, changed := ReloadChanges(next, was)
	if !forwardsAlike(next, was) {
		if err := d.policy.use(next); err != nil {
			return Reloaded{}, err
		}
	}
	d.config.Store(next)
	if level, err := zapcore.ParseLevel(string(next.Log.Level)); err == nil {
		d.log.level.SetLevel(level)
	}
	d.trace()
	if d.devices != nil {
		d.devices.configure(next.Ports)
	}
	if d.server != nil {
		d.server.Reconfigure(portConfigs(next), flowLimits(next))
	}
	d.log.emit(evReloaded{Config: d.path, Changed: changed})
	if len(ignored) > 0 {
		d.log.emit(evReloadIgnored{Config: d.path, Keys: ignored})
	}
	return Reloaded{d.path, changed, ignored}, nil
}

// ReloadChanges says what a reload changes: ignored are the keys that differ and
// take a restart, whose values next is given from was; changed are the top-level
// keys that differ besides.
func ReloadChanges(next, was *config.Config) (ignored, changed []string) {
	return keepUntilRestart(next, was), differences(next, was)
}

// keepUntilRestart gives next the values of was for the keys that are only read
// at start, and returns those that differed.
func keepUntilRestart(next, was *config.Config) []string {
	keys := []string{}
	keep := func(key string, next, was any) {
		n, w := reflect.ValueOf(next).Elem(), reflect.ValueOf(was).Elem()
		if !reflect.DeepEqual(n.Interface(), w.Interface()) {
			keys = append(keys, key)
			n.Set(w)
		}
	}
	keep("datapath.name", &next.Datapath.Name, &was.Datapath.Name)
	keep("netns", &next.Netns, &was.Netns)
	keep("dispatch", &next.Dispatch, &was.Dispatch)
	keep("handlers", &next.Handlers, &was.Handlers)
	keep("ring", &next.Ring, &was.Ring)
	keep("socket", &next.Socket, &was.Socket)
	keep("flows.prime", &next.Flows.Prime, &was.Flows.Prime)
	keep("log.format", &next.Log.Format, &was.Log.Format)
	keep("control", &next.Control, &was.Control)
	return keys
}

// differences names the top-level keys at which two configurations differ.
func differences(a, b *config.Config) []string {
	keys := []string{}
	va, vb := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range va.NumField() {
		if !reflect.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
			keys = append(keys, va.Type().Field(i).Tag.Get("yaml"))
		}
	}
	return keys
}
