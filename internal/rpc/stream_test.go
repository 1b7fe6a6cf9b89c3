// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pricesv1 "tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/auth"
	"tickedge/internal/fanout"
	"tickedge/internal/guard"
	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

// A stream is answered in the order of the protocol: hello, acks, snapshot, updates, news.
func TestStream(t *testing.T) {
	w := start(t, nil)
	c := w.stream(w.dial())
	c.want("hello 10 ms, 256 topics")
	c.subscribe(1, "A", "B", "A", "bad name", "tickedge:x", "alerts:me")
	c.want("ack 1: 2 topics, 10 ms not 3 bad name/422 not 4 tickedge:x/403 not 5 alerts:me/403")
	w.publish("A", `{"p":1}`)
	c.want(`update A/1={"p":1}`)
	w.table.Repair("B", `{"p":2}`, 0, topics.Meta{})
	c.want(`snapshot B/0={"p":2}`)

	late := w.stream(w.dial())
	late.subscribe(7, "A")
	late.want("hello 10 ms, 256 topics", "ack 7: 1 topics, 10 ms", `snapshot A/1={"p":1}`)

	w.table.SetSourceState(0, false, 5)
	c.want("feed up=false since=5")
	late.want("feed up=false since=5")
	w.stream(w.dial()).want("hello 10 ms, 256 topics", "feed up=false since=5")
	mark, _ := w.table.Mark("A")
	w.table.GoStale("A", mark, topics.Unserved)
	c.want("stale [A] 503")

	c.command(&pricesv1.StreamRequest{Id: 2, Command: &pricesv1.StreamRequest_Unsubscribe{Unsubscribe: &pricesv1.Unsubscribe{Topics: []string{"A", "Z"}}}})
	c.want("ack 2: 1 topics, 10 ms")
	interval := func(id uint64, ms uint32) *pricesv1.StreamRequest {
		return &pricesv1.StreamRequest{Id: id, Command: &pricesv1.StreamRequest_Interval{Interval: &pricesv1.Interval{Ms: ms}}}
	}
	c.command(interval(3, 9))
	c.command(interval(4, 60_001))
	c.command(interval(5, 20))
	c.command(&pricesv1.StreamRequest{Id: 6})
	c.want("error 3: 400", "error 4: 400", "ack 5: 1 topics, 20 ms", "error 6: 400")

	if err := c.CloseSend(); err != nil { // It goes on to read.
		t.Fatal(err)
	}
	w.publish("B", `{"p":3}`)
	c.want(`update B/1={"p":3}`)
	c.cancel()
	late.cancel()
	w.until(func() bool { return w.Stats().Ended["Canceled"] == 2 }, "the end of both")
}

// What a client does not read is not queued: behind what HTTP/2 has taken already comes the newest.
func TestStreamConflates(t *testing.T) {
	w := start(t, nil)
	c := w.stream(w.dial(grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10)))
	c.subscribe(1, "A")
	pad := strings.Repeat("x", 4000)
	value := func(i int) string { return `"` + strconv.Itoa(i) + pad + `"` }
	published := 1
	w.publish("A", value(1))
	// It stalls when nothing more is gathered, whatever is published.
	stalled := func() bool {
		before := w.Updates()
		for range 20 {
			published++
			w.table.Publish("A", value(published), topics.Meta{})
		}
		for end := time.Now().Add(10 * quick); time.Now().Before(end); {
			if w.Updates() != before {
				return false
			}
			time.Sleep(time.Millisecond)
		}
		return before > 0
	}
	w.until(stalled, "a stall")
	// Whatever comes from here on may be conflated with the row that is being sent, and no more.
	for range 3000 {
		published++
		w.table.Publish("A", value(published), topics.Meta{})
	}
	c.want("hello 10 ms, 256 topics", "ack 1: 1 topics, 10 ms")
	rows, last := 0, uint64(0)
	for last != uint64(published) {
		m, err := c.Recv()
		if err != nil {
			t.Fatal(err)
		}
		row := m.GetUpdate().GetRows()[0]
		if row.GetN() <= last {
			t.Fatalf("row %d came behind row %d", row.GetN(), last)
		}
		rows, last = rows+1, row.GetN()
	}
	if rows > 500 { // 64 KiB of the stream's quota, as much of the client's window, and what a slow machine gathers meanwhile.
		t.Errorf("%d of %d rows came", rows, published)
	}
}

// Nor are answers: of a client that reads nothing no more commands are taken, so it can send no more.
func TestStreamTakesNoCommandsOfWhoReadsNothing(t *testing.T) {
	w := start(t, nil)
	c := w.stream(w.dial(grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10)))
	names := strings.Fields(strings.Repeat("alerts:x ", 200)) // Each is answered with a refusal.
	const most = 1000
	var sent atomic.Int64
	ended := make(chan bool)
	go func() {
		defer close(ended)
		cmd := &pricesv1.StreamRequest{Command: &pricesv1.StreamRequest_Subscribe{Subscribe: &pricesv1.Subscribe{Topics: names}}}
		for sent.Load() < most && c.Send(cmd) == nil {
			sent.Add(1)
		}
	}()
	w.until(func() bool {
		before := sent.Load()
		for end := time.Now().Add(20 * quick); time.Now().Before(end) && sent.Load() == before; {
			time.Sleep(time.Millisecond)
		}
		return before > 0 && sent.Load() == before
	}, "a client that is held up")
	if n := sent.Load(); n == most {
		t.Errorf("all of %d commands were taken, and none of their answers was read", n)
	}
	c.cancel()
	<-ended
}

