package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// LogConfig is the flags that say what is logged, and how.
type LogConfig struct {
	Level  string // -log-level: debug, info, warn or error.
	Format string // -log-format: text or json.
}

// Validate returns all that is wrong with c, or nil.
func (c LogConfig) Validate() (err error) {
	if _, bad := c.level(); bad != nil {
		err = fmt.Errorf("-log-level is %q, want debug, info, warn or error", c.Level)
	}
	if c.Format != "text" && c.Format != "json" {
		err = errors.Join(err, fmt.Errorf("-log-format is %q, want text or json", c.Format))
	}
	return err
}

func (c LogConfig) level() (l slog.Level, err error) {
	err = l.UnmarshalText([]byte(c.Level))
	return l, err
}

// Logger returns a log to w, without its floods. c is valid.
func (c LogConfig) Logger(w io.Writer) *slog.Logger {
	level, _ := c.level()
	opts := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(newThrottle(slog.NewJSONHandler(w, opts)))
	}
	return slog.New(newThrottle(slog.NewTextHandler(w, opts)))
}

const (
	// throttleBurst lines with the same message are logged in throttlePeriod. The rest
	// is counted, and told with the next one that is logged.
	throttleBurst  = 10
	throttlePeriod = 10 * time.Second
	// throttleKinds bounds the messages that are told apart. Those of libraries may have
	// addresses in them, so peers could make more; these share one place then.
	throttleKinds = 256
)

// throttle is a [slog.Handler] that keeps floods of alike lines out of the log: what a
// client can cause a thousand times a second must not fill a disk. Lines at debug pass,
// as an operator who asks for these wants all of them.
type throttle struct {
	slog.Handler
	flood *floods
}

// floods counts lines by message, for a handler and all that come from it.
type floods struct {
	sync.Mutex
	kinds map[string]*kind
}

// kind is one message.
type kind struct {
	begun     time.Time // The period.
	passed    int       // In it.
	swallowed int       // Since a line passed.
}

func newThrottle(h slog.Handler) throttle {
	return throttle{h, &floods{kinds: map[string]*kind{}}}
}

// Handle implements [slog.Handler].
func (t throttle) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		swallowed, pass := t.flood.take(r.Message, r.Time)
		if !pass {
			return nil
		}
		if swallowed > 0 {
			r = r.Clone()
			r.Add("swallowed", swallowed)
		}
	}
	return t.Handler.Handle(ctx, r)
}

// take reports whether a line may pass, and how many like it did not since the last one.
func (f *floods) take(message string, now time.Time) (swallowed int, pass bool) {
	f.Lock()
	defer f.Unlock()
	k := f.kinds[message]
	if k == nil {
		if len(f.kinds) >= throttleKinds {
			message = "" // All others.
		}
		if k = f.kinds[message]; k == nil {
			k = &kind{begun: now}
			f.kinds[message] = k
		}
	}
	if now.Sub(k.begun) >= throttlePeriod {
		k.begun, k.passed = now, 0
	}
	if k.passed == throttleBurst {
		k.swallowed++
		return 0, false
	}
	k.passed++
	swallowed, k.swallowed = k.swallowed, 0
	return swallowed, true
}

// WithAttrs implements [slog.Handler].
func (t throttle) WithAttrs(attrs []slog.Attr) slog.Handler {
	return throttle{t.Handler.WithAttrs(attrs), t.flood}
}

// WithGroup implements [slog.Handler].
func (t throttle) WithGroup(name string) slog.Handler {
	return throttle{t.Handler.WithGroup(name), t.flood}
}
