package redis

import (
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tickedge/internal/topics"
)

// ValueMax bounds the value of a tick, in bytes. Each is held once per topic and
// copied into every frame, so a feed of large documents would not be conflated but
// flooded. A longer one is dropped and counted.
const ValueMax = 4 << 10

// flaw is what is wrong with a value.
type flaw uint8

const (
	flawless flaw = iota
	tooBig
	notUTF8
	notJSON
	tooDeep
	loneSurrogate
	noVersion
	noFields
	flaws
)

var flawNames = [flaws]string{tooBig: "longer than 4096 bytes", notUTF8: "not valid UTF-8", notJSON: "not one JSON value",
	tooDeep:       "nested more than 64 deep",
	loneSurrogate: "with an escape that is half of a character, such as \\ud800",
	noFields:      "without the fields topic and value",
	noVersion:     "without a version in its place, a decimal number or a string that holds one"}

// inspect finds out whether a value may be passed on: it is copied as it is into
// text frames (RFC 6455, section 5.6, wants UTF-8) between other JSON.
func inspect(value string) flaw {
	if len(value) > ValueMax {
		return tooBig
	}
	return checkJSON(value)
}

// inspector counts flawed values and logs some of them.
type inspector struct {
	versionField string // "" if values need no version.

	counts [flaws]atomic.Uint64
	log    throttle
}

// passes reports whether a value may be passed on, and finds its version.
func (in *inspector) passes(log *slog.Logger, topic, value string) (v topics.Version, ok bool) {
	f := inspect(value)
	if f == flawless && in.versionField != "" {
		if v, ok = versionOf(value, in.versionField); !ok {
			f = noVersion
		}
	}
	if f == flawless {
		return v, true
	}
	in.drop(log, topic, value, int64(len(value)), f)
	return v, false
}

// drop counts a flawed value of so many bytes, of which the beginning may be all that there
// is.
func (in *inspector) drop(log *slog.Logger, topic, value string, size int64, f flaw) {
	in.counts[f].Add(1)
	if swallowed, ok := in.log.allow(); ok {
		log.Warn("redis feed: value dropped; fix its publisher", "topic", strings.Clone(topic), "error", flawNames[f],
			"bytes", size, "value", excerpt(value), "swallowed", swallowed)
	}
}

// excerpt quotes the beginning of a value.
func excerpt(value string) string {
	const most = 64
	if len(value) > most {
		return strconv.Quote(value[:most]) + "…"
	}
	return strconv.Quote(value)
}

// throttleEvery is the time between two log lines of the same kind that the other
// side can cause at will.
const throttleEvery = 10 * time.Second

// throttle lets one line through per throttleEvery and counts the others.
type throttle struct {
	mu        sync.Mutex
	next      time.Time
	swallowed uint64
}

// allow reports whether a line may be written now, and how many were not since the
// last that was.
func (t *throttle) allow() (swallowed uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if now.Before(t.next) {
		t.swallowed++
		return 0, false
	}
	swallowed, t.swallowed = t.swallowed, 0
	t.next = now.Add(throttleEvery)
	return swallowed, true
}
