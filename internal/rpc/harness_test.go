// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pricesv1 "tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/auth"
	"tickedge/internal/fanout"
	"tickedge/internal/guard"
	"tickedge/internal/topics"
)

const (
	// waitMax is how long a test waits for what must happen soon.
	waitMax = 60 * time.Second
	// long is what does not come to its end in a test.
	long = time.Hour
	// quick is a window that costs no test time.
	quick = 10 * time.Millisecond
)

// share is what stands for the other door: it counts who is in, and lists names.
type share struct {
	sync.Mutex
	guard *guard.Guard
	in    int // Connections and streams.
	users map[string][]func()
	most  int // Of a user.
	names []string
	after string // Of the last page that was asked for.

	panics atomic.Bool // Whatever is asked.
}

func (s *share) Enter(prefix guard.Prefix, now time.Time) guard.Verdict {
	if s.panics.Load() {
		panic("on demand")
	}
	v := s.guard.Enter(prefix, now)
	if v.Outcome == guard.OK {
		s.Lock()
		defer s.Unlock()
		s.in++
	}
	return v
}

func (s *share) Leave(prefix guard.Prefix) {
	s.guard.Leave(prefix)
	s.Lock()
	defer s.Unlock()
	s.in--
}

func (s *share) EnterUser(user string, end func()) (leave func()) {
	s.Lock()
	defer s.Unlock()
	if s.users[user] = append(s.users[user], end); s.most > 0 && len(s.users[user]) > s.most {
		s.users[user][0]()
		s.users[user] = s.users[user][1:]
	}
	return func() {}
}

func (s *share) ListNames(_, after string, most int, allowed auth.Grant) (names []string, next string, truncated, ok bool) {
	if s.panics.Load() {
		panic("on demand")
	}
	s.Lock()
	defer s.Unlock()
	s.after = after
	for _, name := range s.names {
		if allowed.Allows([]byte(name)) && len(names) < most {
			names = append(names, name)
		}
	}
	return names, "next", true, true
}

// world is a server that runs, and what it reads.
type world struct {
	t     testing.TB
	table *topics.Table
	share *share
	*Server
}

// start runs a server of a table whose only source is up. change may change its configuration.
func start(t testing.TB, change func(cfg *Config, sh *share)) *world {
	t.Helper()
	table := topics.New(topics.Config{Max: 10_000, Linger: time.Nanosecond, Start: time.Now()})
	table.SetSourceState(0, true, 1)
	private, err := auth.ParsePrivate(auth.DefaultPrivate)
	if err != nil {
		t.Fatal(err)
	}
	sh := &share{guard: guard.New(guard.Config{}, time.Now()), users: map[string][]func(){}}
	cfg := Config{
		Listen: "127.0.0.1:0", MaxConns: 10_000, MaxStreams: 10_000, Table: table, Share: sh, Private: private,
		FetchWait: long, Log: slog.New(slog.DiscardHandler),
		Limits: fanout.Config{
			Interval: quick, Heartbeat: long, PingInterval: long, PongTimeout: long, SlowTimeout: long, IdleTimeout: long,
			HandshakeTimeout: long, CloseTimeout: waitMax, MaxTopics: 256,
		},
	}
	if change != nil {
		change(&cfg, sh)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t, table, sh, s}
	t.Cleanup(func() {
		select {
		case <-s.draining:
		default:
			gone, cancel := context.WithCancel(context.Background())
			cancel()
			s.Shutdown(gone, 0)
		}
	})
	return w
}

// dial returns a client with a connection of its own.
func (w *world) dial(options ...grpc.DialOption) pricesv1.PricesClient {
	w.t.Helper()
	return pricesv1.NewPricesClient(w.dialConn(options...))
}

func (w *world) dialConn(options ...grpc.DialOption) *grpc.ClientConn {
	w.t.Helper()
	options = append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, options...)
	c, err := grpc.NewClient("passthrough:///"+w.Addr().String(), options...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

// publish has a topic tick until somebody holds it.
func (w *world) publish(name, value string) {
	w.t.Helper()
	w.until(func() bool { return w.table.Publish(name, value, topics.Meta{}) == topics.Committed }, "somebody to hold "+name)
}

// until waits for what must come.
func (w *world) until(ok func() bool, what string) {
	w.t.Helper()
	for deadline := time.Now().Add(waitMax); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("no sign of %s", what)
		}
	}
}

// client is one stream of a test.
type client struct {
	t testing.TB
	grpc.BidiStreamingClient[pricesv1.StreamRequest, pricesv1.StreamResponse]
	cancel context.CancelFunc
}

