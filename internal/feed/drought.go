// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"strings"
	"sync"
	"time"
)

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
	by    halves // Who has told older versions since.
}

// over notes that a tick of a topic was dropped for its version, at a time and with the
// topic's mark. It is true, and the drought forgotten, if there was nothing else for
// [anewAfter]. A half of a [Pair] does not begin anew while the other is up and has not told
// older versions too: it may only be behind, and what the other had then is the newest.
func (d *droughts) over(topic string, mark uint64, at int64, of, up halves) bool {
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
	if !ok || was.mark != mark {
		was = drought{since: at, mark: mark}
	}
	was.by |= of
	if was.by&up == up && at-was.since >= anewAfter.Milliseconds() {
		delete(d.newer, topic)
		return true
	}
	d.newer[strings.Clone(topic)] = was // The topic is part of a buffer.
	return false
}
