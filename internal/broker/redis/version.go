package redis

import (
	"errors"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"tickedge/internal/topics"
)

// versionOf reads the version of a value, which is JSON: a number, or a string that
// holds one, at path. It takes no way through a float, which would make two of what are
// nanoseconds since 1970 the same.
func versionOf(value, path string) (topics.Version, bool) {
	r := gjson.Get(value, path)
	switch r.Type {
	case gjson.Number:
		return parseVersion(r.Raw)
	case gjson.String:
		return parseVersion(r.Str)
	}
	return topics.Version{}, false
}

// nanoDigits is how many digits of a fraction a version keeps. More are refused, so that
// what a publisher tells apart is never the same here.
const nanoDigits = 9

// parseVersion reads a decimal number without an exponent.
func parseVersion(s string) (v topics.Version, ok bool) {
	s, negative := strings.CutPrefix(s, "-")
	whole, fraction, point := strings.Cut(s, ".")
	if whole == "" || point && fraction == "" || len(fraction) > nanoDigits {
		return v, false
	}
	for i := range len(whole) {
		d := int64(whole[i]) - '0'
		if d < 0 || d > 9 || v.Whole > (math.MaxInt64-d)/10 {
			return v, false
		}
		v.Whole = 10*v.Whole + d
	}
	for i := range nanoDigits {
		v.Nano *= 10
		if i >= len(fraction) {
			continue
		}
		if fraction[i] < '0' || fraction[i] > '9' {
			return v, false
		}
		v.Nano += uint32(fraction[i] - '0')
	}
	if negative {
		v.Whole = -v.Whole
		if v.Nano > 0 { // The whole below, and the rest above it.
			v.Whole, v.Nano = v.Whole-1, 1e9-v.Nano
		}
	}
	v.Set = true
	return v, true
}

var errVersionField = errors.New("want the name of a member, or several with points between " +
	"(A-Z a-z 0-9 _ -), such as seq or meta.ts")

// validVersionField reports whether a path names members and nothing else that gjson
// knows.
func validVersionField(path string) bool {
	for name := range strings.SplitSeq(path, ".") {
		if name == "" || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
			return false
		}
	}
	return true
}

const (
	// anewAfter is how long a topic may have nothing but older versions. Then its
	// publisher is taken to have begun its numbering anew, as one does that counts from
	// 0 and was restarted: all that it ever publishes would be dropped else. Repetitions
	// of a failover are over by then.
	anewAfter = 30 * time.Second
	// droughtKept is how long a drought is remembered at least after its last tick. A
	// topic that ticks less often does not get out of one.
	droughtKept = 10 * time.Minute
)

// droughts are the topics that have had nothing but older versions for some time. They
// are looked at only when a tick is dropped for its version. Its topics were in the table
// when they ticked, and are forgotten in time, so that topics that went leave nothing.
type droughts struct {
	mu   sync.Mutex
	turn int64 // When the older was emptied, in Unix milliseconds.
	// A drought moves to the newer when it is looked at. The older is emptied all at
	// once: a walk through many would hold up the receiver.
	newer, older map[string]drought
}

// drought is one topic with nothing but older versions.
type drought struct {
	since int64
	mark  uint64 // From table.Mark: a row since then ends the drought.
}

// over notes that a tick of a topic was dropped for its version, at a time and with the
// topic's mark. It is true, and the drought forgotten, if there was nothing else for
// [anewAfter].
func (d *droughts) over(topic string, mark uint64, at int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.newer == nil || at-d.turn >= droughtKept.Milliseconds() {
		d.newer, d.older, d.turn = make(map[string]drought), d.newer, at
	}
	was, ok := d.newer[topic]
	if !ok {
		was, ok = d.older[topic]
		delete(d.older, topic)
	}
	switch {
	case !ok || was.mark != mark:
		was = drought{at, mark}
	case at-was.since >= anewAfter.Milliseconds():
		delete(d.newer, topic)
		return true
	}
	d.newer[strings.Clone(topic)] = was // The topic is part of a buffer.
	return false
}
