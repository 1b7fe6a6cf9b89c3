package redis

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/topics"
)

func TestParseVersion(t *testing.T) {
	for s, want := range map[string]topics.Version{
		"0":                    {Set: true},
		"-0":                   {Set: true},
		"1732181723411":        {Whole: 1732181723411, Set: true},
		"9223372036854775807":  {Whole: math.MaxInt64, Set: true},
		"-9223372036854775807": {Whole: -math.MaxInt64, Set: true},
		"1732181723.4":         {Whole: 1732181723, Nano: 400_000_000, Set: true},
		"1.000000001":          {Whole: 1, Nano: 1, Set: true},
		"1.100000000":          {Whole: 1, Nano: 100_000_000, Set: true},
		"-1.25":                {Whole: -2, Nano: 750_000_000, Set: true},
		"-0.5":                 {Whole: -1, Nano: 500_000_000, Set: true},
		"007":                  {Whole: 7, Set: true},
		"":                     {},
		"-":                    {},
		".5":                   {},
		"5.":                   {},
		"+5":                   {},
		"--5":                  {},
		" 5":                   {},
		"1e3":                  {},
		"1.5e3":                {},
		"0x10":                 {},
		"1.2.3":                {},
		"1.-2":                 {},
		"1.0000000001":         {},
		"9223372036854775808":  {},
		"99999999999999999999": {},
		"NaN":                  {},
	} {
		got, ok := parseVersion(s)
		if ok != want.Set || ok && got != want {
			t.Errorf("parseVersion(%q) = %+v, %t, want %+v", s, got, ok, want)
		}
	}
}

func TestVersionOf(t *testing.T) {
	for _, c := range []struct {
		value, path string
		want        int64 // -1: none.
	}{
		{`{"seq":7}`, "seq", 7},
		{`{"seq":"7"}`, "seq", 7},
		{`{"meta":{"seq":7},"seq":8}`, "meta.seq", 7},
		{`{"x":{"seq":8}}`, "seq", -1},
		{`{"seq":null}`, "seq", -1},
		{`{"seq":true}`, "seq", -1},
		{`{"seq":[7]}`, "seq", -1},
		{`{"seq":7e0}`, "seq", -1},
		{`7`, "seq", -1},
		{`"seq"`, "seq", -1},
		{`[{"seq":7}]`, "seq", -1},
	} {
		if v, ok := versionOf(c.value, c.path); ok != (c.want >= 0) || ok && v.Whole != c.want {
			t.Errorf("version of %s at %s = %+v, %t, want %d", c.value, c.path, v, ok, c.want)
		}
	}
	a, _ := versionOf(`{"ts":1732181723411000001}`, "ts")
	if b, _ := versionOf(`{"ts":1732181723411000002}`, "ts"); a.Compare(b) >= 0 {
		t.Error("digits of a number are lost") // As floats, the two are one.
	}
	for path, want := range map[string]bool{"seq": true, "meta.ts": true, "a_b-C.9": true,
		"": false, ".": false, "a..b": false, "a.": false, "#": false, "a.#": false, "@this": false, "a|b": false, "a*": false, "é": false} {
		if validVersionField(path) != want {
			t.Errorf("validVersionField(%q) = %t", path, !want)
		}
	}
}

func TestOlderTicksAreDropped(t *testing.T) {
	s := redistest.Start(t)
	s.Do("SET", "price:AAPL", `{"seq":5}`)
	cfg := plain(s)
	cfg.VersionField = "seq"
	r := run(t, cfg, limits)
	r.acquire("AAPL")
	r.eventually("the value is fetched", func() bool { return r.value("AAPL") == `{"seq":5}` })
	for _, v := range []string{`{"seq":4}`, `{"seq":5}`, `{"p":1}`, `{"seq":"x"}`, `{"seq":6}`, `{"seq":5.9}`, `{"seq":6,"p":2}`, `{"seq":"6.1"}`} {
		s.Do("PUBLISH", "channel:prices:AAPL", v)
	}
	r.eventually("the newest is the row", func() bool { return r.row("AAPL") == `{"s":"AAPL","n":3,"v":{"seq":"6.1"}}` })
	if st := r.Stats(); st.Ticks != 3 || st.Older != 2 || st.Repeated != 1 || st.NoVersion != 2 || st.VersionResets != 0 {
		t.Errorf("stats = %+v", st)
	}

	// What a Redis holds that lost its newest writes does not come back.
	s.Do("SET", "price:AAPL", `{"seq":2}`)
	s.Do("CLIENT", "KILL", "TYPE", "pubsub")
	r.eventually("a new connection", func() bool { return r.Stats().Connects == 2 })
	r.eventually("the fetched value is older", func() bool { return r.Stats().Older == 3 })
	if got := r.value("AAPL"); got != `{"seq":"6.1"}` {
		t.Errorf("value = %s", got)
	}
}

// A publisher that counts from 0 was restarted: its ticks are taken again after a while,
// and not before.
func TestVersionsBeginAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, buf := newLog(t)
		cfg := At("redis://127.0.0.1:1")
		cfg.VersionField = "seq"
		table := topics.New(limits)
		f, err := New(cfg, table, log)
		if err != nil {
			t.Fatal(err)
		}
		id, _ := table.Acquire([]byte("AAPL"), 0)
		seq := func() (n int) {
			fmt.Sscanf(string(table.Row(id).Value()), `{"seq":%d}`, &n)
			return n
		}
		var c counters
		tick := func(n int) { f.tick(&c, "AAPL", fmt.Sprintf(`{"seq":%d}`, n), f.clock.now()) }
		tick(1000)

		// Two publishers, one behind: for ever, as long as the other goes on.
		for i := range 100 {
			tick(1001 + i)
			time.Sleep(time.Second)
			tick(500 + i)
		}
		if c.older.Load() != 100 || c.versionResets.Load() != 0 || seq() != 1100 {
			t.Fatalf("%d older, %d resets, row %d", c.older.Load(), c.versionResets.Load(), seq())
		}

		tick(1101)
		begin, n := time.Now(), 0
		for n = 1; c.versionResets.Load() == 0; n++ {
			if took := time.Since(begin); took > anewAfter+time.Second {
				t.Fatalf("nothing but older versions for %v", took)
			}
			tick(n)
			time.Sleep(time.Second)
		}
		if took := time.Since(begin); took < anewAfter {
			t.Errorf("older versions were taken after %v", took)
		}
		tick(n)
		if seq() != n {
			t.Errorf("row %d after the numbering began anew, want %d", seq(), n)
		}
		tick(n - 1)
		if seq() != n {
			t.Errorf("row %d: versions do not count any more", seq())
		}
		if buf.Count("versions begin anew") != 1 {
			t.Error("not one log line")
		}
	})
}

// Topics that went leave nothing behind, however many there were.
func TestDroughtsAreForgotten(t *testing.T) {
	var d droughts
	at := int64(0)
	for i := range 1000 {
		d.over(fmt.Sprint("T", i), 1, at)
	}
	for range 3 {
		at += droughtKept.Milliseconds()
		d.over("LIVES", 1, at)
	}
	if n := len(d.newer) + len(d.older); n > 2 {
		t.Errorf("%d are kept", n)
	}
	// One that is looked at is not lost on the way.
	begin := at
	for !d.over("SLOW", 1, at) {
		if at-begin > 2*droughtKept.Milliseconds() {
			t.Fatal("a slow topic does not get out")
		}
		at += droughtKept.Milliseconds() - 1
	}
}
