// SPDX-License-Identifier: Apache-2.0

package broker

import "strings"

const (
	// TraceMember is the member of a value that says of what trace it is a part: a traceparent (W3C Trace Context).
	TraceMember = "tp"
	// TraceHeader is the header of a message that says the same.
	TraceHeader = "traceparent"
)

// parentMost is one more than the bytes of a traceparent: of a longer text so much is enough to see that it is none.
const parentMost = 56

// Follower is what an [Owner] may be too: one that takes, with a tick, the traceparent that its message has beside the value.
type Follower interface {
	// Follows reports whether anybody wants to know. Otherwise headers need not be looked at.
	Follows() bool
	// TickOf is [Owner.Tick] with a traceparent, of whatever length and form.
	TickOf(topic, value string, at int64, parent string)
}

// Parent is the traceparent in a value, which was inspected, or what stands in its place; "" if there is no text there. No
// more is returned than shows what it is.
func Parent(value string) string {
	if !strings.Contains(value, `"`+TraceMember+`"`) {
		return "" // Nearly all.
	}
	seek := newSeeker(TraceMember)
	if seekJSON(value, &seek) != Flawless || seek.found == 0 || value[seek.found] != '"' {
		return ""
	}
	end, _ := skipString(value, seek.found)
	return value[seek.found+1 : min(end-1, seek.found+1+parentMost)]
}

// WithParent appends to a value that is an object, and has a member, the traceparent of what follows. parent needs no escapes.
func WithParent(value []byte, parent string) []byte {
	value = append(value[:len(value)-1], `,"`+TraceMember+`":"`...)
	return append(append(value, parent...), `"}`...)
}
