package daemon

import (
	"fmt"
	"io"

	"dpifd/internal/config"

	"go.uber.org/zap"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

// emitter takes events: the log, or what stands in for it.
type emitter interface {
	emit(e *event, fields ...zap.Field)
}

// logger writes events. Nothing else in the daemon writes to the log.
type logger struct {
	zap   *zap.Logger
	level zap.AtomicLevel
}

// schemaVersion is the field schema of each event. It grows when an event or a
// field is renamed or removed, or changes its meaning, unit or level; not when
// events or fields are added.
const schemaVersion = 2

// newLogger returns a logger in the given format. Each line goes to w in one
// Write. With priorities it begins with its level as journald and syslog number
// it, <6>, which journald takes off again (sd-daemon(3)).
func newLogger(w io.Writer, format config.LogFormat, level config.Level, priorities bool) (*logger, error) {
	lvl, err := zap.ParseAtomicLevel(string(level))
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
	if format == config.FormatConsole {
		encoder = zapcore.NewConsoleEncoder(enc)
	}
	if priorities {
		encoder = prioritised{encoder}
	}
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), lvl)
	return &logger{zap: zap.New(core).With(zap.Int("schema", schemaVersion)), level: lvl}, nil
}

// prioritised puts the priority before each line.
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

// emit writes one event. The fields are those that the event declares, in the
// order of the declaration; a test holds calls and declarations together.
func (l *logger) emit(e *event, fields ...zap.Field) {
	l.zap.Log(e.level, e.name, fields...)
}

// enabled reports whether e would be written.
func (l *logger) enabled(e *event) bool { return l.zap.Core().Enabled(e.level) }
