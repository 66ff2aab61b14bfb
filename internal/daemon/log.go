package daemon

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"dpifd/internal/config"
	"dpifd/internal/console"
	"dpifd/internal/event"
	"dpifd/internal/odp"

	"go.uber.org/zap"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

// logger writes events. Nothing else in the daemon writes to the log.
type logger struct {
	zap      *zap.Logger
	level    zap.AtomicLevel
	datapath zap.Field // of events of the datapath
}

// schemaVersion is the field schema of each event. It increases when an event or a field is
// renamed or removed, or changes its meaning, unit or level, but not when events or fields are
// added.
const schemaVersion = 2

// newLogger returns a logger for the configuration. Each line goes to w in one Write. With
// priorities it starts with its level as a number of syslog, <6>, which journald removes
// (sd-daemon(3)).
func newLogger(w io.Writer, cfg *config.Config, priorities bool) (*logger, error) {
	level, err := zap.ParseAtomicLevel(string(cfg.Log.Level))
	if err != nil {
		return nil, fmt.Errorf("log level: %w", err)
	}
	enc := zapcore.EncoderConfig{
		TimeKey: "ts", LevelKey: "level", MessageKey: "event", LineEnding: "\n",
		EncodeTime:     zapcore.RFC3339NanoTimeEncoder,
		EncodeLevel:    zapcore.CapitalLevelEncoder,
		EncodeDuration: zapcore.MillisDurationEncoder,
	}
	encoder := zapcore.NewJSONEncoder(enc)
	if cfg.Log.Format == config.FormatConsole {
		encoder = console.New(w)
	}
	if priorities {
		encoder = prioritised{encoder}
	}
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), level)
	return &logger{zap: zap.New(core).With(zap.Int("schema", schemaVersion)), level: level,
		datapath: zap.String("datapath", cfg.Datapath.Name)}, nil
}

// prioritised adds the priority before each line.
type prioritised struct{ zapcore.Encoder }

// priorities are those of syslog(3), by level.
var priorities = map[zapcore.Level]string{
	zapcore.DebugLevel: "<7>", zapcore.InfoLevel: "<6>", zapcore.WarnLevel: "<4>", zapcore.ErrorLevel: "<3>",
}

var linePool = buffer.NewPool()

// Clone implements zapcore.Encoder.
func (p prioritised) Clone() zapcore.Encoder { return prioritised{p.Encoder.Clone()} }

// EncodeEntry implements zapcore.Encoder.
func (p prioritised) EncodeEntry(e zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	line, err := p.Encoder.EncodeEntry(e, fields)
	if err != nil {
		return nil, err
	}
	defer line.Free()
	out := linePool.Get()
	out.AppendString(priorities[e.Level])
	_, err = out.Write(line.Bytes())
	return out, err
}

// emit writes one event, if its level is enabled. It is an event.Sink.
func (l *logger) emit(e event.Event) {
	k := event.KindOf(e)
	level := zapcore.Level(k.Level)
	if !l.zap.Core().Enabled(level) {
		return
	}
	fields := make([]zap.Field, 0, 16)
	for name, value := range event.Values(e) {
		fields = append(fields, l.field(name, value))
	}
	l.zap.Log(level, k.Name, fields...)
}

// field converts a value of an event to a field of the log. Each field is printed, whatever its
// value; a duration in the unit of its name's suffix.
func (l *logger) field(name string, value any) zap.Field {
	switch v := value.(type) {
	case nil:
		if name == l.datapath.Key {
			return l.datapath
		}
		return zap.String(name, "")
	case time.Duration:
		return zap.Int64(name, int64(v/unitOf(name)))
	case odp.PortNo:
		return zap.Uint32(name, uint32(v))
	case error:
		return zap.String(name, v.Error())
	case fmt.Stringer:
		return zap.Stringer(name, v)
	case []string:
		return zap.Strings(name, v)
	case []uint32:
		return zap.Uint32s(name, v)
	}
	switch v := reflect.ValueOf(value); {
	case v.CanUint():
		return zap.Uint64(name, v.Uint())
	case v.CanInt():
		return zap.Int64(name, v.Int())
	}
	return zap.Any(name, value)
}

// unitOf returns the unit of a duration by the field's name.
func unitOf(name string) time.Duration {
	switch {
	case strings.HasSuffix(name, "_s"):
		return time.Second
	case strings.HasSuffix(name, "_us"):
		return time.Microsecond
	}
	return time.Millisecond
}

// enabled reports whether events of a level would be written.
func (l *logger) enabled(level event.Level) bool { return l.zap.Core().Enabled(zapcore.Level(level)) }