func (w *world) stream(c pricesv1.PricesClient) *client { return w.streamIn(context.Background(), c) }

func (w *world) streamIn(ctx context.Context, c pricesv1.PricesClient) *client {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, waitMax)
	w.t.Cleanup(cancel)
	s, err := c.Stream(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return &client{w.t, s, cancel}
}

func (c *client) subscribe(id uint64, names ...string) {
	c.t.Helper()
	c.command(&pricesv1.StreamRequest{Id: id, Command: &pricesv1.StreamRequest_Subscribe{Subscribe: &pricesv1.Subscribe{Topics: names}}})
}

func (c *client) command(cmd *pricesv1.StreamRequest) {
	c.t.Helper()
	if err := c.Send(cmd); err != nil {
		c.t.Fatal(err)
	}
}

// next returns the next message as a text that is easy to compare.
func (c *client) next() string {
	c.t.Helper()
	m, err := c.Recv()
	if err != nil {
		return show(err)
	}
	return text(m)
}

// want checks what comes next, in its order.
func (c *client) want(messages ...string) {
	c.t.Helper()
	for _, want := range messages {
		if got := c.next(); got != want {
			c.t.Fatalf("got %s\nwant %s", got, want)
		}
	}
}

func show(err error) string {
	return fmt.Sprintf("%s: %s", status.Code(err), status.Convert(err).Message())
}

// text is a message without its times.
func text(m *pricesv1.StreamResponse) string {
	rows := func(kind string, r *pricesv1.Rows) string {
		for _, row := range r.GetRows() {
			value := string(row.GetValue())
			if row.GetDelisted() {
				value = "delisted"
			}
			kind += fmt.Sprintf(" %s/%d=%s", row.GetTopic(), row.GetN(), value)
		}
		return kind
	}
	switch m := m.GetMessage().(type) {
	case *pricesv1.StreamResponse_Hello:
		return fmt.Sprintf("hello %d ms, %d topics", m.Hello.GetInterval(), m.Hello.GetMaxTopics())
	case *pricesv1.StreamResponse_Ack:
		s := fmt.Sprintf("ack %d: %d topics, %d ms", m.Ack.GetId(), m.Ack.GetTopics(), m.Ack.GetInterval())
		if n := m.Ack.GetScreens(); n > 0 {
			s += fmt.Sprintf(" screens %d", n)
		}
		for _, r := range m.Ack.GetRejected() {
			s += fmt.Sprintf(" not %d %s/%d", r.GetIndex(), r.GetTopic(), r.GetCode())
		}
		return s
	case *pricesv1.StreamResponse_Error:
		return fmt.Sprintf("error %d: %d", m.Error.GetId(), m.Error.GetCode())
	case *pricesv1.StreamResponse_Snapshot:
		return rows("snapshot", m.Snapshot)
	case *pricesv1.StreamResponse_Update:
		return rows("update", m.Update)
	case *pricesv1.StreamResponse_Screen:
		return screened(m.Screen)
	case *pricesv1.StreamResponse_Feed:
		return fmt.Sprintf("feed up=%v since=%d", m.Feed.GetUp(), m.Feed.GetSince())
	case *pricesv1.StreamResponse_Stale:
		return fmt.Sprintf("stale %v %d", m.Stale.GetTopics(), m.Stale.GetCode())
	case *pricesv1.StreamResponse_Unsubscribed:
		return fmt.Sprintf("unsubscribed %v", m.Unsubscribed.GetTopics())
	case *pricesv1.StreamResponse_Heartbeat:
		return fmt.Sprintf("heartbeat up=%v", m.Heartbeat.GetFeedUp())
	}
	return "nothing"
}

// baseline waits until there are no more goroutines than before, and nothing is held.
func (w *world) baseline(goroutines int) {
	w.t.Helper()
	w.until(func() bool { return w.table.Subscriptions() == 0 }, "the end of all subscriptions")
	w.until(func() bool { return w.counts.streams.Load() == 0 && w.door.open.Load() == 0 }, "the end of all streams and connections")
	w.share.Lock()
	in := w.share.in
	w.share.Unlock()
	if in != 0 {
		w.t.Errorf("%d connections and streams are counted still", in)
	}
	w.until(func() bool { return runtime.NumGoroutine() <= goroutines }, fmt.Sprintf("only %d goroutines (%d)", goroutines, runtime.NumGoroutine()))
}

// wantCode checks the code of an error.
func wantCode(t testing.TB, err error, code codes.Code) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("%v, want %v", err, code)
	}
}
