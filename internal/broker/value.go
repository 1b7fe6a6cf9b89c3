// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"strconv"

	"tickedge/internal/topics"
)

// ValueMax bounds the value of a tick, in bytes. Each is held once per topic and
// copied into every frame, so a feed of large documents would not be conflated but
// flooded. A longer one is dropped and counted.
const ValueMax = 4 << 10

// Flaw is what is wrong with a value.
type Flaw uint8

const (
	Flawless Flaw = iota
	TooBig
	NotUTF8
	NotJSON
	TooDeep
	LoneSurrogate
	NoVersion
	NoFields
	Flaws // Their number.
)

var flawNames = [Flaws]struct{ label, text string }{
	TooBig:        {"too_big", "longer than 4096 bytes"},
	NotUTF8:       {"not_utf8", "not valid UTF-8"},
	NotJSON:       {"not_json", "not one JSON value"},
	TooDeep:       {"too_deep", "nested more than 64 deep"},
	LoneSurrogate: {"lone_surrogate", "with an escape that is half of a character, such as \\ud800"},
	NoVersion:     {"no_version", "without the member that -tick-version-field names, a decimal number or a string that holds one"},
	NoFields:      {"no_fields", "without the fields topic and value"},
}

func (f Flaw) String() string { return flawNames[f].text }

// Label is the name of f in metrics.
func (f Flaw) Label() string { return flawNames[f].label }

// Inspect finds out whether a value may be passed on: it is copied as it is into
// text frames (RFC 6455, section 5.6, wants UTF-8) between other JSON.
func Inspect(value string) Flaw {
	if len(value) > ValueMax {
		return TooBig
	}
	return checkJSON(value)
}

// InspectVersion is Inspect for a value that has its version in the member at path, which is a
// name, or several with points between, see [ValidVersionField]: a decimal number, or a string
// that holds one. A path of "" asks for no version.
//
// The member is found by the same pass that checks the value. Of members with the same name the
// last one counts, as in JavaScript and most parsers, and so do escapes in a name.
func InspectVersion(value, path string) (v topics.Version, f Flaw) {
	if len(value) > ValueMax {
		return v, TooBig
	}
	if path == "" {
		return v, checkJSON(value)
	}
	seek := newSeeker(path)
	if f = seekJSON(value, &seek); f != Flawless {
		return v, f
	}
	v, ok := versionAt(value, seek.found)
	if !ok {
		return v, NoVersion
	}
	return v, Flawless
}

// Excerpt quotes the beginning of a value.
func Excerpt(value string) string {
	const most = 64
	if len(value) > most {
		return strconv.Quote(value[:most]) + "…"
	}
	return strconv.Quote(value)
}
