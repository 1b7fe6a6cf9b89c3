// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"

	pricesv1 "tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/auth"
	"tickedge/internal/guard"
	"tickedge/internal/topics"
)

// get is what GetPrices answers, as a text.
func get(t *testing.T, ctx context.Context, c pricesv1.PricesClient, names ...string) (rows, missing []string) {
	t.Helper()
	resp, err := c.GetPrices(ctx, &pricesv1.GetPricesRequest{Topics: names})
	if err != nil {
		return []string{show(err)}, nil
	}
	for _, row := range resp.GetRows() {
		rows = append(rows, row.GetTopic()+"="+string(row.GetValue()))
	}
	for _, m := range resp.GetMissing() {
		missing = append(missing, m.GetTopic()+" "+strings.Repeat("+", int(m.GetIndex()))+codeText(m.GetCode()))
	}
	return rows, missing
}

func codeText(code uint32) string {
	return map[uint32]string{403: "forbidden", 404: "none", 422: "bad", 503: "not now", 413: "full"}[code]
}

// GetPrices has what there is, waits for what is fetched, and says why the rest is missing.
func TestGetPrices(t *testing.T) {
	w := start(t, nil)
	client, ctx := w.dial(), context.Background()
	holder := newCursor(w.table, nil, 0)
	for _, name := range []string{"A", "GONE"} {
		must(t, holder.add(name, false))
	}
	w.table.Publish("A", "1", topics.Meta{})
	w.table.Publish("GONE", topics.Delisted, topics.Meta{})
	fetched := make(chan bool)
	go func() {
		defer close(fetched)
		for _, name := range []string{"LATE", "NONE"} {
			w.until(func() bool { _, held := w.table.Mark(name); return held }, name+" to be wanted")
		}
		w.table.Repair("LATE", "7", 0, topics.Meta{})
		w.table.Absent("NONE")
	}()
	rows, missing := get(t, ctx, client, "LATE", "A", "NONE", "GONE", "bad name", "alerts:x", "A")
	<-fetched
	if !reflect.DeepEqual(rows, []string{"LATE=7", "A=1"}) {
		t.Error(rows)
	}
	slices.Sort(missing)
	if !reflect.DeepEqual(missing, []string{"GONE +++none", "NONE ++none", "alerts:x +++++forbidden", "bad name ++++bad"}) {
		t.Error(missing)
	}
	holder.release(time.Now())
	w.until(func() bool { return w.table.Subscriptions() == 0 }, "the end of its topics")

	w.table.SetSourceState(0, false, 1)
	if rows, missing := get(t, ctx, client, "NEW"); rows != nil || missing[0] != "NEW not now" {
		t.Error(rows, missing)
	}
	for _, names := range [][]string{nil, make([]string, 257)} {
		_, err := client.GetPrices(ctx, &pricesv1.GetPricesRequest{Topics: names})
		wantCode(t, err, codes.InvalidArgument)
	}
}

// GetPrices waits no longer than it may: by the edge's limit, and by the client's.
func TestGetPricesWaits(t *testing.T) {
	w := start(t, func(cfg *Config, _ *share) { cfg.FetchWait = quick })
	if _, missing := get(t, context.Background(), w.dial(), "NEW"); missing[0] != "NEW not now" {
		t.Error(missing)
	}
	w = start(t, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 5*quick)
	defer cancel()
	_, err := w.dial().GetPrices(ctx, &pricesv1.GetPricesRequest{Topics: []string{"NEW"}})
	wantCode(t, err, codes.DeadlineExceeded)
	w.until(func() bool { return w.table.Subscriptions() == 0 }, "the end of its topic")
}

// An answer has a limit: the rows that have no room are missing.
func TestGetPricesHasALimit(t *testing.T) {
	w := start(t, func(cfg *Config, _ *share) { cfg.Limits.MaxTopics = 400 })
	holder := newCursor(w.table, nil, 0)
	value := `"` + strings.Repeat("x", 4000) + `"`
	var names []string
	for i := range 300 {
		names = append(names, "T"+strings.Repeat("i", i/20)+string(rune('a'+i%20)))
		must(t, holder.add(names[i], false))
		w.table.Publish(names[i], value, topics.Meta{})
	}
	rows, missing := get(t, context.Background(), w.dial(), names...)
	if most := answerMax / len(value); len(rows) != most || len(missing) != 300-most || !strings.HasSuffix(missing[0], "full") {
		t.Errorf("%d rows and %d missing", len(rows), len(missing))
	}
}

