// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// throttleBurst lines with the same message are logged in throttlePeriod. The rest
	// is counted, and told when the period ends.
	throttleBurst  = 10
	throttlePeriod = 10 * time.Second
	// throttleKinds bounds the messages that are told apart. Those of libraries may have
	// addresses in them, so peers could make more; these share one place then.
	throttleKinds = 256
	// otherLines is the message of what is told of them.
	otherLines = "many other lines"
)

// throttle is a [slog.Handler] that keeps floods of alike lines out of the log: what a
// client can cause a thousand times a second must not fill a disk. Lines at debug pass,
// as an operator who asks for these wants all of them.
//
// It is the only one in front of a log. Who logs what may come often need not count it, and a line
// that says how many there were is not swallowed by another throttle.
type throttle struct {
	slog.Handler
	flood *floods
}

// floods counts lines by message, for a handler and all that come from it.
type floods struct {
	to slog.Handler // Where it is told what was swallowed.

	sync.Mutex
	kinds map[string]*kind
	swept time.Time // When kinds that are over were last forgotten.
}

// kind is one message.
type kind struct {
	begun     time.Time // The period.
	passed    int       // In it.
	swallowed int       // Lines that nothing was told of yet.
	level     slog.Level
}

func newThrottle(h slog.Handler) throttle {
	return throttle{h, &floods{to: h, kinds: map[string]*kind{}}}
}

// Handle implements [slog.Handler].
func (t throttle) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo && !t.flood.pass(r.Message, r.Level, r.Time) {
		return nil
	}
	return t.Handler.Handle(ctx, r)
}

// pass reports whether a line may pass. The first one of a period that may not has the
// number told at its end.
func (f *floods) pass(message string, level slog.Level, now time.Time) bool {
	f.Lock()
	defer f.Unlock()
	k := f.find(&message, now)
	if now.Sub(k.begun) >= throttlePeriod {
		k.begun, k.passed = now, 0
	}
	if k.passed < throttleBurst {
		k.passed++
		return true
	}
	k.swallowed++
	k.level = max(k.level, level)
	if k.swallowed == 1 {
		time.AfterFunc(k.begun.Add(throttlePeriod).Sub(now), func() { f.tell(message, k) })
	}
	return false
}

// find returns the kind of a message, which becomes that of all others if there are too many.
func (f *floods) find(message *string, now time.Time) *kind {
	if k := f.kinds[*message]; k != nil {
		return k
	}
	if len(f.kinds) >= throttleKinds && now.Sub(f.swept) >= throttlePeriod {
		f.swept = now
		for m, k := range f.kinds {
			if k.swallowed == 0 && now.Sub(k.begun) >= throttlePeriod {
				delete(f.kinds, m)
			}
		}
	}
	if len(f.kinds) >= throttleKinds {
		*message = otherLines
	}
	k := f.kinds[*message]
	if k == nil {
		k = &kind{begun: now}
		f.kinds[*message] = k
	}
	return k
}

// tell says how many lines of a kind were swallowed. What can't be said now, as the log is full,
// is said a period later.
func (f *floods) tell(message string, k *kind) {
	f.Lock()
	n, level := k.swallowed, k.level
	k.swallowed, k.level = 0, 0
	f.Unlock()
	if n == 0 {
		return
	}
	r := slog.NewRecord(time.Now(), level, message, 0)
	r.AddAttrs(slog.Int("swallowed", n))
	if f.to.Handle(context.Background(), r) == nil {
		return
	}
	f.Lock()
	defer f.Unlock()
	if k.swallowed == 0 {
		time.AfterFunc(throttlePeriod, func() { f.tell(message, k) })
	}
	k.swallowed += n
	k.level = max(k.level, level)
}

// tellAll tells of all kinds, before the end of the process.
func (f *floods) tellAll() {
	f.Lock()
	kinds := make(map[string]*kind, len(f.kinds))
	for m, k := range f.kinds {
		kinds[m] = k
	}
	f.Unlock()
	for m, k := range kinds {
		f.tell(m, k)
	}
}

// WithAttrs implements [slog.Handler].
func (t throttle) WithAttrs(attrs []slog.Attr) slog.Handler {
	return throttle{t.Handler.WithAttrs(attrs), t.flood}
}

// WithGroup implements [slog.Handler].
func (t throttle) WithGroup(name string) slog.Handler {
	return throttle{t.Handler.WithGroup(name), t.flood}
}
