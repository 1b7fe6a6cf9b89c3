// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/topics"
)

// These tests refuse what a feed asks of Redis, in each way that there is, and mend it: what is
// refused is told meanwhile, and served then, without anybody doing anything. The table of
// docs/FEED.md says the same.

// refusal is what a test does to a server that serves a feed, as the user edge.
type refusal struct {
	// begin is done before the topic is wanted, and mend later. Both have a prompt of an
	// administrator who is not refused.
	begin, mend func(do func(args ...any))
	// One of the topic, if cause is not [broker.NoCause]. Else the feed is down meanwhile.
	cause broker.Cause
	why   topics.Why
	cure  string // What the log says to do about it.
	ticks bool   // Ticks come, though the value can't be read.
	gap   bool   // The link ends, but the feed is up again before it is mended.
	mode  Mode
}

var realRefusals = map[string]refusal{
	"the channel is not permitted": {
		begin: acl("resetchannels"), mend: acl("&*"),
		cause: broker.NotPermitted, why: topics.NotPermitted, cure: "&channel:prices:* +subscribe", gap: true,
	},
	"SUBSCRIBE is not permitted": {
		begin: acl("-subscribe"), mend: acl("+subscribe"),
		cause: broker.NotPermitted, why: topics.NotPermitted, cure: "&channel:prices:* +subscribe",
	},
	"the key is not permitted": {
		begin: acl("resetkeys"), mend: acl("~*"),
		cause: broker.NotPermitted, why: topics.NotPermitted, cure: "~price:* +getrange", ticks: true,
	},
	"GETRANGE is not permitted": {
		begin: acl("-getrange"), mend: acl("+getrange"),
		cause: broker.NotPermitted, why: topics.NotPermitted, cure: "~price:* +getrange", ticks: true,
	},
	"GETRANGE is not permitted, with a pattern": {
		begin: acl("-getrange"), mend: acl("+getrange"), mode: ModePattern,
		cause: broker.NotPermitted, why: topics.NotPermitted, cure: "~price:* +getrange", ticks: true,
	},
	"the key is not permitted, with a stream": {
		begin: acl("resetkeys", "~ticks"), mend: acl("~*"), mode: ModeStream,
		cause: broker.NotPermitted, why: topics.NotPermitted, cure: "~price:* +getrange", ticks: true,
	},
	"the key is no string": {
		begin: do("LPUSH", "price:NEW", "1"), mend: do("DEL", "price:NEW"),
		cause: broker.WrongType, why: topics.Unusable, cure: "has to be a string", ticks: true,
	},
	"the value is too long": {
		begin: do("SET", "price:NEW", `"`+strings.Repeat("x", broker.ValueMax)+`"`), mend: do("PING"),
		cause: broker.BadValue, why: topics.Unusable, cure: "longer than 4096 bytes", ticks: true,
	},
	"the value is no JSON": {
		begin: do("SET", "price:NEW", "NaN"), mend: do("PING"),
		cause: broker.BadValue, why: topics.Unusable, cure: "not one JSON value", ticks: true,
	},
	"another password, and the connection for values has ended": {
		begin: together(do("CONFIG", "SET", "requirepass", "other"), acl("resetpass", ">other"), do("CLIENT", "KILL", "TYPE", "normal")),
		mend:  together(do("CONFIG", "SET", "requirepass", ""), acl("resetpass", ">"+secret)),
		cause: broker.NotLetIn, why: topics.NotPermitted, cure: "correct the user or the password", ticks: true,
	},
	"no memory is left": {
		begin: do("CONFIG", "SET", "maxmemory", "1"), mend: do("CONFIG", "SET", "maxmemory", "0"),
		cause: broker.NoCause,
	},
}

func acl(rules ...string) func(do func(args ...any)) {
	return func(do func(args ...any)) {
		args := []any{"ACL", "SETUSER", "edge"}
		for _, r := range rules {
			args = append(args, r)
		}
		do(args...)
	}
}

func do(args ...any) func(do func(args ...any)) {
	return func(do func(args ...any)) { do(args...) }
}