// A stream whose client does not take what it is sent ends, and so do those with another reason to.
func TestStreamsEnd(t *testing.T) {
	big := `"` + strings.Repeat("x", 4000) + `"`
	for _, c := range []struct {
		name   string
		change func(cfg *Config, sh *share)
		do     func(w *world, c *client)
		want   string
	}{
		{"slow", func(cfg *Config, _ *share) { cfg.Limits.SlowTimeout = 20 * time.Millisecond }, func(w *world, c *client) {
			c.subscribe(1, "A")
			w.publish("A", big)
			w.until(func() bool {
				w.table.Publish("A", big, topics.Meta{})
				return w.Stats().Ended["ResourceExhausted"] == 1
			}, "the end of a slow stream")
		}, "ResourceExhausted: 4001 slow consumer"},
		{"idle", func(cfg *Config, _ *share) { cfg.Limits.IdleTimeout = 20 * time.Millisecond }, nil, "DeadlineExceeded: 4003 idle: nothing subscribed"},
		{"old", func(cfg *Config, _ *share) { cfg.Limits.MaxAge = 20 * time.Millisecond }, nil, "Unavailable: 4004 maximum age reached"},
		{"hasty", func(cfg *Config, _ *share) { cfg.Limits.CommandRate, cfg.Limits.CommandBurst = 1, 2 }, func(_ *world, c *client) {
			for range 10 {
				_ = c.Send(&pricesv1.StreamRequest{}) // It may have ended by then.
			}
		}, "ResourceExhausted: 4503 too many commands"},
		{"long command", nil, func(_ *world, c *client) {
			c.subscribe(1, strings.Repeat("x", protocol.MessageMax(256)))
		}, "ResourceExhausted: grpc: received message larger than max"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, c.change)
			s := w.stream(w.dial(grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10)))
			if c.do != nil {
				c.do(w, s)
			}
			for {
				_, err := s.Recv()
				if err == nil {
					continue
				}
				if got := show(err); !strings.HasPrefix(got, c.want) {
					t.Errorf("got %s\nwant %s", got, c.want)
				}
				break
			}
			w.until(func() bool { return w.table.Subscriptions() == 0 }, "the end of its subscriptions")
		})
	}
}

// A heartbeat comes when nothing else does.
func TestStreamBeats(t *testing.T) {
	w := start(t, func(cfg *Config, _ *share) { cfg.Limits.Heartbeat = quick })
	w.stream(w.dial()).want("hello 10 ms, 256 topics", "heartbeat up=true", "heartbeat up=true")
}

