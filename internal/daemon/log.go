package daemon

import (
	"fmt"
	"io"

	"dpifd/internal/config"

	"go.uber.org/zap"
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

// newLogger returns a logger in the given format. Each line goes to w in one
// Write.
func newLogger(w io.Writer, format config.LogFormat, level config.Level) (*logger, error) {
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
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), lvl)
	return &logger{zap: zap.New(core), level: lvl}, nil
}

// emit writes one event. The fields are those that the event declares, in the
// order of the declaration; a test holds calls and declarations together.
func (l *logger) emit(e *event, fields ...zap.Field) {
	l.zap.Log(e.level, e.name, fields...)
}

// enabled reports whether e would be written.
func (l *logger) enabled(e *event) bool { return l.zap.Core().Enabled(e.level) }
