// SPDX-License-Identifier: Apache-2.0

package feed

import "tickedge/internal/broker"

// Tracer follows ticks that are a part of a trace. Goroutines of all sources call it; it must not wait.
type Tracer interface {
	// Arrived takes a tick with a traceparent, of whatever form, and returns the number that its row is to have, see
	// [topics.Row]; 0 if it is not followed. Both texts may be parts of a buffer.
	Arrived(topic, parent string) (number uint16)
	// Committed tells that the tick with a number is a row now, or that it became none.
	Committed(number uint16, committed bool)
}

// Trace has ticks followed. It is called before [Feed.Run]; without it no value is looked at for it.
func (f *Feed) Trace(t Tracer) { f.tracer = t }

// arrived asks the tracer about a tick that has a parent: beside its value, or in it.
func (f *Feed) arrived(topic, value, parent string) (number uint16) {
	if parent == "" {
		parent = broker.Parent(value)
	}
	if parent == "" {
		return 0
	}
	return f.tracer.Arrived(topic, parent)
}

// Follows implements [broker.Follower], as does TickOf.
func (s *source) Follows() bool { return s.feed.tracer != nil }

func (s *source) TickOf(topic, value string, at int64, parent string) {
	s.tick(topic, value, at, parent, one, one)
}
