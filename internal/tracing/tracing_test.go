// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tickedge/internal/logtest"
	"tickedge/internal/tracing/tracingtest"
	"tickedge/internal/trade"
)

const aParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// Of parents only what W3C Trace Context allows is taken, of version 00.
func TestParents(t *testing.T) {
	p, err := parseParent(aParent)
	if err != nil || p.TraceID().String() != aParent[3:35] || p.SpanID().String() != aParent[36:52] || !p.IsSampled() || !p.IsRemote() {
		t.Errorf("%v %v", p, err)
	}
	if p, err := parseParent(strings.TrimSuffix(aParent, "01") + "02"); err != nil || p.IsSampled() {
		t.Errorf("flags 02: %v %v", p, err)
	}
	for _, bad := range []string{
		"", "x", aParent[:54], aParent + "0", aParent + "-00", strings.Repeat(aParent, 1000), strings.ToUpper(aParent),
		"01" + aParent[2:], "ff" + aParent[2:], "00_" + aParent[3:], aParent[:35] + "_" + aParent[36:], aParent[:52] + "_01",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
		"00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333g-01", aParent[:53] + "0g",
	} {
		if p, err := parseParent(bad); err == nil || p.IsValid() {
			t.Errorf("%.80q is taken for %v", bad, p)
		}
	}
}

// tracer returns one whose spans go to a collector, and what ends it and waits until all are there.
func tracer(t *testing.T, oneIn int) (*Tracer, *tracingtest.Collector, func()) {
	t.Helper()
	c := tracingtest.Start(t)
	cfg := Config{Endpoint: c.URL, OneIn: oneIn}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	log, _ := logtest.New(t)
	tr := New(cfg, "test", "1.2.3", log)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { tr.Run(ctx) })
	end := sync.OnceFunc(func() { stop(); running.Wait() })
	t.Cleanup(end)
	return tr, c, end
}

func aTrade() trade.Trade {
	now := time.Now().UnixMicro()
	return trade.Trade{Symbol: &trade.Symbol{Name: "COINBASE:BTC-USD"}, Source: "COINBASE", ID: 7, Time: now - 2000, Received: now}
}

// Without an endpoint there is no tracer.
func TestOff(t *testing.T) {
	var c Config
	if err := c.Validate(); err != nil || New(c, "test", "", nil) != nil {
		t.Error("there is a tracer")
	}
}

// The first of N trades is followed, one with a parent is left alone, and the limit holds.
func TestSampling(t *testing.T) {
	tr, c, end := tracer(t, 3)
	var followed []string
	for i := range 9 {
		x := aTrade()
		if tr.Sample(&x); x.Trace != "" {
			followed = append(followed, x.Trace)
			if i%3 != 0 {
				t.Errorf("trade %d is followed", i)
			}
		}
		x = aTrade()
		x.Trace = "has one"
		if tr.Sample(&x); x.Trace != "has one" {
			t.Errorf("a parent is replaced by %q", x.Trace)
		}
	}
	end()
	spans := c.Spans()
	if len(followed) != 3 || len(spans) != 3 {
		t.Fatalf("%d trades and %d spans, want 3", len(followed), len(spans))
	}
	for i, s := range spans {
		if want := "00-" + s.Trace + "-" + s.ID + "-01"; followed[i] != want || s.Name != "exchange" || s.Parent != "" || s.Remote || s.Service != "test" ||
			s.End.Sub(s.Start) != 2*time.Millisecond || s.Attributes["trade.id"] != "7" || s.Attributes["source"] != "COINBASE" {
			t.Errorf("the span %+v of %s", s, followed[i])
		}
	}
	none, _, _ := tracer(t, 0)
	x := aTrade()
	if none.Sample(&x); x.Trace != "" {
		t.Error("one in 0 is followed")
	}
}

// A clock of an exchange that is ahead makes no span that ends before it begins.
func TestClockAhead(t *testing.T) {
	tr, c, end := tracer(t, 1)
	x := aTrade()
	x.Time = x.Received + 3_000_000
	tr.Sample(&x)
	if carry, ended := tr.Publish(x.Trace, "A", time.Now().Add(time.Hour)); carry != "" {
		ended(true)
	}
	end()
	if spans := c.Spans(); len(spans) != 3 { // The collector looks at the times.
		t.Errorf("%d spans", len(spans))
	}
}