// Beyond a limit there is a clear answer, and what was there stays.
func TestLimits(t *testing.T) {
	t.Run("topics of a stream", func(t *testing.T) {
		w := start(t, func(cfg *Config, _ *share) { cfg.Limits.MaxTopics = 2 })
		c := w.stream(w.dial())
		c.subscribe(1, "A", "B")
		c.subscribe(2, "C")
		c.subscribe(3, "C", "D", "E")
		c.want("hello 10 ms, 2 topics", "ack 1: 2 topics, 10 ms", "ack 2: 2 topics, 10 ms not 0 C/413", "error 3: 413")
	})
	t.Run("rates and valueless topics", func(t *testing.T) {
		w := start(t, func(cfg *Config, _ *share) {
			cfg.Limits.SubscribeRate, cfg.Limits.SubscribeBurst = 1, 4
			cfg.Limits.MaxValueless = 2
			cfg.Existing, _ = auth.ParsePatterns("none")
			cfg.Limits.NewTopics = guard.NewPrefixLimit(guard.Rate{PerSecond: 1, Burst: 3}, time.Now())
		})
		c := w.stream(w.dial())
		c.subscribe(1, "A", "B")
		c.want("hello 10 ms, 256 topics", "ack 1: 2 topics, 10 ms")
		w.table.Absent("A")
		w.table.Absent("B")
		c.subscribe(2, "C")
		c.want("ack 2: 2 topics, 10 ms not 0 C/413")
		c.command(&pricesv1.StreamRequest{Id: 3, Command: &pricesv1.StreamRequest_Unsubscribe{Unsubscribe: &pricesv1.Unsubscribe{Topics: []string{"A", "B"}}}})
		c.subscribe(4, "D", "E", "F")
		c.want("ack 3: 0 topics, 10 ms", "ack 4: 1 topics, 10 ms not 1 E/429 not 2 F/429")
		other := w.stream(w.dial()) // It has a rate of its own, and the prefix has used up its new topics.
		other.subscribe(1, "G")
		other.want("hello 10 ms, 256 topics", "ack 1: 0 topics, 10 ms not 0 G/429")
	})
	t.Run("commands", func(t *testing.T) {
		w := start(t, func(cfg *Config, _ *share) { cfg.Limits.CommandRate, cfg.Limits.CommandBurst = 1, 2 })
		c := w.stream(w.dial())
		for id := range uint64(3) {
			c.subscribe(id, "A")
		}
		c.want("hello 10 ms, 256 topics", "ack 0: 1 topics, 10 ms", "ack 1: 1 topics, 10 ms", "error 2: 429")
	})
	t.Run("streams of an address", func(t *testing.T) {
		w := start(t, func(_ *Config, sh *share) { sh.guard = guard.New(guard.Config{ConnsPerPrefix: 2}, time.Now()) })
		client := w.dial()
		c := w.stream(client) // It counts, and its connection does.
		c.want("hello 10 ms, 256 topics")
		w.stream(client).want("ResourceExhausted: too many connections and streams from your address, close some or try again later")
		c.cancel()
		w.until(func() bool { return w.Stats().Streams == 0 }, "the end of the first")
		w.stream(client).want("hello 10 ms, 256 topics")
	})
	t.Run("streams of an address behind a proxy", func(t *testing.T) {
		trusted, err := guard.ParseTrusted("127.0.0.1")
		must(t, err)
		w := start(t, func(cfg *Config, sh *share) {
			cfg.Trusted, sh.guard = trusted, guard.New(guard.Config{ConnsPerPrefix: 1}, time.Now())
		})
		door := w.dial()
		from := func(addr string) *client {
			return w.streamIn(metadata.AppendToOutgoingContext(context.Background(), "x-forwarded-for", addr), door)
		}
		from("192.0.2.1").want("hello 10 ms, 256 topics")
		from("192.0.2.2").want("hello 10 ms, 256 topics")
		from("192.0.2.1").want("ResourceExhausted: too many connections and streams from your address, close some or try again later")
	})
	t.Run("connections", func(t *testing.T) {
		w := start(t, func(cfg *Config, _ *share) { cfg.MaxConns = 1 })
		w.stream(w.dial()).want("hello 10 ms, 256 topics")
		_, err := w.dial().GetPrices(context.Background(), &pricesv1.GetPricesRequest{Topics: []string{"A"}})
		wantCode(t, err, codes.Unavailable)
		if w.Stats().Refused == 0 {
			t.Error("it is not counted")
		}
	})
	t.Run("streams of a connection", func(t *testing.T) {
		w := start(t, func(cfg *Config, _ *share) { cfg.MaxStreams = 1 })
		client := w.dial()
		c := w.stream(client)
		c.want("hello 10 ms, 256 topics")
		ctx, cancel := context.WithTimeout(context.Background(), 5*quick) // A client waits for room by itself.
		defer cancel()
		_, err := client.GetPrices(ctx, &pricesv1.GetPricesRequest{Topics: []string{"A"}})
		wantCode(t, err, codes.DeadlineExceeded)
	})
	t.Run("a full table", func(t *testing.T) {
		w := start(t, func(cfg *Config, _ *share) { cfg.Existing, _ = auth.ParsePatterns("none") })
		c := w.stream(w.dial())
		c.want("hello 10 ms, 256 topics")
		for i := range 10_000 {
			_, err := w.table.AcquireKnown([]byte(fmt.Sprint("T", i)), 1)
			must(t, err)
		}
		c.subscribe(1, "A")
		c.want("ack 1: 0 topics, 10 ms not 0 A/413")
	})
}

// A panic ends its call, is told as an internal error, and leaves nothing behind; the others go on.
func TestPanics(t *testing.T) {
	w := start(t, func(cfg *Config, _ *share) { cfg.ListTopics = true })
	client := w.dial()
	c := w.stream(client)
	c.want("hello 10 ms, 256 topics")
	w.share.panics.Store(true)
	w.stream(client).want("Internal: 1011 internal error")
	_, err := client.ListTopics(context.Background(), &pricesv1.ListTopicsRequest{})
	if got := show(err); got != "Internal: 1011 internal error" {
		t.Errorf("got %s", got)
	}
	c.subscribe(1, "A")
	c.want("ack 1: 1 topics, 10 ms")
}

// Every reason for which a stream ends has a code, and a text that begins with the one of the protocol.
func TestEndsHaveCodes(t *testing.T) {
	for reason, code := range endCodes {
		err := end(reason)
		if status.Code(err) != code || code == codes.Unknown || !strings.HasPrefix(status.Convert(err).Message(), strconv.Itoa(int(reason.Code()))+" ") {
			t.Errorf("%v: %v", reason, err)
		}
	}
	if len(endCodes) != 9 || endCodes[fanout.Drain] != codes.Unavailable {
		t.Error("the codes have changed: docs/GRPC.md has them too")
	}
}
