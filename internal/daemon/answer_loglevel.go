package daemon

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"dpifd/internal/config"
	"dpifd/internal/control"

	"go.uber.org/zap/zapcore"
)

// Level is a level of the log: debug, info, warn or error.
type Level struct {
	Level string `json:"level"`
}

// Change tells a level before and after it was set.
type Change struct {
	Before string `json:"before"`
	Level  string `json:"level"`
}

// GetLogLevel asks for the level of the log. SetLogLevel changes it until the next
// reload or start.
var (
	GetLogLevel = answer(control.Endpoint[control.None, Level]{Method: http.MethodGet, Path: "/v1/log-level"}, (*run).logLevel)
	SetLogLevel = answer(control.Endpoint[Level, Change]{Method: http.MethodPut, Path: "/v1/log-level"}, (*run).setLogLevel)
)

func (d *run) logLevel(control.None, control.Peer) (Level, error) {
	return Level{d.log.level.String()}, nil
}

func (d *run) setLogLevel(to Level, by control.Peer) (Change, error) {
	next, err := zapcore.ParseLevel(to.Level)
	if err != nil || !slices.Contains(config.Levels(), to.Level) {
		return Change{}, control.BadRequest(fmt.Errorf("level %q: want %s", to.Level, strings.Join(config.Levels(), ", ")))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.log.level.Level()
	// The event is logged while the more verbose of the two is in force.
	changed := evLogLevel{From: before.String(), To: next.String(), PID: int(by.PID), UID: by.UID}
	if next > before {
		d.log.emit(changed)
	}
	d.log.level.SetLevel(next)
	if next <= before {
		d.log.emit(changed)
	}
	d.trace()
	return Change{Before: before.String(), Level: to.Level}, nil
}
