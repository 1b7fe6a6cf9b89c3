// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"slices"
	"strings"
	"testing"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// What a real Redis hardly says to a feed, and proxies and managed ones do: whatever comes in place
// of an answer about a topic, it is stale at once, asked for again, and served when that is over.
func TestRefusedByAnyAnswer(t *testing.T) {
	type answer struct {
		text  string
		cause broker.Cause
		why   topics.Why
	}
	answers := map[string][]answer{
		"subscribe": {
			{"NOPERM No permissions to access a channel", broker.NotPermitted, topics.NotPermitted},
			{"OOM command not allowed when used memory > 'maxmemory'.", broker.OutOfMemory, topics.Unserved},
			{"READONLY You can't write against a read only replica.", broker.ReadOnly, topics.Unserved},
			{"MISCONF Redis is configured to save RDB snapshots", broker.ReadOnly, topics.Unserved},
			{"ERR too many subscriptions of this tenant", broker.OtherCause, topics.Unserved},
			{"WHAT nobody has heard of", broker.OtherCause, topics.Unserved},
		},
		"getrange": {
			{"NOPERM No permissions to access a key", broker.NotPermitted, topics.NotPermitted},
			{"WRONGTYPE Operation against a key holding the wrong kind of value", broker.WrongType, topics.Unusable},
			{"NOAUTH Authentication required.", broker.NotLetIn, topics.NotPermitted},
			{"LOADING Redis is loading the dataset in memory", broker.Loading, topics.Unserved},
			{"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", broker.Down, topics.Unserved},
			{"CLUSTERDOWN The cluster is down", broker.Down, topics.Unserved},
			{"CLUSTERDOWN Hash slot not served", broker.Down, topics.Unserved},
			{"BUSY Redis is busy running a script.", broker.Busy, topics.Unserved},
			{"OOM command not allowed when used memory > 'maxmemory'.", broker.OutOfMemory, topics.Unserved},
			{"READONLY You can't write against a read only replica.", broker.ReadOnly, topics.Unserved},
			{"MISCONF Redis is configured to save RDB snapshots", broker.ReadOnly, topics.Unserved},
			{"MOVED 3999 127.0.0.1:1", broker.Elsewhere, topics.Unserved},
			{"TRYAGAIN Multiple keys request during rehashing of slot", broker.Elsewhere, topics.Unserved},
			{"ERR max number of clients reached", broker.TooManyClients, topics.Unserved},
			{"ERR max number of clients + cluster connections reached", broker.TooManyClients, topics.Unserved},
			{"ERR upstream failure", broker.OtherCause, topics.Unserved},
		},
	}
	for command, of := range answers {
		for _, a := range of {
			t.Run(command+" "+a.text, func(t *testing.T) {
				t.Parallel()
				refuses := true // Under the puppet's lock.
				s := newPuppet(t, func(_ *puppetConn, args []string) (string, bool) {
					ofNew := slices.ContainsFunc(args, func(arg string) bool { return strings.HasSuffix(arg, "NEW") })
					return "-" + a.text + "\r\n", refuses && args[0] == command && ofNew
				})
				s.set("OLD", "1")
				r := run(t, s.config(), topics.Config{Max: 100})
				r.acquire("OLD")
				r.eventually("another is served", func() bool { return r.value("OLD") == "1" && r.table.Health().Up })
				r.acquire("NEW")
				r.eventually("it is stale", func() bool { why, stale := r.why("NEW"); return stale && why == a.why })
				st := r.Stats()
				if st.Refused[a.cause] != 1 || st.Refusals[a.cause] == 0 || !r.table.Health().Up {
					t.Errorf("up: %v, stats = %+v", r.table.Health().Up, st)
				}
				s.mu.Lock()
				refuses, s.values["price:NEW"] = false, "2"
				s.mu.Unlock()
				r.eventually("its value", func() bool { return r.value("NEW") == "2" })
				if _, stale := r.why("NEW"); stale {
					t.Error("stale, and read")
				}
				if st := r.Stats(); st.Refused != [broker.Causes]int64{} || st.Counts[broker.Connects] != 1 {
					t.Errorf("stats = %+v", st)
				}
			})
		}
	}
}

