package wire

import (
	"context"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab/units"
)

// NewLog makes a log that writes one JSON object a line: "event" is what
// happened, "monotonic_s" when, in seconds of the kernel's CLOCK_MONOTONIC, which
// is the same for all programs of a machine and never set. Levels are written
// from WARN up, and what is below INFO is left out.
func NewLog(w io.Writer) *slog.Logger {
	var now unix.Timespec
	// Cannot fail: the clock exists on every Linux.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return slog.New(&logHandler{
		json: slog.NewJSONHandler(w, &slog.HandlerOptions{
			ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
				if len(groups) > 0 {
					return a
				}
				switch a.Key {
				case slog.MessageKey:
					a.Key = "event"
				case slog.LevelKey:
					if level, ok := a.Value.Any().(slog.Level); ok && level < slog.LevelWarn {
						return slog.Attr{}
					}
				}
				return a
			},
		}),
		started:   time.Now(),
		monotonic: time.Duration(now.Nano()),
	})
}

// logHandler gives records the kernel's monotonic time. slog itself strips the
// monotonic part of a record's time before anything could convert it.
type logHandler struct {
	json      slog.Handler
	started   time.Time
	monotonic time.Duration // at started
}

func (h *logHandler) Enabled(ctx context.Context, l slog.Level) bool { return h.json.Enabled(ctx, l) }

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	at := units.Seconds(h.monotonic + r.Time.Sub(h.started))
	event := r.Message
	if event == "" {
		event = "note" // libraries log errors without words of their own
	}
	stamped := slog.NewRecord(time.Time{}, r.Level, event, 0)
	stamped.AddAttrs(slog.Any("monotonic_s", at))
	r.Attrs(func(a slog.Attr) bool {
		stamped.AddAttrs(a)
		return true
	})
	return h.json.Handle(ctx, stamped)
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.json = h.json.WithAttrs(attrs)
	return &with
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	with := *h
	with.json = h.json.WithGroup(name)
	return &with
}
