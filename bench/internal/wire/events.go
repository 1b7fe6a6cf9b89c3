// SPDX-License-Identifier: Apache-2.0

package wire

import "bytes"

// Faults of event streams. Those of fields are no faults for a browser, which passes over what
// it does not know: here they are something that got where it does not belong.
const (
	ErrStream Fault = "answer is no event stream"
	ErrField  Fault = "field that events do not have"
	ErrLines  Fault = "event with several lines of data" // A message is in one.
)

// ParseStream reads the server's answer to a request for an event stream. A size of 0 without an
// error means that the head is not complete. A status other than 200 is not checked further.
func ParseStream(b []byte) (size, status int, err error) {
	r, err := ParseResponse(b)
	if err == nil && r.Status == 200 && !r.Has("Content-Type", "text/event-stream") {
		err = ErrStream
	}
	return r.Size, r.Status, err
}

// Event is what stands between two empty lines of a stream. Its parts point into what was parsed.
type Event struct {
	Size    int    // With the empty line at its end, in bytes.
	Data    []byte // Nil if there is none, and thus nothing for a program.
	Name    []byte
	Comment bool
}

// ParseEvent reads the event at the start of b, as the server writes it: with LF, and a blank
// behind each colon. The error is ErrShort or a Fault.
func ParseEvent(b []byte) (e Event, err error) {
	for rest := b; ; {
		line, after, ok := bytes.Cut(rest, []byte{'\n'})
		switch {
		case !ok && len(b) > FrameMax:
			return e, ErrLarge
		case !ok:
			return e, ErrShort
		case len(line) == 0:
			e.Size = len(b) - len(after)
			return e, nil
		}
		rest = after
		field, value, _ := bytes.Cut(line, []byte(": "))
		switch string(field) {
		case "data":
			if e.Data != nil {
				return e, ErrLines
			}
			e.Data = value
		case "event":
			e.Name = value
		case "id", "retry":
		default:
			if line[0] != ':' {
				return e, ErrField
			}
			e.Comment = true
		}
	}
}