func together(of ...func(do func(args ...any))) func(do func(args ...any)) {
	return func(do func(args ...any)) {
		for _, f := range of {
			f(do)
		}
	}
}

// prompt is the prompt of an administrator that is open already, so that nothing that is done to
// users and passwords shuts it out.
func prompt(t *testing.T, s *redistest.Server) func(args ...any) {
	t.Helper()
	o := s.Client().Options()
	o.PoolSize, o.ConnMaxIdleTime, o.ReadTimeout = 1, -1, 30*time.Second
	c := goredis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	do := func(args ...any) {
		t.Helper()
		if err := c.Do(context.Background(), args...).Err(); err != nil && err != goredis.Nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	do("PING")
	return do
}

// permitted starts a server with the user edge, who may do everything, and a feed of that user.
func permitted(t *testing.T, mode Mode, args ...string) (*redistest.Server, func(args ...any), *rig) {
	t.Helper()
	s := redistest.Start(t, args...)
	do := prompt(t, s)
	do("ACL", "SETUSER", "edge", "on", ">"+secret, "+@all", "~*", "&*")
	cfg := At("redis://edge:" + secret + "@" + s.Addr())
	cfg.Mode = mode
	if mode == ModeStream {
		cfg.Stream = "ticks"
	}
	cfg.Timeout = time.Second
	r := run(t, cfg, topics.Config{Max: 1000, Linger: time.Minute})
	do("SET", "price:OLD", "1")
	r.acquire("OLD")
	r.eventually("a topic is read before", func() bool { return r.value("OLD") == "1" && r.table.Health().Up })
	return s, do, r
}

// why is why a topic is stale, and whether it is.
func (r *rig) why(name string) (topics.Why, bool) {
	at, why := r.table.StaleFor(r.ids[name])
	return why, at > 0
}

func TestRefusedByRealRedis(t *testing.T) {
	for name, c := range realRefusals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, do, r := permitted(t, c.mode)
			c.begin(do)
			if c.gap {
				r.eventually("the link has ended", func() bool { return r.Stats().Counts[broker.Connects] == 2 })
			}
			r.acquire("NEW")
			if c.cause == broker.NoCause {
				r.eventually("it is subscribed and read all the same", func() bool { return r.wants.hasFetched("NEW") })
				if n := r.Stats().Refused; n != [broker.Causes]int64{} {
					t.Errorf("refused: %v", n)
				}
				return
			}
			r.eventually("it is stale", func() bool { why, stale := r.why("NEW"); return stale && why == c.why })
			r.eventually("it is counted", func() bool { return r.Stats().Refused[c.cause] > 0 })
			r.eventually("the feed is up", func() bool { return r.table.Health().Up })
			r.eventually("the log says what to do", func() bool { return r.log.Count(c.cure) > 0 })
			if c.ticks {
				do("PUBLISH", "channel:prices:NEW", "2")
				do("XADD", "ticks", "*", "topic", "NEW", "value", "2")
				r.eventually("ticks come", func() bool { return r.value("NEW") == "2" })
				if _, stale := r.why("NEW"); stale {
					t.Error("stale, and it has ticked")
				}
			}
			connects := r.Stats().Counts[broker.Connects]
			c.mend(do)
			do("SET", "price:NEW", "3")
			r.acquire("PROBE")
			r.eventually("nothing is refused any more", func() bool { return r.Stats().Refused == [broker.Causes]int64{} })
			if c.ticks {
				// The value is of no use beside the tick, which is newer as far as anybody knows.
				if got := r.value("NEW"); got != "2" {
					t.Errorf("value = %s", got)
				}
			} else {
				r.eventually("its value", func() bool { return r.value("NEW") == "3" })
			}
			if _, stale := r.why("NEW"); stale {
				t.Error("it is stale, and was read")
			}
			do("PUBLISH", "channel:prices:NEW", "4")
			do("XADD", "ticks", "*", "topic", "NEW", "value", "4")
			r.eventually("ticks come", func() bool { return r.value("NEW") == "4" })
			if n := r.Stats().Counts[broker.Connects]; n != connects {
				t.Errorf("%d links, and %d before it was mended", n, connects)
			}
			r.eventually("the log says that it is over", func() bool {
				return c.cause == broker.BadValue || c.cause == broker.NotLetIn || r.log.Count("no topic is refused any more") > 0
			})
		})
	}
}

