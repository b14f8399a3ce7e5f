package main

import (
	"io"
	"log/slog"
)

// logHandler writes log lines: text for people, and for Cloud Run the JSON that
// its logging reads (severity, message, time).
func logHandler(w io.Writer, format string, level slog.Level, env func(string) (string, bool)) (slog.Handler, error) {
	if format == "auto" {
		format = "text"
		for _, name := range []string{"CLOUD_RUN_JOB", "K_SERVICE"} {
			if _, ok := env(name); ok {
				format = "json"
			}
		}
	}
	switch format {
	case "text":
		return slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}), nil
	case "json":
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: cloudNames}), nil
	default:
		return nil, usageError("--log-format %q: it is auto, text or json", format)
	}
}

func cloudNames(groups []string, attr slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return attr
	}
	switch attr.Key {
	case slog.LevelKey:
		attr.Key = "severity"
		if attr.Value.String() == "WARN" {
			attr.Value = slog.StringValue("WARNING")
		}
	case slog.MessageKey:
		attr.Key = "message"
	}
	return attr
}
