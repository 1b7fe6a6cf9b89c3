// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tickedge/internal/fanout"
	"tickedge/internal/topics"
)

// backlog is what the server holds for its clients, and how much of it for the one
// that has the most.
func (e *edge) backlog() (sum, most int) {
	e.eachConn(func(_ *loop, c *conn) {
		n := c.gc.OutboundBuffered()
		sum += n
		most = max(most, n)
	})
	return sum, most
}

// skipped is how many flushes were skipped up to now.
func (e *edge) skipped() uint64 {
	e.onLoops(func(l *loop) { l.publish(time.Now()) })
	return e.Stats().Count[fanout.Skipped]
}

// ticking publishes a tick of each topic again and again until the test ends. pad is
// the size of their values.
func ticking(t *testing.T, e *edge, every time.Duration, pad int, names []string) (stop func()) {
	var over atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		fill := strings.Repeat("p", pad)
		for n := 0; !over.Load(); n++ {
			<-tick.C
			for _, name := range names {
				e.table.Publish(name, fmt.Sprintf(`{"i":%d,"pad":"%s"}`, n, fill), topics.Meta{})
			}
		}
	}()
	stop = func() { over.Store(true); <-ended }
	t.Cleanup(stop)
	return stop
}

// piece is what one visit writes at most.
const piece = 33 << 10

func TestSlowConsumers(t *testing.T) {
	const slowTimeout, slowOnes, rowSize = time.Second, 6, 4 << 10
	e := serve(t, func(c *Config) { c.Shard.SlowTimeout = slowTimeout })
	fat := names("fat", 256)
	var slow []*raw
	for range slowOnes {
		c := dialRaw(t, e.Addr())
		_ = c.SetReadBuffer(8 << 10)
		c.upgrade("")
		c.send(subscribe(fat...))
		c.want("ack")
		slow = append(slow, c)
	}
	// The others are on both loops, have a window of 100 ms and a topic that ticks.
	type seen struct {
		updates int // While the slow ones were there.
		err     error
	}
	const quickOnes = 8
	var halt, slowOnesAreHere atomic.Bool
	updates := make(chan seen, quickOnes)
	for range quickOnes {
		c := dialRaw(t, e.Addr()).upgrade("?topics=thin")
		go func() {
			var s seen
			for !halt.Load() && s.err == nil {
				if _, s.err = c.read(); slowOnesAreHere.Load() {
					s.updates++
				}
			}
			updates <- s
		}()
	}
	ticking(t, e, 10*time.Millisecond, 1, []string{"thin"})
	begin := time.Now()
	slowOnesAreHere.Store(true)
	ticking(t, e, 30*time.Millisecond, rowSize, fat)

	// Nothing is read from here on by those that are slow. What is held for each is
	// the rest of one piece, however much has ticked since.
	most := 0
	if !eventually(func() bool {
		_, n := e.backlog()
		most = max(most, n)
		return e.closed("slow_consumer", "1006") == slowOnes
	}, slowTimeout+patience) {
		t.Errorf("after %v: %d slow consumers evicted, want %d", time.Since(begin), e.closed("slow_consumer", "1006"), slowOnes)
	}
	slowOnesAreHere.Store(false)
	if took := time.Since(begin); took < slowTimeout {
		t.Errorf("evicted after %v, before the limit", took)
	}
	if most > piece || most < rowSize {
		t.Errorf("the largest backlog was %d bytes; one piece has %d", most, piece)
	}
	for _, c := range slow {
		c.wantReset()
	}
	st := e.Stats()
	if st.Count[fanout.Skipped] < slowOnes || st.Evicted[fanout.SlowConsumer] != slowOnes {
		t.Errorf("%d flushes skipped, evictions: %v", st.Count[fanout.Skipped], st.Evicted)
	}
	halt.Store(true)
	for range quickOnes {
		// They have had ten windows or more, of which a busy machine may spoil most.
		if s := <-updates; s.err != nil || s.updates < 3 {
			t.Errorf("a quick one got %d updates while there were slow ones (%v)", s.updates, s.err)
		}
	}
	until(t, func() bool { return e.Conns() == quickOnes }, "the slow ones to be gone")
}