// hasFetched reports whether the value of a topic was read.
func (s *wants) hasFetched(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.topics[name]
	return w != nil && w.reading == fetched
}

// A topic that had been served, and is refused from then on, is served again with a row that says
// so, even if its value is the same.
func TestServedTopicIsRefused(t *testing.T) {
	t.Parallel()
	_, do, r := permitted(t, ModeChannel)
	acl("resetchannels")(do)
	r.eventually("it is stale", func() bool { why, stale := r.why("OLD"); return stale && why == topics.NotPermitted })
	r.eventually("the feed is up without it", func() bool { return r.table.Health().Up })
	if got := r.row("OLD"); got != `{"s":"OLD","n":0,"v":1}` {
		t.Errorf("row = %s", got)
	}
	acl("&*")(do)
	r.eventually("its row comes again", func() bool { return r.row("OLD") == `{"s":"OLD","n":1,"v":1}` })
	if _, stale := r.why("OLD"); stale {
		t.Error("stale, and read again")
	}
}

// What Redis refuses to all, and to PING, takes the feed down until it is over.
func TestRealRedisRefusesAll(t *testing.T) {
	for name, c := range map[string]struct {
		args        []string
		mode        Mode
		begin, mend func(s *redistest.Server, do func(args ...any))
		said        string // Of the last error.
	}{
		"another password": {
			begin: func(_ *redistest.Server, do func(args ...any)) {
				acl("resetpass", ">other")(do)
				do("CLIENT", "KILL", "USER", "edge")
			},
			mend: func(_ *redistest.Server, do func(args ...any)) { acl(">" + secret)(do) },
			said: "WRONGPASS",
		},
		"the user is gone": {
			begin: func(_ *redistest.Server, do func(args ...any)) { do("ACL", "DELUSER", "edge") },
			mend: func(_ *redistest.Server, do func(args ...any)) {
				do("ACL", "SETUSER", "edge", "on", ">"+secret, "+@all", "~*", "&*")
			},
			said: "WRONGPASS",
		},
		"PING is not permitted": {
			begin: func(_ *redistest.Server, do func(args ...any)) { acl("-ping")(do) },
			mend:  func(_ *redistest.Server, do func(args ...any)) { acl("+ping")(do) },
			said:  "ping: NOPERM",
		},
		"PSUBSCRIBE is not permitted": {
			mode: ModePattern,
			begin: func(_ *redistest.Server, do func(args ...any)) {
				acl("-psubscribe")(do)
				do("CLIENT", "KILL", "TYPE", "pubsub")
			},
			mend: func(_ *redistest.Server, do func(args ...any)) { acl("+psubscribe")(do) },
			said: "NOPERM",
		},
		"the stream is not permitted": {
			mode:  ModeStream,
			begin: func(_ *redistest.Server, do func(args ...any)) { acl("resetkeys", "~price:*")(do) },
			mend:  func(_ *redistest.Server, do func(args ...any)) { acl("~*")(do) },
			said:  "NOPERM",
		},
		"XREAD is not permitted": {
			mode:  ModeStream,
			begin: func(_ *redistest.Server, do func(args ...any)) { acl("-xread")(do) },
			mend:  func(_ *redistest.Server, do func(args ...any)) { acl("+xread")(do) },
			said:  "NOPERM",
		},
		"XINFO is not permitted": {
			mode:  ModeStream,
			begin: func(_ *redistest.Server, do func(args ...any)) { acl("-xinfo")(do) },
			mend:  func(_ *redistest.Server, do func(args ...any)) { acl("+xinfo")(do) },
			said:  "NOPERM",
		},
		"the stream is of another kind": {
			mode: ModeStream,
			begin: func(_ *redistest.Server, do func(args ...any)) {
				do("SET", "ticks", "1")
			},
			mend: func(_ *redistest.Server, do func(args ...any)) { do("DEL", "ticks") },
			said: "WRONGTYPE",
		},
		"CLIENT PAUSE": {
			begin: func(_ *redistest.Server, do func(args ...any)) { do("CLIENT", "PAUSE", 2500, "ALL") },
			said:  "nothing was received within the timeout",
		},
		"a script runs": {
			args: []string{"--busy-reply-threshold", "20"},
			begin: func(s *redistest.Server, _ func(args ...any)) {
				o := s.Client().Options()
				o.MaxRetries, o.ReadTimeout = -1, time.Minute // Once, and until it is killed.
				c := goredis.NewClient(o)
				go func() {
					c.Eval(context.Background(), "while true do end", nil)
					c.Close()
				}()
			},
			mend: func(_ *redistest.Server, do func(args ...any)) { do("SCRIPT", "KILL") },
			said: "BUSY",
		},
		"a replica has lost its primary": {
			args:  []string{"--replica-serve-stale-data", "no"},
			begin: func(_ *redistest.Server, do func(args ...any)) { do("REPLICAOF", "127.0.0.1", "1") },
			mend:  func(_ *redistest.Server, do func(args ...any)) { do("REPLICAOF", "NO", "ONE") },
			said:  "MASTERDOWN",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, do, r := permitted(t, c.mode, c.args...)
			c.begin(s, do)
			r.eventually("down", func() bool { return !r.table.Health().Up })
			r.acquire("NEW")
			r.eventually("the error says why", func() bool { return strings.Contains(r.Stats().LastError, c.said) })
			if c.mode != "" {
				refusals := func() (n uint64) {
					for _, m := range r.Stats().Refusals {
						n += m
					}
					return n
				}
				r.eventually("it is refused again and again", func() bool { return refusals() > 4 })
				if n := r.log.Count("feed down"); n != 1 || r.log.Count("feed up") != 1 {
					t.Errorf("the log says %d times that it is down, and %d times that it is up", n, r.log.Count("feed up"))
				}
			}
			if _, stale := r.why("OLD"); stale {
				t.Error("stale, and that the feed is down says it all")
			}
			if c.mend != nil {
				c.mend(s, do)
			}
			r.eventually("up", func() bool { return r.table.Health().Up })
			do("SET", "price:NEW", "3")
			do("PUBLISH", "channel:prices:NEW", "3")
			do("XADD", "ticks", "*", "topic", "NEW", "value", "3")
			r.eventually("what came meanwhile is served", func() bool {
				do("PUBLISH", "channel:prices:NEW", "3")
				return r.value("NEW") == "3"
			})
			if n := r.Stats().Refused; n != [broker.Causes]int64{} {
				t.Errorf("refused: %v", n)
			}
		})
	}
}

