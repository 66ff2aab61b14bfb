package daemon

import (
	"fmt"
	"slices"
	"strings"

	"dpifd/internal/config"
	"dpifd/internal/control"
	"dpifd/internal/endpoint"

	"go.uber.org/zap/zapcore"
)

var (
	_ = answer(endpoint.GetLogLevel, (*run).logLevel)
	_ = answer(endpoint.SetLogLevel, (*run).setLogLevel)
)

func (d *run) logLevel(control.None, control.Peer) (endpoint.Level, error) {
	return endpoint.Level{Level: d.log.level.String()}, nil
}

func (d *run) setLogLevel(to endpoint.Level, by control.Peer) (endpoint.Change, error) {
	next, err := zapcore.ParseLevel(to.Level)
	if err != nil || !slices.Contains(config.Levels(), to.Level) {
		err := fmt.Errorf("level %q: want %s", to.Level, strings.Join(config.Levels(), ", "))
		return endpoint.Change{}, control.BadRequest(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.log.level.Level()
	// The event is logged with the more verbose of the two levels.
	changed := evLogLevel{From: before.String(), To: next.String(), PID: int(by.PID), UID: by.UID}
	if next > before {
		d.log.emit(changed)
	}
	d.log.level.SetLevel(next)
	if next <= before {
		d.log.emit(changed)
	}
	d.trace()
	return endpoint.Change{Before: before.String(), Level: to.Level}, nil
}