// A client that stops reading for less than the limit misses nothing but what was
// conflated, and is not evicted.
func TestPauseIsNoSlowConsumer(t *testing.T) {
	e := serve(t)
	fat := names("fat", 256)
	c := dialRaw(t, e.Addr()).upgrade("")
	c.send(subscribe(fat...))
	c.want("ack")
	stop := ticking(t, e, 20*time.Millisecond, 4<<10, fat)
	until(t, func() bool { return e.Stats().Count[fanout.Skipped] >= 3 }, "flushes to be skipped")
	stop()
	for _, name := range fat {
		e.publish(name, `"last"`)
	}
	// A flush that is skipped now does not count as served.
	before := e.skipped()
	until(t, func() bool { return e.skipped() > before }, "one more flush to be skipped")
	last := make(map[string]bool)
	for len(last) < len(fat) {
		m, err := c.read()
		if err != nil || m.T != "update" && (m.T != "interval" || m.Reason != "slow") {
			t.Fatalf("got %+v (%v), want update, or interval in between", m, err)
		}
		for _, r := range m.Rows {
			if string(r.V) == `"last"` {
				last[r.S] = true
			}
		}
	}
}

// flood writes p again and again, reads nothing, and looks at the server after every
// write, which also lets it read each p alone. It returns the largest backlog that
// was seen between two turns.
func flood(c *raw, e *edge, p []byte) (most int) {
	c.t.Helper()
	for range 2000 {
		if _, err := c.Write(p); err != nil {
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				c.t.Errorf("write: %v, want a reset", err)
			}
			e.wantClosed("slow_consumer", "1006", 1)
			return most
		}
		_, n := e.backlog()
		most = max(most, n)
	}
	e.wantClosed("slow_consumer", "1006", 1)
	c.wantReset()
	return most
}

// A client that sends commands with long answers and reads none holds little memory
// and is evicted. One command at a time, each answer is below the size at which
// answers are written before the input is through.
func TestFloodOfCommands(t *testing.T) {
	for name, at := range map[string]int{"one at a time": 1, "many at a time": 100} {
		t.Run(name, func(t *testing.T) {
			e := serve(t, func(c *Config) { c.Shard.SlowTimeout = 2 * time.Second })
			c := dialRaw(t, e.Addr())
			_ = c.SetReadBuffer(8 << 10)
			c.upgrade("?topics=" + strings.Join(longNames(100), ","))
			// The limit, what may be gathered on top before it is looked at, and an answer.
			bound := int(edgeLimits(256).replies) + flushAt + 20<<10
			if most := flood(c, e, bytes.Repeat(command(`{"op":"list"}`), at)); most > bound {
				t.Errorf("a backlog of %d bytes of answers, want at most %d", most, bound)
			}
		})
	}
}

// publishFat gives topics that are wanted a row each, of 4 KiB.
func (e *edge) publishFat(topics []string) {
	e.t.Helper()
	for _, name := range topics {
		e.publish(name, `"`+strings.Repeat("v", 4<<10)+`"`)
	}
}

// behind returns a conn with a backlog: a piece of an update of 1 MiB that its client has
// not read, but for the beginning in the buffers of the sockets.
func (e *edge) behind() *raw {
	e.t.Helper()
	fat := names("fat", 256)
	c := dialRaw(e.t, e.Addr()).upgrade("")
	c.send(subscribe(fat...))
	c.want("ack")
	e.publishFat(fat)
	until(e.t, func() bool { sum, _ := e.backlog(); return sum > 0 }, "a backlog")
	return c
}

// A pong does not join a backlog: one who does not read gets none.
func TestPongsDoNotWait(t *testing.T) {
	e := serve(t)
	c := e.behind()
	c.send(bytes.Repeat(frame(opPing, strings.Repeat("p", 125)), 50), command(`{"op":"ping"}`))
	until(t, func() bool { return e.Stats().Loop[Commands] == 2 }, "the command behind the pings to be read")
	// The command's. A pong frame would have come before it.
	if m, err := c.behindUpdates(); err != nil || m.T != "pong" {
		t.Fatalf("got %s (%v), want pong", m.T, err)
	}
	c.send(command(`{"op":"unsubscribe","topics":["%s"]}`, strings.Join(names("fat", 256), `","`)))
	if m, err := c.behindUpdates(); err != nil || m.T != "ack" {
		t.Fatalf("got %s (%v), want ack", m.T, err)
	}
	c.send(frame(opPing, "now"))
	op, got, err := c.next()
	for err == nil && op == opText && bytes.Contains(got, []byte(`"t":"interval"`)) { // On a busy machine it has been slowed down.
		op, got, err = c.next()
	}
	if err != nil || op != opPong || string(got) != "now" {
		t.Fatalf("got op %#x with %q (%v), want a pong", op, got, err)
	}
}

