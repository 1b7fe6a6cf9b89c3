// SPDX-License-Identifier: Apache-2.0

//go:build linux

package swarm

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"tickedge/bench/internal/fakeedge"
	"tickedge/bench/internal/wire"
)

const screenAck = `{"t":"ack","id":1,"op":"screen","screen":"bench","screens":1}`

// screened opens conns at a server that acks with ack, and then sends messages.
func screened(t *testing.T, conns int, ack string, asked func(command string), messages ...string) Config {
	cfg := config(fakeedge.Scripted(t, func(c *fakeedge.Conn) {
		c.Accept("")
		c.Text(fakeedge.Hello)
		op, p, err := c.Read()
		if err != nil || op != wire.OpText {
			t.Errorf("%v, %v", op, err)
		}
		asked(string(p))
		c.Text(ack)
		for _, m := range messages {
			c.Text(m)
		}
		c.Gone()
	}), conns)
	cfg.Screens = []string{`p > 1 && s == "a\"b"`, "p > 2"}
	return cfg
}

// Conns take turns with the screens by their numbers over all swarms, and what comes is counted.
func TestScreens(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	asked := func(command string) {
		var cmd struct {
			Op, Screen, Topics, Where string
			ID                        int
		}
		if err := json.Unmarshal([]byte(command), &cmd); err != nil || cmd.Op != "screen" || cmd.Topics != "SYM*" || cmd.ID != 1 {
			t.Errorf("%s: %v", command, err)
		}
		mu.Lock()
		defer mu.Unlock()
		seen[cmd.Where]++
	}
	message := func(more string, age time.Duration) string {
		at := time.Now().Add(-age).UnixMilli()
		return fmt.Sprintf(`{"t":"screen","ts":1,"screen":"bench"%s,"d":[{"s":"SYM0001","n":1,"v":{"ts":%d}}]}`, more, at)
	}
	cfg := screened(t, 3, screenAck, asked, message(`,"full":true`, time.Hour), message("", 10*time.Second),
		`{"t":"screen","ts":1,"screen":"bench","d":[],"out":["SYM0001","SYM0002"]}`)
	cfg.First = 1
	sum := run(t, cfg, func(r *Report) bool { return r.Outs == 6 })
	if len(sum.Violations)+len(sum.Lost)+len(sum.Refused) > 0 {
		t.Errorf("violations %s, lost %s, refused %s", kinds(sum.Violations), kinds(sum.Lost), kinds(sum.Refused))
	}
	if seen["p > 2"] != 2 || seen[`p > 1 && s == "a\"b"`] != 1 {
		t.Errorf("%v", seen)
	}
	if sum.Acked != 3 || sum.Types[wire.Screen] != 9 || sum.Rows != 6 || sum.Update.N() != 3 || sum.Snapshot.N() != 3 {
		t.Errorf("%+v, %+v", sum.Gauges, sum.Counts)
	}
	if p50 := time.Duration(sum.Update.Quantile(0.5)) * time.Microsecond; p50 < 9900*time.Millisecond || p50 > time.Minute {
		t.Errorf("rows of a screen are %v old, want about 10s", p50)
	}
	if p50 := time.Duration(sum.Snapshot.Quantile(0.5)) * time.Microsecond; p50 < 59*time.Minute {
		t.Errorf("rows that were inside are %v old, want an hour", p50)
	}
}

func TestBadScreens(t *testing.T) {
	const empty = `{"t":"screen","ts":1,"screen":"bench","d":[]}`
	row := `{"t":"screen","ts":1,"screen":"bench","d":[{"s":"OTHER","n":1,"v":{"ts":1}}]}`
	for kind, of := range map[string][2]string{
		AckShort:      {`{"t":"ack","id":1,"op":"screen","screens":0}`, ""},
		EmptyScreen:   {screenAck, empty},
		RowNotAsked:   {screenAck, row},
		ErrorMessage:  {`{"t":"error","id":1,"code":400,"reason":"no"}`, ""},
		RowsBeforeAck: {`{"t":"screen","full":true,"d":[]}`, ""},
	} {
		cfg := screened(t, 1, of[0], func(string) {}, of[1:]...)
		if of[1] == "" {
			cfg = screened(t, 1, of[0], func(string) {})
		}
		cfg.AckTimeout = time.Second
		sum := run(t, cfg, func(r *Report) bool { return r.Violations.Total() > 0 })
		if sum.Violations[kind] == nil {
			t.Errorf("want %q: %s", kind, kinds(sum.Violations))
		}
	}
	for _, change := range []func(c *Config){func(c *Config) { c.Events = true }, func(c *Config) { c.Churn = 1 }} {
		cfg := screened(t, 1, screenAck, func(string) {})
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Error("screens of streams, or of conns that are replaced, were taken")
		}
	}
}
