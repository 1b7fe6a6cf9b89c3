// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"bytes"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
)

// traceMost is what a traceparent makes of a header at most: one of its own, with its line.
const traceMost = len("NATS/1.0\r\n" + broker.TraceHeader + ": 00-00000000000000000000000000000000-0000000000000000-01\r\n\r\n")

// traced puts the traceparent of a tick into the header of its message.
func traced(m *natsgo.Msg, t *broker.Tick) {
	if t.Trace == "" {
		return
	}
	if m.Header == nil {
		m.Header = make(natsgo.Header)
	}
	m.Header.Set(broker.TraceHeader, t.Trace)
}

// follows reports whether the traceparents of messages are to be read.
func (s *source) follows() bool { return s.follower != nil && s.follower.Follows() }

// parentOf is the traceparent in the header of a message, if anybody wants to know. A publisher may have written anything.
func (s *source) parentOf(header []byte) string {
	if len(header) == 0 || !s.follows() || !bytes.Contains(header, []byte(broker.TraceHeader)) {
		return ""
	}
	h, _ := natsgo.DecodeHeadersMsg(header)
	return h.Get(broker.TraceHeader)
}

// tick tells the owner of a tick, and of what trace its message is a part.
func (s *source) tick(topic, value string, at int64, parent string) {
	if parent == "" {
		s.owner.Tick(topic, value, at)
		return
	}
	s.follower.TickOf(topic, value, at, parent)
}
