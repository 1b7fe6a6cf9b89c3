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
