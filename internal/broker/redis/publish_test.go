// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"testing"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
)

// What Redis holds decides, to the digit, whoever has written it and in whatever form.
func TestFence(t *testing.T) {
	s := redistest.Start(t)
	p, _ := newPublisher(t, plain(s))
	for i, c := range []struct {
		held, value string
		ver         int64
		fate        broker.Fate
		holds       string
	}{
		{"", `{"p":1}`, 5, broker.Taken, `{"p":1,"ver":5}`},
		{`{"p":1,"ver":5}`, `{"p":2}`, 5, broker.Outdated, ""},
		{`{"p":1,"ver":5}`, `{"p":2}`, 4, broker.Outdated, ""},
		{`{"p":1,"ver":5}`, `{"p":2}`, 10, broker.Taken, `{"p":2,"ver":10}`},
		{`{"p":1,"ver":9007199254740993}`, `{"p":2}`, 9007199254740992, broker.Outdated, ""},
		{`{"p":1,"ver":9007199254740992}`, `{"p":2}`, 9007199254740993, broker.Taken, `{"p":2,"ver":9007199254740993}`},
		{`{"p":1,"ver":9007199254740993}`, `{"p":2}`, 9007199254740993, broker.Outdated, ""},
		{`{"ver":7,"p":1}`, `{"p":2}`, 6, broker.Outdated, ""},
		{`{ "ver" : "7" }`, `{"p":2}`, 6, broker.Outdated, ""},
		{`{"p":{"ver":7}}`, `{"p":2}`, 6, broker.Taken, `{"p":2,"ver":6}`},
		{`{"p":"\"ver\":7}"}`, `{"p":2}`, 6, broker.Taken, `{"p":2,"ver":6}`},
		{`no JSON "ver"`, `{}`, 1, broker.Taken, `{"ver":1}`},
		{`{"p":1,"ver":5}`, `null`, 6, broker.Taken, `{"tombstone":true,"ver":6}`},
		{`{"tombstone":true,"ver":6}`, `{"p":2}`, 6, broker.Outdated, ""},
		{`{"p":1,"ver":5}`, `{"p":2,"ver":4}`, 6, broker.Flawed, ""},
		{`{"p":1,"ver":5}`, `17`, 6, broker.Flawed, ""},
		{`{"p":1,"ver":5}`, `{"p":3}`, 0, broker.Taken, `{"p":3}`},
	} {
		key, topic := fmt.Sprint("price:F", i), fmt.Sprint("F", i)
		if c.held != "" {
			s.Do("SET", key, c.held)
		}
		all := []broker.Tick{{Topic: topic, Value: []byte(c.value), Ver: c.ver}}
		p.must(t, all)
		if c.holds == "" {
			c.holds = c.held
		}
		if got := s.Do("GET", key); got != c.holds || all[0].Fate != c.fate {
			t.Errorf("%s over %s: %s, fate %d; want %s, %d", c.value, c.held, got, all[0].Fate, c.holds, c.fate)
		}
	}
}

// versioned are n ticks of two topics in turn, whose versions are their numbers.
func versioned(from, n int) (all []broker.Tick) {
	for i := from; i < from+n; i++ {
		all = append(all, broker.Tick{Topic: fmt.Sprint("T", i%2), Value: fmt.Appendf(nil, `{"p":%d}`, i), Ver: int64(i)})
	}
	return all
}

func fates(ticks []broker.Tick) (n [4]int) {
	for _, t := range ticks {
		n[t.Fate]++
	}
	return n
}

// A publisher that wakes up with old ticks does no harm, whatever ticks go through: what it writes is in
// no key, and nobody is told of it.
func TestOldPublisherIsRefused(t *testing.T) {
	server := redistest.Start(t)
	cluster := redistest.StartCluster(t, 2, 0, nil)
	stream, shards := plain(server), At(cluster.URL())
	stream.Mode, stream.Stream, stream.Channel, stream.Key = ModeStream, "ticks", "cs:{topic}", "s:{topic}"
	shards.Channel, shards.Key = "c:{{topic}}", "k:{{topic}}"
	for name, cfg := range map[string]config{"channels": plain(server), "stream": stream, "cluster": shards} {
		t.Run(name, func(t *testing.T) {
			r := run(t, cfg, limits)
			r.acquire("T0", "T1")
			if r.wants != nil {
				r.settled()
			} else { // A cluster, which has no value to read.
				r.eventually("channels", func() bool { return r.Stats().Channels == 2 })
			}
			current, _ := newPublisher(t, cfg)
			old, _ := newPublisher(t, cfg)
			first := versioned(1, 500)
			old.must(t, first)
			if got := fates(first); got[broker.Taken] != 500 {
				t.Errorf("fates of the first = %v", got)
			}
			newer := versioned(1001, 2)
			current.must(t, newer)
			late := versioned(501, 500)
			old.must(t, late)
			if got := fates(late); got[broker.Outdated] != 500 {
				t.Errorf("fates of late ticks = %v", got)
			}
			last := []broker.Tick{{Topic: "T1", Value: []byte(`{"p":0}`), Ver: 2000}}
			old.must(t, last)
			r.eventually("the newest values", func() bool {
				return r.value("T0") == `{"p":1002,"ver":1002}` && r.value("T1") == `{"p":0,"ver":2000}`
			})
			if got := r.Stats().Counts[broker.Ticks]; got != 503 { // In order, so each one that was published has been heard.
				t.Errorf("%d ticks, want 503", got)
			}
		})
	}
}

// Of many writers of a topic the highest version stays, and what Redis says of it is true.
func TestPublishersRace(t *testing.T) {
	s := redistest.Start(t)
	const writers, rounds = 4, 50
	done := make(chan int)
	for w := range writers {
		p, _ := newPublisher(t, plain(s))
		go func() {
			taken := 0
			for i := range rounds {
				all := []broker.Tick{{Topic: "A", Value: []byte(`{}`), Ver: int64(1 + i*writers + (w+i)%writers)}}
				if p.Publish(t.Context(), all); all[0].Fate == broker.Taken {
					taken++
				}
			}
			done <- taken
		}()
	}
	taken := 0
	for range writers {
		taken += <-done
	}
	if got, want := s.Do("GET", "price:A"), fmt.Sprintf(`{"ver":%d}`, writers*rounds); got != want {
		t.Errorf("the key holds %s, want %s", got, want)
	}
	if published := calls(s, "publish"); published != taken {
		t.Errorf("%d were published, and %d taken", published, taken)
	}
}