// A big snapshot is no fault of the client that reads it: it is served.
func TestBigSnapshot(t *testing.T) {
	e := serve(t)
	fat := names("fat", 256)
	dialRaw(t, e.Addr()).upgrade("").send(subscribe(fat...))
	until(t, func() bool { return e.table.Subscriptions() == int64(len(fat)) }, "the topics to be wanted")
	e.publishFat(fat)
	for _, tc := range []struct {
		name string
		more [][]byte // In the same packet as the subscribe.
	}{
		{"alone", nil},
		{"and a command", [][]byte{command(`{"op":"ping"}`)}},
		{"and a ping", [][]byte{frame(opPing, "")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dialRaw(t, e.Addr()).upgrade("")
			c.send(bytes.Join(append([][]byte{subscribe(fat...)}, tc.more...), nil))
			c.want("ack")
			c.rows(len(fat))
			c.send(command(`{"op":"interval","ms":500,"id":"after"}`))
			for {
				m, err := c.read()
				if err != nil && strings.Contains(err.Error(), "op 0xa") {
					continue // A pong may come or not.
				}
				if err != nil {
					t.Fatal(err)
				}
				if string(m.ID) == `"after"` {
					break
				}
			}
			c.close()
		})
	}
}

// Answers that were read do not count against those that come later.
func TestAnswersThatWereReadAreForgotten(t *testing.T) {
	e := serve(t)
	list := longNames(256)
	dialRaw(t, e.Addr()).upgrade("").send(subscribe(list...))
	until(t, func() bool { return e.table.Subscriptions() == int64(len(list)) }, "the topics to be wanted")
	e.publishFat(list)
	c := dialRaw(t, e.Addr())
	_ = c.SetReadBuffer(64 << 10) // The kernel would make room for a whole round.
	c.upgrade("")
	// Each round leaves 34 KiB of answers behind a piece of a snapshot of 1 MiB.
	for range 5 {
		c.send(subscribe(list...))
		c.want("ack")
		before := e.skipped()
		until(t, func() bool { return e.skipped() > before }, "a backlog that stays")
		c.send(bytes.Repeat(command(`{"op":"list"}`), 2))
		if others := c.rows(len(list)); others["topics"] != 2 {
			t.Fatalf("got %v between the rows, want two answers", others)
		}
		c.send(command(`{"op":"unsubscribe","topics":["%s"]}`, strings.Join(list, `","`)))
		m, err := c.read()
		for ; err == nil && m.T == "interval"; m, err = c.read() { // A busy machine may be taken for a slow client.
		}
		if err != nil || m.T != "ack" {
			t.Fatalf("got %+v (%v), want ack", m, err)
		}
	}
}

// What ends a conn may be said behind a backlog. It arrives all the same, and the end
// right behind it.
func TestCloseBehindABacklog(t *testing.T) {
	e := serve(t)
	c := e.behind()
	c.send(frame(opBinary, ""))
	e.onLoops(func(*loop) {})                       // It was read.
	_ = c.SetReadDeadline(time.Now().Add(patience)) // Before CloseTimeout.
	for {
		m, err := c.read()
		if err == (closedWith{1003, "binary messages are not taken here"}) {
			break
		}
		if err != nil || m.T != "update" && m.T != "interval" {
			t.Fatalf("got %s with %d rows (%v)", m.T, len(m.Rows), err)
		}
	}
	c.wantEOF()
}

// A client that reads slowly and all the time, less than is published, is never evicted,
// and gets each topic in its turn. The last value of all comes when no others do.
func TestSteadyReaderLives(t *testing.T) {
	// On a machine that holds it up it is no steady reader, so it tries again.
	for attempt := 1; !steadyReader(t, attempt == 5); attempt++ {
		t.Logf("attempt %d was held up", attempt)
	}
}

