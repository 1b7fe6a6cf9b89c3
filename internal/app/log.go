// SPDX-License-Identifier: Apache-2.0

package app

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
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

// Logger returns a log to w, without its floods. c is valid. Where w is what [Main] has passed
// to a program, logging waits for nobody.
func (c LogConfig) Logger(w io.Writer) *slog.Logger {
	log, _ := c.Leveled(w)
	return log
}

// Leveled is Logger with the level, which may be set while it logs.
func (c LogConfig) Leveled(w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	c.SetLevel(level)
	handler := func(w io.Writer) slog.Handler { return c.handler(w, level) }
	t := newThrottle(handler(w))
	if o, ok := w.(*outlet); ok {
		o.speak(handler, t.flood.tellAll)
	}
	return slog.New(t), level
}

// SetLevel sets the level of a log to that of c, which is valid.
func (c LogConfig) SetLevel(of *slog.LevelVar) {
	level, _ := c.level()
	of.Set(level)
}

func (c LogConfig) handler(w io.Writer, level slog.Leveler) slog.Handler {
	opts := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		opts.ReplaceAttr = asText
		return slog.NewJSONHandler(w, opts)
	}
	return slog.NewTextHandler(w, opts)
}

// asText has JSON show what has a text of its own, such as a duration, as the text form does: a
// duration without its unit would be a riddle.
func asText(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindDuration:
		a.Value = slog.StringValue(a.Value.Duration().String())
	case slog.KindAny:
		switch v := a.Value.Any().(type) {
		case error, json.Marshaler, encoding.TextMarshaler: // JSON has a text of these.
		case []time.Duration:
			texts := make([]string, len(v))
			for i, d := range v {
				texts[i] = d.String()
			}
			a.Value = slog.AnyValue(texts)
		case fmt.Stringer:
			a.Value = slog.StringValue(fmt.Sprint(v)) // Which a nil pointer survives.
		}
	}
	return a
}