func TestListTopics(t *testing.T) {
	w := start(t, func(_ *Config, sh *share) { sh.names = []string{"A", "B", "alerts:x", "C"} })
	client, ctx := w.dial(), context.Background()
	_, err := client.ListTopics(ctx, &pricesv1.ListTopicsRequest{})
	wantCode(t, err, codes.Unimplemented)

	w = start(t, func(cfg *Config, sh *share) {
		cfg.ListTopics, sh.names = true, []string{"A", "B", "alerts:x", "C"}
		cfg.Requests = guard.NewPrefixLimit(guard.Rate{PerSecond: 1, Burst: 2}, time.Now())
	})
	client = w.dial()
	_, err = client.ListTopics(ctx, &pricesv1.ListTopicsRequest{Limit: 1001})
	wantCode(t, err, codes.InvalidArgument)
	page, err := client.ListTopics(ctx, &pricesv1.ListTopicsRequest{After: "0", Limit: 3})
	if err != nil || !reflect.DeepEqual(page.GetTopics(), []string{"A", "B", "C"}) || page.GetNext() != "next" || !page.GetTruncated() || w.share.after != "0" {
		t.Error(page, err)
	}
	_, err = client.ListTopics(ctx, &pricesv1.ListTopicsRequest{})
	wantCode(t, err, codes.ResourceExhausted)
}

const secret = "open-sesame-open-sesame-open-sesame"

// token returns one of a user, with a claim of topics if there is any.
func token(t *testing.T, user string, expires time.Time, claim ...string) context.Context {
	t.Helper()
	claims := jwt.MapClaims{"sub": user, "exp": expires.Unix()}
	if claim != nil {
		claims["topics"] = claim
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	must(t, err)
	return withToken("Bearer " + text)
}

func withToken(field string) context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), "authorization", field)
}

// guarded runs a server where tokens are asked for.
func guarded(t *testing.T, change func(cfg *Config, sh *share)) *world {
	return start(t, func(cfg *Config, sh *share) {
		v, err := auth.NewVerifier(auth.Config{Secret: []byte(secret), Private: cfg.Private, TopicsClaim: "topics", Types: []string{"JWT"}}, slog.New(slog.DiscardHandler))
		must(t, err)
		cfg.Verifier = v
		if change != nil {
			change(cfg, sh)
		}
	})
}

// What a token allows is the same as on the client port, for streams and for requests.
func TestTokens(t *testing.T) {
	w := guarded(t, func(cfg *Config, sh *share) {
		cfg.ListTopics, sh.names = true, []string{"fx:A", "B"}
	})
	holder := newCursor(w.table, nil, 0)
	all := []string{"fx:A", "B", "alerts:ann", "alerts:bob", "tickedge:x"}
	for _, name := range all {
		must(t, holder.add(name, false))
		w.table.Publish(name, "1", topics.Meta{})
	}
	client, later := w.dial(), time.Now().Add(long)
	for _, c := range []struct {
		name string
		ctx  context.Context
		want string
	}{
		{"no claim", token(t, "ann", later), "fx:A=1 B=1 alerts:ann=1"},
		{"a claim", token(t, "ann", later, "fx:*"), "fx:A=1 alerts:ann=1"},
		{"a star", token(t, "eve", later, "*", "alerts:*"), "fx:A=1 B=1"},
		{"another's by its whole name", token(t, "eve", later, "alerts:bob"), "alerts:bob=1"},
		{"none", context.Background(), "Unauthenticated: " + auth.Missing.Error()},
		{"no bearer", withToken("Basic abc"), "Unauthenticated: " + auth.Missing.Error()},
		{"no JWT", withToken("Bearer abc"), "Unauthenticated: " + auth.Malformed.Error()},
		{"an old one", token(t, "ann", time.Now().Add(-long)), "Unauthenticated: " + auth.Expired.Error()},
		{"two", metadata.AppendToOutgoingContext(token(t, "ann", later), "authorization", "Bearer x"), "InvalidArgument: more than one authorization came: one token is wanted"},
	} {
		rows, missing := get(t, c.ctx, client, all...)
		if got := strings.Join(rows, " "); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		s := w.streamIn(c.ctx, client)
		first := s.next()
		if missing == nil {
			if first != c.want {
				t.Errorf("%s: a stream got %s, want %s", c.name, first, c.want)
			}
			_, err := client.ListTopics(c.ctx, &pricesv1.ListTopicsRequest{})
			if got := show(err); got != c.want {
				t.Errorf("%s: a list got %s, want %s", c.name, got, c.want)
			}
			continue
		}
		s.subscribe(1, all...)
		s.next()
		if got, want := s.next(), "snapshot "+strings.ReplaceAll(c.want, "=", "/1="); got != want {
			t.Errorf("%s: a stream got %s, want %s", c.name, got, want)
		}
		s.cancel()
	}
	if n := w.Stats().Tokens; n["expired"] != 3 || n["missing"] != 6 {
		t.Error(n)
	}
}