// steadyReader is one attempt. It reports false if the client did not read all the time, unless this
// is the last one.
func steadyReader(t *testing.T, final bool) (ok bool) {
	const size, sip, every = 2 << 10, 5 << 10, 50 * time.Millisecond // 100 kB/s.
	const slowTimeout = 3 * time.Second
	e := serve(t, func(c *Config) { c.Shard.SlowTimeout, c.Shard.SlowRate = slowTimeout, 5000 })
	defer e.end(0)
	fat := names("fat", 256)
	c := dialRaw(t, e.Addr())
	defer c.close()
	_ = c.SetReadBuffer(32 << 10) // Its kernel takes more in steps of about so much.
	c.upgrade("")
	c.send(subscribe(fat...))
	c.want("ack")
	stop := ticking(t, e, 100*time.Millisecond, size, fat)
	tick := time.NewTicker(every)
	defer tick.Stop()
	var all bytes.Buffer
	// One pass takes 5 s at this rate.
	begin := time.Now()
	for n := 0; time.Since(begin) < 6*time.Second; <-tick.C {
		if _, err := io.CopyN(&all, c.br, sip); err != nil {
			if pace := time.Duration(n+1) * every; !final && time.Since(begin) > pace+slowTimeout/3 {
				stop()
				return false
			}
			t.Fatalf("%v after %v and %d bytes", err, time.Since(begin), all.Len())
		}
		n++
	}
	stop()
	for _, name := range fat {
		e.publish(name, `"last"`)
	}
	c.br = bufio.NewReader(io.MultiReader(&all, c.br))
	first, last := make(map[string]bool), make(map[string]bool)
	for len(last) < len(fat) {
		m, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range m.Rows {
			if first[r.S] && len(first) < len(fat) {
				t.Fatalf("%s comes again, and %d topics have not come at all", r.S, len(fat)-len(first))
			}
			first[r.S] = true
			if string(r.V) == `"last"` {
				last[r.S] = true
			}
		}
	}
	if st := e.Stats(); st.Count[fanout.Skipped] == 0 || st.Evicted[fanout.SlowConsumer] > 0 {
		t.Errorf("%d flushes skipped, evictions: %v", st.Count[fanout.Skipped], st.Evicted)
	}
	return true
}

// Beyond the limit of all backlogs conns are evicted, over all loops, and the others stay.
func TestBacklogTotal(t *testing.T) {
	const limit, conns = 128 << 10, 16
	e := serve(t, func(c *Config) { c.Backlog, c.Shard.SlowTimeout = limit, time.Hour })
	fat := names("fat", 256)
	dialRaw(t, e.Addr()).upgrade("").send(subscribe(fat...))
	until(t, func() bool { return e.table.Subscriptions() == int64(len(fat)) }, "the topics to be wanted")
	e.publishFat(fat)
	for range conns {
		c := dialRaw(t, e.Addr())
		_ = c.SetReadBuffer(8 << 10)
		c.upgrade("").send(subscribe(fat...))
	}
	until(t, func() bool { return e.closed("backlog_total", "1006") > 0 }, "an eviction")
	e.log.await(t, "raise -max-backlog-total")
	for tries := 1; ; tries++ { // On a busy machine it may look as if one that reads did not, for a moment.
		quick := dialRaw(t, e.Addr()).upgrade("")
		quick.send(subscribe(fat...))
		quick.want("ack")
		_, err := quick.tryRows(len(fat))
		if err == nil {
			break
		}
		if tries == 5 {
			t.Fatal(err)
		}
	}
	until(t, func() bool { return e.Backlog() <= limit }, "the backlogs to be below the limit")
	if n := e.Conns(); n < 4 {
		t.Errorf("%d conns are left", n)
	}
}

// The shards know of all that waits for sockets, answers to commands included, without
// having looked: what they know is never below the truth.
func TestBacklogIsKnown(t *testing.T) {
	e := serve(t, func(c *Config) { c.Shard.Interval, c.Shard.SlowTimeout = time.Minute, time.Hour })
	list := longNames(256)
	dialRaw(t, e.Addr()).upgrade("").send(subscribe(list...))
	until(t, func() bool { return e.table.Subscriptions() == int64(len(list)) }, "the topics to be wanted")
	e.publishFat(list)
	c := dialRaw(t, e.Addr())
	_ = c.SetReadBuffer(8 << 10)
	c.upgrade("").send(subscribe(list...))
	before := 0
	until(t, func() bool { // It is full when nothing moves any more.
		sum, _ := e.backlog()
		full := sum > 0 && sum == before
		before = sum
		return full
	}, "a full socket")
	c.send(command(`{"op":"list"}`))
	until(t, func() bool {
		sum, _ := e.backlog()
		if known := e.Backlog(); known < int64(sum) {
			t.Fatalf("%d bytes wait, %d are known", sum, known)
		}
		return sum > 16<<10+before/2
	}, "the answer")
}