// A server that loads its data is waited for.
func TestRedisLoads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := redistest.Start(t, "--dir", dir, "--loading-process-events-interval-bytes", "1024")
	for i := range 200 {
		s.Do("SET", fmt.Sprint("fill", i), strings.Repeat("x", 2000))
	}
	s.Do("SET", "price:OLD", "1")
	s.Do("CONFIG", "SET", "rdbcompression", "no")
	s.Do("SAVE")
	s.Kill()
	slow := redistest.Start(t, "--dir", dir, "--loading-process-events-interval-bytes", "1024", "--key-load-delay", "20000")
	r := run(t, plain(slow), limits)
	r.acquire("OLD")
	r.eventually("it loads", func() bool { return strings.Contains(r.Stats().LastError, "LOADING") })
	if r.table.Health().Up {
		t.Error("up")
	}
	if r.log.Count("wait until Redis has loaded its data") != 1 {
		t.Error("the log does not say what to do")
	}
	slow.Do("CONFIG", "SET", "key-load-delay", "0")
	r.eventually("the value", func() bool { return r.value("OLD") == "1" && r.table.Health().Up })
}

// A server that can't save its data refuses PING for that, and serves a feed all the same.
func TestRedisCannotSave(t *testing.T) {
	for _, mode := range []Mode{ModeChannel, ModeStream} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s, do, r := permitted(t, mode, "--dir", dir, "--save", "3600 1000000")
			if err := os.MkdirAll(filepath.Join(dir, "dump.rdb", "x"), 0o700); err != nil { // Nothing takes its place.
				t.Fatal(err)
			}
			do("BGSAVE")
			r.eventually("it can't save", func() bool {
				c := s.Client()
				defer c.Close()
				err := c.Ping(t.Context()).Err()
				return err != nil && isAlive(err)
			})
			r.acquire("NEW")
			r.eventually("it is subscribed and read", func() bool { return r.wants.hasFetched("NEW") })
			do("PUBLISH", "channel:prices:NEW", "4")
			do("CLIENT", "KILL", "USER", "edge")
			r.eventually("a link is made too", func() bool { return r.Stats().Counts[broker.Connects] == 2 && r.table.Health().Up })
			if st := r.Stats(); st.Refused != [broker.Causes]int64{} {
				t.Errorf("stats = %+v", st)
			}
		})
	}
}