// What no single topic is to blame for ends the link, and is told as the feed that is down.
func TestRefusalsThatEndTheLink(t *testing.T) {
	for _, c := range []struct{ command, text, said string }{
		{"subscribe", "NOAUTH Authentication required.", "receive: NOAUTH"},
		{"subscribe", "LOADING Redis is loading the dataset in memory", "receive: LOADING"},
		{"subscribe", "MASTERDOWN Link with MASTER is down", "receive: MASTERDOWN"},
		{"subscribe", "BUSY Redis is busy running a script.", "receive: BUSY"},
		{"subscribe", "MOVED 3999 127.0.0.1:1", "receive: MOVED"},
		{"ping", "NOPERM User edge has no permissions to run the 'ping' command", "receive: ping: NOPERM"},
		{"ping", "LOADING Redis is loading the dataset in memory", "receive: ping: LOADING"},
		{"ping", "ERR what nobody has heard of", "receive: ping: ERR"},
	} {
		t.Run(c.command+" "+c.text, func(t *testing.T) {
			t.Parallel()
			refuses := false // Under the puppet's lock.
			s := newPuppet(t, func(_ *puppetConn, args []string) (string, bool) {
				if !refuses || args[0] != c.command || c.command == "subscribe" && args[1] != "channel:prices:NEW" {
					return "", false
				}
				refuses = false
				return "-" + c.text + "\r\n", true
			})
			s.set("OLD", "1")
			r := run(t, s.config(), topics.Config{Max: 100})
			r.acquire("OLD")
			r.eventually("it is served", func() bool { return r.value("OLD") == "1" && r.table.Health().Up })
			s.mu.Lock()
			refuses = true
			s.mu.Unlock()
			s.set("NEW", "2")
			r.acquire("NEW")
			r.eventually("another link", func() bool { return r.Stats().Counts[broker.Connects] == 2 })
			if e := r.Stats().LastError; !strings.Contains(e, c.said) {
				t.Errorf("last error = %q, want %q", e, c.said)
			}
			r.eventually("all is served over the next", func() bool { return r.value("NEW") == "2" && r.table.Health().Up })
			if st := r.Stats(); st.Refused != [broker.Causes]int64{} || st.Refusals[causeOf(redisError(c.text))] == 0 {
				t.Errorf("stats = %+v", st)
			}
		})
	}
}

// What a server says of a topic does not take its pings with it, nor the reverse: answers come in
// order, and each is that to the oldest of both.
func TestRefusalsInTheirOrder(t *testing.T) {
	t.Parallel()
	var pings int // Under the puppet's lock.
	s := newPuppet(t, func(c *puppetConn, args []string) (string, bool) {
		switch {
		case args[0] == "ping":
			pings++
			return "-MISCONF Redis is configured to save RDB snapshots\r\n", pings%2 == 0
		case args[0] == "subscribe":
			return "-NOPERM No permissions to access a channel\r\n", strings.Contains(strings.Join(args, " "), "BAD")
		}
		return "", false
	})
	r := run(t, s.config(), topics.Config{Max: 100})
	for i := range 30 {
		name := []string{"GOOD", "BAD"}[i%2] + string(rune('A'+i))
		s.set(name, "1")
		r.acquire(name)
		if i%2 == 0 {
			r.eventually("the value of "+name, func() bool { return r.value(name) == "1" })
		} else {
			r.eventually(name+" is stale", func() bool { _, stale := r.why(name); return stale })
		}
	}
	r.eventually("many pings", func() bool { return s.count("ping 1")+s.count("ping 2")+s.count("ping 3") == 3 })
	if st := r.Stats(); st.Counts[broker.Connects] != 1 || st.Refused[broker.NotPermitted] != 15 || !r.table.Health().Up {
		t.Errorf("stats = %+v", st)
	}
}
