// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tickedge/bench/internal/lab"
)

// answers is what an edge says to a request.
func answers(r *http.Request) string {
	var rows []string
	for topic := range strings.SplitSeq(r.URL.Query().Get("topics"), ",") {
		rows = append(rows, `{"s":"`+topic+`","n":1,"v":{"p":1}}`)
	}
	return `{"d":[` + strings.Join(rows, ",") + `],"missing":[]}`
}

// ask sends requests over a few conns to a server of one handler, which stops it with end.
func ask(t *testing.T, conns int, rate float64, handler func(w http.ResponseWriter, r *http.Request, end func())) (*requester, *requestStats) {
	t.Helper()
	over := make(chan struct{})
	end := sync.OnceFunc(func() { close(over) })
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler(w, r, end) }))
	defer srv.Close()
	r, err := newRequester(&lab.Server{Addr: srv.Listener.Addr().String()}, conns, 3, 20, 1)
	if err != nil {
		t.Fatal(err)
	}
	r.patience = time.Minute
	stats, err := r.run(rate, over)
	if err != nil {
		t.Fatal(err)
	}
	return r, stats
}

// Requests go out on all conns in turns, whose answers may come in pieces, and that may end behind
// one.
func TestRequests(t *testing.T) {
	var asked atomic.Int64
	var from sync.Map
	r, stats := ask(t, 4, 500, func(w http.ResponseWriter, r *http.Request, end func()) {
		n := asked.Add(1)
		from.Store(r.RemoteAddr[:strings.LastIndex(r.RemoteAddr, ":")], true)
		body := answers(r)
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		if n%5 == 0 {
			w.Header().Set("Connection", "close")
		}
		_, _ = w.Write([]byte(body[:10]))
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write([]byte(body[10:]))
		if n == 100 {
			end()
		}
	})
	if len(stats.Failed) > 0 || stats.Sent < 100 || int64(stats.Sent) != asked.Load() || r.times.N() != stats.Sent {
		t.Errorf("%+v, %d asked, %d in time", stats, asked.Load(), r.times.N())
	}
	if least := stats.Sent/5 - 4; stats.Opened < least || stats.Opened > stats.Sent/5+4 {
		t.Errorf("%d conns opened for %d requests", stats.Opened, stats.Sent)
	}
	for i := range 4 {
		if _, ok := from.Load(fmt.Sprintf("127.3.0.%d", i)); !ok {
			t.Errorf("conn %d took no turn", i)
		}
	}
	if stats.Bytes == 0 || stats.PerSecond == 0 || stats.Max < stats.P50 {
		t.Errorf("%+v", stats)
	}
}

// A request that has to wait for a conn is as late as if it had been sent.
func TestRequestsAreDueWhateverAnswersDo(t *testing.T) {
	var asked atomic.Int64
	r, stats := ask(t, 1, 100, func(w http.ResponseWriter, r *http.Request, end func()) {
		switch asked.Add(1) {
		case 1:
			<-time.After(300 * time.Millisecond) // All but the last of these are due by then.
		case 10:
			end()
		}
		_, _ = w.Write([]byte(answers(r)))
	})
	if least := time.Duration(r.times.Min()) * time.Microsecond; len(stats.Failed) > 0 || r.times.N() < 10 || least < 100*time.Millisecond {
		t.Errorf("%+v; the fastest of %d took %v", stats, r.times.N(), least)
	}
}

func TestRequestsThatFail(t *testing.T) {
	for want, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"HTTP 429": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(429) },
		"an answer without all rows, or with more behind it": func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(strings.Replace(answers(r), `"s":"`, `"s":"x`, 1)))
		},
		"the conn ended before its answer": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"an answer without a good length": func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(answers(r)))
			_ = http.NewResponseController(w).Flush() // Chunks.
		},
		"handshake answer is not HTTP": func(w http.ResponseWriter, r *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = c.Write([]byte("hello\r\n\r\n"))
			c.Close()
		},
	} {
		_, stats := ask(t, 1, 1000, func(w http.ResponseWriter, r *http.Request, end func()) {
			end()
			answer(w, r)
		})
		if stats.Failed[want] != stats.Sent || len(stats.Failed) != 1 {
			t.Errorf("%q: %+v", want, stats)
		}
	}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer srv.Close()
	r, err := newRequester(&lab.Server{Addr: srv.Listener.Addr().String()}, 2, 1, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	r.patience = time.Millisecond
	over := make(chan struct{})
	time.AfterFunc(50*time.Millisecond, func() { close(over) })
	if stats, err := r.run(1000, over); err != nil || stats.Sent == 0 || stats.Failed["no answer within 1ms"] != stats.Sent {
		t.Errorf("%+v, %v", stats, err)
	}
}

func TestReportOfHTTP(t *testing.T) {
	hold := func(p99, cpu float64) *result {
		return &result{HoldSeconds: 10, Update: staleness{P99: p99}, Servers: []serverCost{{CPUSeconds: cpu}}}
	}
	res := &httpResult{
		Conns: 10_000, Asked: 5000, Requests: requestStats{Sent: 50_000, P95: 12.3, Failed: map[string]uint64{}},
		Rounds: []httpRound{{Edge: 900, Nginx: 2000}, {Edge: 3000, Nginx: 5000}, {Edge: 800, Nginx: 2000}},
	}
	res.conclude(hold(230, 2), hold(290, 3), nil)
	wantLines(t, reported(t, testConfig("http"), res),
		"| requests that fail (5000 requests/s beside 10000 conns) | 0 | none of 50000 |  | yes |",
		"| p95 of the time of a request (5000 requests/s beside 10000 conns) | 12.3 ms | ≤ 100.0 ms |  | yes |",
		"| p99 of staleness beside requests (5000 requests/s beside 10000 conns) | 290 ms | ≤ 280 ms |  | NO |",
		"| answers per second to 64 conns | 0.45 (0.40-0.60) × a static file of nginx | ≥ 0.50 × a static file of nginx |  | NO |",
		"![staleness of rows without requests and beside requests](staleness.svg)")
	if res.CPU != 20 || !res.Good {
		t.Errorf("%v µs, good %v", res.CPU, res.Good)
	}
	res = &httpResult{Requests: requestStats{Sent: 9, Failed: map[string]uint64{"HTTP 503": 2}, LatePolls: 11, LongestGapMS: 70}}
	res.conclude(hold(1, 1), hold(1, 1), nil)
	if res.Good || len(res.Problems) != 1 || res.Problems[0] != "2 requests failed: HTTP 503" || len(res.Behind) != 1 || !strings.Contains(res.Behind[0], "up to 70 ms") {
		t.Errorf("%+v", res.conclusion)
	}
	text := reported(t, testConfig("http"), res)
	wantLines(t, text, "| requests that fail (0 requests/s beside 0 conns) | 2 | none of 9 |  | NO |")
	if !strings.Contains(text, "| unknown: BEHIND |") {
		t.Error(text)
	}
}
