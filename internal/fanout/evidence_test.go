// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"reflect"
	"testing"
	"time"

	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

// The last evictions are kept, the oldest first, and each is noted before the sink is
// told.
func TestEvictionsAreKept(t *testing.T) {
	w := newWorld(t, testConfig(), 8, 0)
	var told []Eviction // As the sink has seen them.
	w.sink.onEvict = func(id ConnID, r Reason) {
		list := w.shard.Evictions(nil)
		last := list[len(list)-1]
		if last.ID != id || last.Reason != r || !last.At.Equal(w.now) {
			t.Fatalf("conn %d is evicted with %s, the last eviction is %+v", id, r, last)
		}
		told = append(told, last)
	}
	if w.shard.Evictions(nil) != nil || w.shard.evictions != nil {
		t.Fatal("there were no evictions")
	}
	for range 2*EvictionsKept + 17 {
		id := w.connect(0)
		w.sink.peer(id).gone = true
		w.shard.Evict(id, Reason(1+len(told)%(Reasons-1)))
		w.now = w.now.Add(time.Millisecond)
		w.shard.At(w.now)
		want := append([]Eviction{{Reason: Replaced}}, told[max(0, len(told)-EvictionsKept):]...)
		if len(told)%100 == 17 {
			if got := w.shard.Evictions(want[:1:1]); !reflect.DeepEqual(got, want) {
				t.Fatalf("%d evictions are kept of %d, or others", len(got)-1, len(told))
			}
		}
	}
}

// Infos goes through all conns in pieces, also while they come and go.
func TestInfosInPieces(t *testing.T) {
	w := newWorld(t, testConfig(), 8, 0)
	want := make(map[ConnID]bool)
	for range 600 { // More than two slabs.
		want[w.connect(0)] = true
	}
	for id := range ConnID(600) {
		if id%3 == 0 {
			w.shard.Remove(id)
			delete(want, id)
		}
	}
	w.subscribe(7, "AAPL", "MSFT")
	got := make(map[ConnID]bool)
	from, pieces := ConnID(0), 0
	for more := true; more; pieces++ {
		var list []ConnInfo
		list, from, more = w.shard.Infos(nil, from, 100)
		if len(list) > 100 {
			t.Fatalf("%d conns in a piece of 100", len(list))
		}
		for _, info := range list {
			if got[info.ID] || !want[info.ID] || info.State != "open" || info.Topics == 2 != (info.ID == 7) {
				t.Fatalf("%+v (had: %v)", info, got[info.ID])
			}
			got[info.ID] = true
		}
	}
	if len(got) != len(want) || pieces != 8 {
		t.Errorf("%d conns in %d pieces, want %d in 8", len(got), pieces, len(want))
	}
	for _, id := range []ConnID{0, 767, 768, 1 << 31} { // Free ones, and none.
		if info, ok := w.shard.Info(id); ok {
			t.Errorf("conn %d is known: %+v", id, info)
		}
	}
	if list, _, more := w.shard.Infos(nil, 1<<31, 100); len(list) != 0 || more {
		t.Errorf("%d conns beyond the last", len(list))
	}
}

// Add adds up each of the counters.
func TestStatsAdd(t *testing.T) {
	var sum, one Stats
	v := reflect.ValueOf(&one).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Int:
			f.SetInt(int64(i + 1))
		case reflect.Uint64:
			f.SetUint(uint64(i + 1))
		case reflect.Array:
			for j := range f.Len() {
				if e := f.Index(j); e.Kind() == reflect.Struct {
					e.Set(reflect.ValueOf(Histogram{[len(SpanBounds) + 1]uint64{uint64(j + 1), len(SpanBounds): 7}, 3}))
				} else {
					e.SetUint(uint64(i + j + 1))
				}
			}
		default:
			t.Fatalf("%s is a %s", v.Type().Field(i).Name, f.Kind())
		}
	}
	sum.Add(&one)
	if sum != one {
		t.Errorf("0 + %+v = %+v", one, sum)
	}
}

// Each reason has a label of its own, and those that are told have a code and a text.
func TestReasons(t *testing.T) {
	seen := make(map[string]Reason)
	for r := Reason(1); r < reasons; r++ {
		if other, ok := seen[r.String()]; ok || r.String() == "" {
			t.Errorf("reasons %d and %d are called %q", r, other, r)
		}
		seen[r.String()] = r
		if (r.Code() == 0) != (r.Text() == "") {
			t.Errorf("%s has code %d and text %q", r, r.Code(), r.Text())
		}
	}
	for r, code := range map[Reason]protocol.Code{MaxAge: 4004, TokenExpired: 4501, CommandRate: 4503, Replaced: 4504} {
		if r.Code() != code {
			t.Errorf("%s has code %d, want %d", r, r.Code(), code)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"MaxTopics 0":         func(c *Config) { c.MaxTopics = 0 },
		"MaxTopics 4097":      func(c *Config) { c.MaxTopics = topicsLimit + 1 },
		"Interval":            func(c *Config) { c.Interval = 61 * time.Second },
		"MaxAge negative":     func(c *Config) { c.MaxAge = -1 },
		"MaxAge too long":     func(c *Config) { c.MaxAge = MaxAgeLimit + 1 },
		"CommandRate":         func(c *Config) { c.CommandRate, c.CommandBurst = RateMax+1, 1 },
		"CommandRate below 0": func(c *Config) { c.CommandRate, c.CommandBurst = -1, 1 },
		"CommandBurst 0":      func(c *Config) { c.CommandRate = 1 },
		"CommandBurst":        func(c *Config) { c.CommandRate, c.CommandBurst = 1, BurstMax+1 },
		"SubscribeRate":       func(c *Config) { c.SubscribeRate, c.SubscribeBurst = RateMax+1, 256 },
		"SubscribeBurst":      func(c *Config) { c.SubscribeRate, c.SubscribeBurst = 1, c.MaxTopics-1 },
	} {
		cfg := testConfig()
		change(&cfg)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s is taken", name)
				}
			}()
			New(cfg, topics.New(topics.Config{Max: 1}), nil, epoch)
		}()
	}
	cfg := testConfig()
	cfg.MaxAge = MaxAgeLimit
	cfg.CommandRate, cfg.CommandBurst = DefaultCommandRate, DefaultCommandBurst
	cfg.SubscribeRate, cfg.SubscribeBurst = DefaultSubscribeRate, DefaultSubscribeBurst
	New(cfg, topics.New(topics.Config{Max: 1}), nil, epoch)
}