// What can't be unsubscribed is dropped, costs nobody anything, and is said.
func TestUnsubscribeIsNotPermitted(t *testing.T) {
	t.Parallel()
	s, do, r := permitted(t, ModeChannel)
	acl("-unsubscribe")(do)
	r.acquire("GONE")
	r.settled()
	r.release("GONE")
	r.table.Sweep(time.Now().Add(time.Hour))
	r.eventually("the log says what to do", func() bool { return r.log.Count("+unsubscribe") == 1 })
	do("PUBLISH", "channel:prices:GONE", "1")
	publish(s, "OLD", "2")
	r.eventually("others tick", func() bool { return r.value("OLD") == "2" })
	s.Do("SET", "price:GONE", "3")
	r.acquire("GONE")
	r.eventually("it is served again", func() bool { return r.value("GONE") == "3" })
	if st := r.Stats(); st.Counts[broker.Connects] != 1 || st.Refusals[broker.NotPermitted] == 0 {
		t.Errorf("stats = %+v", st)
	}
}

// A node of a cluster refuses what another one does not.
func TestRefusedByAClusterNode(t *testing.T) {
	t.Parallel()
	s := redistest.StartCluster(t, 2, 0, nil)
	set := func(rules ...any) {
		for _, n := range s.Nodes() {
			n.Do(append([]any{"ACL", "SETUSER", "edge", "on", ">" + secret, "+@all", "~*"}, rules...)...)
		}
	}
	set("resetchannels", "&channel:prices:{GOOD*}")
	s.Owner(s.Slot("{GOOD}")).Do("SET", "price:{GOOD}", `{"seq":1}`)
	s.Owner(s.Slot("{BAD}")).Do("SET", "price:{BAD}", `{"seq":2}`)
	s.Owner(s.Slot("{LIST}")).Do("LPUSH", "price:{LIST}", "2")
	r := run(t, inSlots(strings.Replace(s.URL(), "://", "://edge:"+secret+"@", 1)), limits)
	r.acquire("GOOD", "BAD", "LIST")
	r.eventually("one is served", func() bool { return r.value("GOOD") == `{"seq":1}` })
	r.eventually("two are not", func() bool { return r.Stats().Refused[broker.NotPermitted] == 2 })
	if why, stale := r.why("BAD"); !stale || why != topics.NotPermitted {
		t.Errorf("stale: %v, for %d", stale, why)
	}
	r.eventually("up", func() bool { return r.table.Health().Up })
	set("&*")
	r.eventually("the other", func() bool { return r.value("BAD") == `{"seq":2}` })
	r.eventually("the third is no string", func() bool { return r.Stats().Refused[broker.WrongType] == 1 })
	s.Owner(s.Slot("{LIST}")).Do("DEL", "price:{LIST}")
	s.Owner(s.Slot("{LIST}")).Do("SET", "price:{LIST}", `{"seq":3}`)
	r.eventually("the third", func() bool { return r.value("LIST") == `{"seq":3}` })
	if st := r.Stats(); st.Refused != [broker.Causes]int64{} || r.log.Count("+ssubscribe") != 1 {
		t.Errorf("stats = %+v", st)
	}
}
