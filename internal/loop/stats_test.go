// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"tickedge/internal/fanout"
)

// What is counted as conflated is what was offered and not sent, and only rises.
func TestConflated(t *testing.T) {
	e := serve(t)
	c := dialRaw(t, e.Addr()).upgrade("?topics=A&interval=1000")
	gone := dialRaw(t, e.Addr()).upgrade("?topics=A&interval=60000")
	for range 10 {
		e.publish("A", "1")
	}
	if m := c.want("update"); len(m.Rows) != 1 || m.Rows[0].N != 10 {
		t.Errorf("update = %+v", m)
	}
	gone.close()
	until(t, func() bool { return e.Stats().Count[fanout.UpdateRows] == 1 && e.Conns() == 1 }, "the row to be counted")
	const want = 9 + 10 // One row of ten was sent to c and none to gone.
	if n := e.Conflated(noOthers); n != want {
		t.Errorf("%d conflated rows, want %d", n, want)
	}
	e.publish("A", "2")
	ahead := e.Conflated(noOthers)
	c.want("update")
	until(t, func() bool { return e.Stats().Count[fanout.UpdateRows] == 2 }, "the second row to be counted")
	if n := e.Conflated(noOthers); ahead > want+1 || n != ahead {
		t.Errorf("%d conflated rows while one was not flushed yet and %d after that, want %d at most", ahead, n, want+1)
	}
}

// The figures are right while nothing happens as well: a loop that goes to sleep
// publishes them first.
func TestStatsAtRest(t *testing.T) {
	e := serve(t)
	for i := range uint64(20) {
		c := dialRaw(t, e.Addr()).upgrade("?topics=A")
		until(t, func() bool { return e.Stats().Open == 1 }, "it to be counted")
		c.send(frame(opClose, ""))
		c.wantFrame(opClose, "")
		c.wantEOF()
		c.close()
		e.wantClosed("peer_close", "1005", i+1)
		if st := e.Stats(); st.Open != 0 || st.Opening != 0 || st.Closing != 0 {
			t.Fatalf("stats = %+v", st)
		}
	}
	// Nobody is there, so the loops do not turn.
	turns := func() (n uint64) {
		for _, b := range e.Stats().Turns.Buckets {
			n += b
		}
		return n
	}
	asleep := func() bool {
		for _, l := range e.loops {
			if l.awake.Load() {
				return false
			}
		}
		return true
	}
	until(t, asleep, "the loops to sleep")
	before := turns()
	<-time.After(3 * publishEvery)
	if n := turns(); n != before || !asleep() {
		t.Errorf("%d turns while nobody was there", n-before)
	}
}

// A loop that goes to sleep does not sleep through what it is asked at that moment.
func TestAskAtBedtime(t *testing.T) {
	e := serve(t, func(c *Config) { c.Loops = 1 })
	warm(t, e)
	l, done := e.loops[0], make(chan struct{})
	// The second comes while the loop is in its turn, which is its last for now.
	l.ask(func() {
		l.ask(func() { close(done) })
	})
	select {
	case <-done:
	case <-time.After(patience):
		t.Error("a request was slept through")
	}
}

// A connection is logged at debug, with the name from its hello and why it ended.
func TestDebugLog(t *testing.T) {
	log := &testLog{}
	e := serve(t, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	c := dialRaw(t, e.Addr())
	if err := c.handshake(""); err != nil {
		t.Fatal(err)
	}
	name := c.want("hello").Conn
	c.send(frame(opBinary, ""))
	c.wantClose(1003)
	c.close()
	for _, want := range []string{
		`msg="connection opened" conn_id=` + name + ` remote=127.0.0.1:`,
		`msg="connection closed" conn_id=` + name + ` user="" remote=127.0.0.1:`, `close_reason=protocol_error`,
	} {
		until(t, func() bool {
			log.mu.Lock()
			defer log.mu.Unlock()
			return strings.Contains(log.b.String(), want)
		}, "a line with %s", want)
	}
}

// Every cause has its label, as what is closed for one must be seen.
func TestCausesHaveLabels(t *testing.T) {
	seen := make(map[Closed]bool)
	for c := cause(1); c < causes; c++ {
		label := causeTable[c]
		if label.Reason == "" || seen[label] || c != causeHTTP && label.Code == "" {
			t.Errorf("cause %d has label %q", c, label)
		}
		seen[label] = true
	}
	for r := range fanout.Reason(fanout.Reasons) {
		if got := cause(r).String(); got != r.String() {
			t.Errorf("reason %d is %q", r, got)
		}
	}
}

// noOthers is that no other door has sent anything.
func noOthers() uint64 { return 0 }
