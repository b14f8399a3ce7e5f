package brokers

import (
	"context"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kgo"
)

// clientLog hands the client's log on. What the client deals with itself is
// of interest only to those who debug.
type clientLog struct{ log *slog.Logger }

// Level is asked before each message.
func (l clientLog) Level() kgo.LogLevel {
	switch {
	case l.log == nil:
		return kgo.LogLevelNone
	case l.log.Enabled(context.Background(), slog.LevelDebug):
		return kgo.LogLevelInfo
	default:
		return kgo.LogLevelError
	}
}

// Log writes one message.
func (l clientLog) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	at := slog.LevelDebug
	if level == kgo.LogLevelError {
		at = slog.LevelWarn
	}
	l.log.Log(context.Background(), at, "kafka: "+msg, keyvals...)
}