// However many values have a parent, a second has as many traces as it may have.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := New(Config{Endpoint: "http://127.0.0.1:1", OneIn: 1, url: "http://127.0.0.1:1"}, "test", "", nil)
		e := tr.Edge()
		for second := range 2 {
			taken, begun := 0, 0
			for range 1000 {
				if e.Arrived("A", aParent) != 0 {
					taken++
				}
				x := aTrade()
				if tr.Sample(&x); x.Trace != "" {
					begun++
				}
			}
			if taken != perSecond || begun != perSecond || tr.Stats().Limited != uint64(second+1)*2*(1000-perSecond) {
				t.Errorf("second %d: %d ticks are followed and %d trades begun; %+v", second, taken, begun, tr.Stats())
			}
			time.Sleep(time.Second) // Of the bubble.
		}
	})
}

// The stages of marketdata, and of two edges.
func TestStages(t *testing.T) {
	tr, c, end := tracer(t, 1)
	x := aTrade()
	tr.Sample(&x)
	carry, ended := tr.Publish(x.Trace, "BTC", time.UnixMicro(x.Received))
	lost, lose := tr.Publish(x.Trace, "BTC", time.UnixMicro(x.Received))
	ended(true)
	lose(false)
	for range 2 {
		e := tr.Edge()
		n := e.Arrived("BTC", carry)
		e.Committed(n, true)
		e.Flushed([]uint16{n}, time.Now())
		e.Flushed([]uint16{n}, time.Now())
		e.Flushed([]uint16{n + 1, 0}, time.Now())
	}
	early := tr.Edge() // A loop may be ahead of who has published.
	n := early.Arrived("EARLY", carry)
	first := time.Now().Add(time.Hour)
	early.Flushed([]uint16{n}, first)
	early.Flushed([]uint16{n}, first.Add(time.Hour))
	early.Committed(n, true)
	none := tr.Edge()
	n = none.Arrived("NONE", carry)
	none.Committed(n, false)
	none.Flushed([]uint16{n}, time.Now())
	none.Committed(0, true)
	end()
	count := make(map[string]int)
	names := make(map[string]string)
	for _, s := range c.Spans() {
		count[s.Name]++
		names[s.ID] = s.Name
	}
	for _, s := range c.Spans() {
		before := map[string]string{"exchange": "", "marketdata": "exchange", "broker": "marketdata", "table": "broker", "flush": "table"}[s.Name]
		if names[s.Parent] != before || s.Trace != x.Trace[3:35] || s.Attributes["topic"] == "NONE" || s.Remote != (s.Name == "marketdata" || s.Name == "table") {
			t.Errorf("the parent of %+v is %q", s, names[s.Parent])
		}
		if s.Attributes["topic"] == "EARLY" && s.Name == "flush" && !s.End.Equal(first) {
			t.Errorf("the first flush was at %v, and not at %v", first, s.End)
		}
		if s.Name == "broker" && s.Attributes["taken"] != map[bool]string{true: "true", false: "false"}[strings.Contains(carry, s.ID)] {
			t.Errorf("a span of the broker has %v", s.Attributes)
		}
	}
	if want := map[string]int{"exchange": 1, "marketdata": 2, "broker": 2, "table": 3, "flush": 3}; len(count) != len(want) || count["table"] != 3 || count["flush"] != 3 || count["broker"] != 2 {
		t.Errorf("%v, want %v", count, want)
	}
	if lost == carry {
		t.Error("two values carry the same span")
	}
}

// What is not to be followed, or has no parent at all, is not, and what is none is counted.
func TestNotFollowed(t *testing.T) {
	tr, c, end := tracer(t, 1)
	e := tr.Edge()
	for _, parent := range []string{strings.TrimSuffix(aParent, "1") + "0", "00-nonsense", strings.Repeat("x", 4096)} {
		if carry, ended := tr.Publish(parent, "A", time.Now()); carry != "" || ended != nil {
			t.Errorf("%.60q is followed", parent)
		}
		if e.Arrived("A", parent) != 0 {
			t.Errorf("%.60q is followed", parent)
		}
	}
	end()
	if n := len(c.Spans()); n != 0 || tr.Stats().Flawed != 4 {
		t.Errorf("%d spans, %+v", n, tr.Stats())
	}
}

// A number is used again, and what is still to be flushed of its place is not taken for the new one.
func TestNumbersComeAgain(t *testing.T) {
	tr, _, _ := tracer(t, 1)
	e := tr.Edge()
	e.last = 65_534
	next := func() uint16 { tr.followed.second = 0; return e.Arrived("A", aParent) }
	if a, b, c := next(), next(), next(); a != 65_535 || b != 1 || c != 2 {
		t.Errorf("%d %d %d", a, b, c)
	}
	e.last = pendingMost
	e.Committed(1, true)
	next() // In the place of 1.
	e.Flushed([]uint16{1}, time.Now())
	if e.at(1).number != pendingMost+1 || !e.at(1).flushed.IsZero() {
		t.Errorf("%+v", e.at(1))
	}
}

