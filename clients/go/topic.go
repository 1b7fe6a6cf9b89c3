// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"
)

// phase is where a topic is on the present connection.
type phase uint8

const (
	unasked phase = iota // To be subscribed.
	asked                // The command is written, the answer is not there.
	held                 // Acknowledged.
	refused              // Rejected or withdrawn; subscribed again at retryAt, if that is not zero.
)

// topic is what all subscriptions of a name share. The client's mutex guards it.
type topic struct {
	name  string
	seq   uint64 // The order of subscribing.
	subs  map[*Subscription]*slot
	told  standing
	phase phase
	id    uint64 // The command that asked for it.

	value   json.RawMessage
	has     bool // A row came. Without a value, it says that the topic is delisted.
	n       uint64
	at      time.Time
	conn    uint64 // The connection that the value is from.
	fresh   bool   // The value is the newest: it is of this connection, or the edge has resumed it.
	covered bool   // The value, and what the client's token of resumption stands for, leave out nothing between them.

	lost   bool // Held before, and not again yet.
	stale  bool
	code   int
	reason string
	// For refused topics.
	retryAt   time.Time
	temporary bool
	lasting   bool // The next connection would refuse it as well.
	full      bool // It was not asked for, as the connection has as many topics as it may have.
}

// plausible says whether the name may be sent. What is left is for the edge to judge.
func plausible(name string) bool {
	return name != "" && len(name) <= 64 && utf8.ValidString(name)
}

func (t *topic) refuse(code int, reason string, retryAt time.Time, temporary bool) {
	t.phase = refused
	t.code, t.reason, t.retryAt, t.temporary = code, reason, retryAt, temporary
	t.lasting, t.full = code == 422, false
	t.stale, t.lost = false, false
}

// lose begins anew for the next connection.
func (t *topic) lose() {
	t.lost = t.lost || t.phase == held
	t.fresh, t.stale = false, false
	if t.phase != refused || !t.lasting {
		t.phase, t.code, t.reason = unasked, 0, ""
		t.retryAt, t.full = time.Time{}, false
	}
}

// state is what subscribers are to be told of a topic now.
func (c *Client) state(t *topic) standing {
	switch {
	case t.phase == refused:
		return standing{Rejected, t.code, t.reason, t.temporary}
	case !c.up && c.lost.reason != "":
		return standing{state: Reconnecting, code: c.lost.code, reason: c.lost.reason}
	case t.lost:
		return standing{state: Reconnecting, reason: "subscribing again"}
	case c.down(t.name):
		return standing{state: Down, reason: "the edge has lost the source of the ticks"}
	case t.stale:
		return standing{state: Stale, code: t.code, reason: t.reason}
	case !t.fresh:
		return standing{state: Waiting}
	case t.has && t.value == nil:
		return standing{state: Delisted}
	}
	return standing{state: Live}
}

// review tells the subscribers of a topic if its state has changed.
func (c *Client) review(t *topic) {
	now := c.state(t)
	if now == t.told {
		return
	}
	t.told = now
	for s, l := range t.subs {
		s.put(l)
	}
}

func (c *Client) reviewAll() {
	for _, t := range c.topics {
		c.review(t)
	}
}

// feed is a source of the edge that it has told of: patterns of topics, by commas, or all others.
type feed struct {
	topics string
	down   bool
}

// maxFeeds is four times what an edge may have.
const maxFeeds = 256

func (c *Client) down(name string) bool {
	rest, matched := false, false
	for _, f := range c.feeds {
		if f.topics == "" {
			rest = f.down
			continue
		}
		for pattern := range strings.SplitSeq(f.topics, ",") {
			if glob(strings.TrimSpace(pattern), name) {
				if matched = true; f.down {
					return true
				}
			}
		}
	}
	return rest && !matched
}

// glob says whether a name matches a pattern, in which * is any run of characters and all else itself.
func glob(pattern, name string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, first)
	for ok {
		part, more, again := strings.Cut(rest, "*")
		if !again {
			return strings.HasSuffix(name, rest)
		}
		_, name, ok = strings.Cut(name, part)
		rest = more
	}
	return false
}
