// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"tickedge/internal/topics"
)

// VersionMember is the member in which values have their version unless the operator names another:
// a whole number above 0 that rises with each value of a topic, over restarts and from publisher to
// publisher, see [Clock].
const VersionMember = "ver"

const (
	stamped   = `,"` + VersionMember + `":`
	tombstone = `{"tombstone":true` + stamped
)

var (
	errNotObject = errors.New(`only an object, or null, can have a version: want for example {"p":189.87}`)
	errVersion   = errors.New("a version is a whole number above 0")
)

// Stamp returns a value with a version: an object that ends with the member ver, and for null a
// tombstone. A value that has ver must have it in that place, or anywhere with that number; the result is
// value itself then. It is what brokers compare by: a script in Redis finds it at the end.
func Stamp(value []byte, ver int64) ([]byte, error) {
	if ver <= 0 {
		return nil, errVersion
	}
	if bytes.Equal(bytes.TrimSpace(value), []byte("null")) {
		return Tombstone(ver), nil
	}
	if len(value) > ValueMax {
		return nil, errors.New("the value is " + TooBig.String())
	}
	text, seek := string(value), newSeeker(VersionMember)
	if f := seekJSON(text, &seek); f != Flawless {
		return nil, errors.New("the value is " + f.String())
	}
	if seek.found > 0 {
		switch have, ok := versionAt(text, seek.found); {
		case !ok:
			return nil, fmt.Errorf("the member %s of the value is no version: want a whole number above 0", VersionMember)
		case have != topics.Version{Whole: ver, Set: true}:
			return nil, fmt.Errorf("the value has another version in its member %s than the tick, which has %d", VersionMember, ver)
		}
		return value, nil
	}
	body := bytes.TrimSpace(value)
	if body[0] != '{' {
		return nil, errNotObject
	}
	body = bytes.TrimSpace(body[:len(body)-1])
	out := make([]byte, 0, len(body)+len(stamped)+20)
	out = append(out, body...)
	if len(body) == 1 { // An object without members has no comma.
		out = append(out, stamped[1:]...)
	} else {
		out = append(out, stamped...)
	}
	out = append(strconv.AppendInt(out, ver, 10), '}')
	if len(out) > ValueMax {
		return nil, errors.New("the value is, with its version, " + TooBig.String())
	}
	return out, nil
}

// Tombstone is the value by which a topic is withdrawn with a version. Without one it is null.
func Tombstone(ver int64) []byte {
	return append(strconv.AppendInt([]byte(tombstone), ver, 10), '}')
}

// IsTombstone reports whether a value, which is valid, withdraws its topic: null, or a [Tombstone] to
// the byte.
func IsTombstone(value string) bool {
	digits, ok := strings.CutPrefix(value, tombstone)
	if !ok {
		return strings.TrimSpace(value) == "null"
	}
	_, err := strconv.ParseInt(strings.TrimSuffix(digits, "}"), 10, 64)
	return err == nil
}

// CheckTick returns what keeps a tick from being written, nil if nothing does: its name, its value, or a
// value that has no place for its version.
func CheckTick(t Tick) error {
	if !topics.ValidName(t.Topic) {
		return errors.New("the topic is not valid: want " + topics.NameRule)
	}
	if f := Inspect(string(t.Value)); f != Flawless {
		return errors.New("the value is " + f.String())
	}
	if t.Ver < 0 {
		return errVersion
	}
	if t.Ver > 0 {
		_, err := Stamp(t.Value, t.Ver)
		return err
	}
	return nil
}

// Clock gives versions: microseconds since 1970, of the host's clock or, where that stands or steps
// back, one above the last (a hybrid logical clock). Any goroutine may use it; the zero Clock is ready.
type Clock struct {
	mu   sync.Mutex
	last int64
}

// Next is above all that were given, and above all that [Clock.Saw] was told.
func (c *Clock) Next(now time.Time) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last+1, now.UnixMicro())
	return c.last
}

// Saw notes a version of another publisher, so that the next one is above it.
func (c *Clock) Saw(ver int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ver < math.MaxInt64 {
		c.last = max(c.last, ver)
	}
}