// A collector that is away costs a line, and spans, which are counted. Who ends a span does not wait.
func TestCollectorAway(t *testing.T) {
	c := tracingtest.Start(t)
	c.Answer(http.StatusServiceUnavailable)
	cfg := Config{Endpoint: c.URL, OneIn: 1}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	log, said := logtest.New(t)
	tr := New(cfg, "test", "", log)
	sample := func() {
		tr.begun.second = 0
		x := aTrade()
		tr.Sample(&x)
	}
	for range queueMost + 10 {
		sample()
	}
	if st := tr.Stats(); st.Dropped != 10 {
		t.Errorf("%+v", st)
	}
	run := func() {
		ctx, stop := context.WithCancel(context.Background())
		stop()
		tr.Run(ctx)
	}
	run()
	sample()
	run()
	if st := tr.Stats(); st.Failed != queueMost+1 || said.Count("can't be exported") != 1 || said.Count("503") == 0 || len(tr.export.queue) > 0 {
		t.Errorf("%+v, %d left", st, len(tr.export.queue))
	}
	c.Answer(0)
	sample()
	run()
	if st := tr.Stats(); st.Exported != 1 || said.Count("can be exported again") != 1 || len(c.Spans()) != 1 {
		t.Errorf("%+v, %d spans", st, len(c.Spans()))
	}
}

// Keys go to the collector, and nowhere else.
func TestHeaders(t *testing.T) {
	const secret = "Bearer open-sesame"
	file := filepath.Join(t.TempDir(), "headers")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("Authorization: " + secret + "\n\nX-Scope-OrgID: a\n")
	c := tracingtest.Start(t)
	for _, cfg := range []Config{{HeadersFile: file}, {Headers: "Authorization: " + secret + ";X-Scope-OrgID: a"}} {
		cfg.Endpoint, cfg.OneIn = c.URL+"/", 1
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		log, said := logtest.New(t)
		tr := New(cfg, "test", "", log)
		x := aTrade()
		tr.Sample(&x)
		ctx, stop := context.WithCancel(context.Background())
		stop()
		tr.Run(ctx)
		if strings.Contains(said.String(), "sesame") {
			t.Error("the log has the key")
		}
	}
	all := c.Headers()
	for _, h := range all {
		if h.Get("Authorization") != secret || h.Get("X-Scope-OrgID") != "a" {
			t.Errorf("%v", h)
		}
	}
	if len(all) != 2 {
		t.Errorf("%d requests", len(all))
	}
	// Who is sent elsewhere does not go there with them.
	var came int
	moved := http.RedirectHandler(c.URL+"/v1/traces", http.StatusTemporaryRedirect)
	cfg := Config{Endpoint: c.URL, OneIn: 1, HeadersFile: file}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	log, _ := logtest.New(t)
	tr := New(cfg, "test", "", log)
	tr.export.client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		came++
		w := httptest.NewRecorder()
		moved.ServeHTTP(w, r)
		return w.Result(), nil
	})
	x := aTrade()
	tr.Sample(&x)
	tr.export.last()
	if came != 1 || tr.Stats().Failed != 1 {
		t.Errorf("%d requests, %+v", came, tr.Stats())
	}

	write("Authorization " + secret + "\n")
	for _, bad := range []struct {
		c    Config
		says string
	}{
		{Config{Endpoint: "collector:4318"}, "want http://host:4318"},
		{Config{Endpoint: "ftp://h"}, "want http://host:4318"},
		{Config{Endpoint: "http://h/?key=open-sesame"}, "without a query"},
		{Config{Endpoint: "http://u:open-sesame@h"}, "-trace-headers-file"},
		{Config{Endpoint: "https://h", OneIn: -1}, "-trace-one-in is -1, want 1 to"},
		{Config{Endpoint: "https://h", HeadersFile: file}, "line 1: want Name: value"},
		{Config{Endpoint: "https://h", HeadersFile: "/no/such"}, "no such file"},
		{Config{Endpoint: "https://h", HeadersFile: file, Headers: "A: b"}, "want one of them"},
		{Config{Endpoint: "http://collector:4318", Headers: "A: open-sesame"}, "want https://"},
		{Config{Headers: "A: b", HeadersFile: file}, "-trace-endpoint is not"},
	} {
		if err := bad.c.Validate(); err == nil || !strings.Contains(err.Error(), bad.says) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%+v: %v, want %q", bad.c, err, bad.says)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