// A stream ends with its token, or when a newer one of its user takes its place.
func TestTokensEnd(t *testing.T) {
	w := guarded(t, func(_ *Config, sh *share) { sh.most = 1 })
	door := w.dial()
	var s *client
	for life := time.Second; ; life *= 2 { // A machine may be so slow that a token ends before its stream begins.
		s = w.streamIn(token(t, "ann", time.Now().Add(life)), door)
		if first := s.next(); first == "hello 10 ms, 256 topics" {
			break
		} else if first != "Unauthenticated: "+auth.Expired.Error() {
			t.Fatal(first)
		}
	}
	s.want("Unauthenticated: 4501 token expired")
	later := time.Now().Add(long)
	old := w.streamIn(token(t, "bob", later), door)
	old.want("hello 10 ms, 256 topics")
	w.streamIn(token(t, "ann", later), door).want("hello 10 ms, 256 topics")
	w.streamIn(token(t, "bob", later), door).want("hello 10 ms, 256 topics")
	old.want("Aborted: 4504 replaced by a newer connection")
}

// The health service says what it is told, and reflection names the services; neither takes a token.
func TestHealthAndReflection(t *testing.T) {
	w := guarded(t, nil)
	conn := w.dialConn()
	health := func() healthv1.HealthCheckResponse_ServingStatus {
		resp, err := healthv1.NewHealthClient(conn).Check(context.Background(), &healthv1.HealthCheckRequest{Service: "tickedge.prices.v1.Prices"})
		must(t, err)
		return resp.GetStatus()
	}
	if s := health(); s != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Error(s)
	}
	w.SetReady(true)
	if s := health(); s != healthv1.HealthCheckResponse_SERVING {
		t.Error(s)
	}
	r, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(context.Background())
	must(t, err)
	must(t, r.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}))
	resp, err := r.Recv()
	must(t, err)
	var names []string
	for _, s := range resp.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	if !slices.Contains(names, "tickedge.prices.v1.Prices") || !slices.Contains(names, "grpc.health.v1.Health") {
		t.Error(names)
	}
}

// A drain tells all streams within its time, and who comes then is refused.
func TestDrain(t *testing.T) {
	w := start(t, nil)
	door := w.dial()
	var streams []*client
	for range 20 {
		s := w.stream(door)
		s.want("hello 10 ms, 256 topics")
		streams = append(streams, s)
	}
	asked := make(chan error, 1)
	go func() {
		_, err := door.GetPrices(context.Background(), &pricesv1.GetPricesRequest{Topics: []string{"NEW"}})
		asked <- err
	}()
	w.until(func() bool { return w.table.Subscriptions() == 1 }, "the request to wait")
	w.Shutdown(context.Background(), 50*time.Millisecond)
	for _, s := range streams {
		if _, err := s.Recv(); show(err) != "Unavailable: 1012 draining" {
			t.Errorf("got %v", err)
		}
	}
	if err := <-asked; show(err) != "Unavailable: 1012 draining" {
		t.Errorf("a request got %v", err)
	}
	_, err := w.dial().GetPrices(context.Background(), &pricesv1.GetPricesRequest{Topics: []string{"A"}})
	wantCode(t, err, codes.Unavailable)
	if n := w.Stats().Ended["Unavailable"]; n != 20 {
		t.Errorf("%d streams ended", n)
	}
}

// A drain whose time is over cuts off what is left, also a stream that takes nothing.
func TestDrainIsOverInTime(t *testing.T) {
	w := start(t, func(cfg *Config, _ *share) { cfg.Limits.CloseTimeout = 0 })
	c := w.stream(w.dial())
	c.want("hello 10 ms, 256 topics")
	w.Shutdown(context.Background(), 0)
	if _, err := c.Recv(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	w.until(func() bool { return w.Stats().Streams == 0 }, "the end of the stream")
}
