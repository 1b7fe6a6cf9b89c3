// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/app"
	program "tickedge/internal/app/marketdata"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/exchange/exchangetest"
	"tickedge/internal/logtest"
)

// asProgram makes this test binary the program itself, so that it can be killed.
const asProgram = "TICKEDGE_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		app.Main(program.Main)
	}
	os.Exit(m.Run())
}

const patience = 2 * time.Minute

// process is a marketdata.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	log     logtest.Log
	history string // host:port
	ended   chan error
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, ended: make(chan error, 1)}
	p.cmd = exec.Command(os.Args[0], append([]string{"-admin=", "-listen=127.0.0.1:0"}, args...)...)
	p.cmd.Env = append(os.Environ(), asProgram+"=1")
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("log:\n%s", &p.log)
		}
	})
	p.eventually("it says where its trades come from", func() bool { return strings.Contains(p.log.String(), "trades come from") })
	_, rest, _ := strings.Cut(p.log.String(), "msg=history addr=")
	p.history, _, _ = strings.Cut(rest, "\n")
	return p
}

// end ends it by a signal and waits for that.
func (p *process) end(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	select {
	case err := <-p.ended:
		if s == syscall.SIGTERM && err != nil {
			p.t.Errorf("after SIGTERM it ends with %v", err)
		}
	case <-time.After(patience):
		p.t.Fatal("it did not end")
	}
}

func (p *process) eventually(what string, is func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("not so in %v: %s", patience, what)
		}
	}
}

// bar is a bar of an answer. Its numbers are exact.
type bar struct {
	T   int64       `json:"t"`
	O   json.Number `json:"o"`
	H   json.Number `json:"h"`
	L   json.Number `json:"l"`
	C   json.Number `json:"c"`
	V   json.Number `json:"v"`
	N   int64       `json:"n"`
	Rev int64       `json:"rev"`
}

type answer struct {
	Bars []bar  `json:"bars"`
	Open *bar   `json:"open"`
	Ver  int64  `json:"ver"`
	Next string `json:"next"`
}

// bars are all bars that it answers with, the open one too, by their starts.
func (p *process) bars(symbol, tf string) map[int64]bar {
	p.t.Helper()
	var status int
	var body []byte
	p.eventually("its store answers in time", func() bool {
		res, err := http.Get("http://" + p.history + "/history/" + symbol + "?limit=5000&tf=" + tf)
		if err != nil {
			p.t.Fatal(err)
		}
		defer res.Body.Close()
		status = res.StatusCode
		if body, err = io.ReadAll(res.Body); err != nil {
			p.t.Fatal(err)
		}
		return status != http.StatusServiceUnavailable // Who is told that asks again.
	})
	if status != http.StatusOK {
		p.t.Fatalf("%d: %s", status, body)
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		p.t.Fatal(err)
	}
	all := make(map[int64]bar)
	if a.Open != nil {
		a.Bars = append(a.Bars, *a.Open)
	}
	for _, b := range a.Bars {
		if _, twice := all[b.T]; twice {
			p.t.Errorf("%s %s: the bar of %d is there twice", symbol, tf, b.T)
		}
		b.Rev = 0
		all[b.T] = b
	}
	return all
}

// reference makes bars as simply as can be: of all trades that there were.
func reference(trades []exchangetest.Trade, span int64) map[int64]bar {
	type sums struct {
		bar
		first, last exchangetest.Trade
		v           int64
	}
	all := make(map[int64]*sums)
	for _, t := range trades {
		at := t.Time.UnixMilli() / span * span
		s := all[at]
		if s == nil {
			s = &sums{bar: bar{T: at, H: num(t.Price), L: num(t.Price)}, first: t, last: t}
			all[at] = s
		}
		if before(t, s.first) {
			s.first = t
		}
		if before(s.last, t) {
			s.last = t
		}
		if units(t.Price) > units(string(s.H)) {
			s.H = num(t.Price)
		}
		if units(t.Price) < units(string(s.L)) {
			s.L = num(t.Price)
		}
		s.v += units(t.Size)
		s.N++
	}
	out := make(map[int64]bar)
	for at, s := range all {
		s.O, s.C, s.V = num(s.first.Price), num(s.last.Price), num(fmt.Sprintf("%d.%08d", s.v/1e8, s.v%1e8))
		out[at] = s.bar
	}
	return out
}

func before(a, b exchangetest.Trade) bool {
	return a.Time.Before(b.Time) || a.Time.Equal(b.Time) && a.ID < b.ID
}

// num is a number as JSON of ours has it.
func num(s string) json.Number {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return json.Number(s)
}

// units is a price or size in units of 10^-8.
func units(s string) int64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		panic(err)
	}
	return int64(math.Round(f * 1e8))
}

// same reports how bars differ, "" if they do not.
func same(got, want map[int64]bar) string {
	for at, w := range want {
		if g := got[at]; g != w {
			return fmt.Sprintf("the bar of %d is %+v, want %+v", at, g, w)
		}
	}
	if len(got) != len(want) {
		return fmt.Sprintf("%d bars, want %d", len(got), len(want))
	}
	return ""
}

// shows waits until one of some programs has the bars of all trades that there were.
func shows(ex *exchangetest.Server, product, symbol, tf string, span int64, of ...*process) {
	t := of[0].t
	t.Helper()
	differ := make([]string, len(of))
	defer func() {
		if t.Failed() {
			t.Logf("%s %s: %q", symbol, tf, differ)
		}
	}()
	of[0].eventually("the bars of "+symbol+" are those of all trades", func() bool {
		for i, p := range of {
			if differ[i] = same(p.bars(symbol, tf), reference(ex.Trades(product), span)); differ[i] == "" {
				return true
			}
		}
		return false
	})
}

// watcher is a client of Redis that hears all that is published.
type watcher struct {
	mu     sync.Mutex
	seen   int
	closed map[string]told // The last that was told of each bar that was closed.
	asks   map[string]int  // When a client last had to ask the history, of each topic: at first, for bars between, or for revisions.
	newest map[string]int64
	revs   map[string]int64
	vers   map[string]int64
	wrong  []string
}

// told is a bar, and when it was told.
type told struct {
	bar
	seen int
}

// knows reports whether a client has a bar of a topic as it is: it was told, or it has asked since.
func (w *watcher) knows(topic string, b bar) bool {
	t, ok := w.closed[fmt.Sprintf("%s %d", topic, b.T)]
	return ok && t.bar == b || w.asks[topic] > t.seen
}

func watch(t *testing.T, s *redistest.Server) *watcher {
	w := &watcher{closed: make(map[string]told), asks: make(map[string]int), newest: make(map[string]int64), revs: make(map[string]int64),
		vers: make(map[string]int64)}
	c := goredis.NewClient(&goredis.Options{Addr: s.Addr()})
	sub := c.PSubscribe(t.Context(), "channel:prices:*")
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sub.Close(); c.Close() })
	go func() {
		for m := range sub.Channel(goredis.WithChannelSize(10_000)) {
			w.take(strings.TrimPrefix(m.Channel, "channel:prices:"), m.Payload)
		}
	}()
	return w
}

func (w *watcher) take(topic, value string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var v struct {
		Ver    int64  `json:"ver"`
		TF     string `json:"tf"`
		Closed []bar  `json:"closed"`
		Revs   int64  `json:"revs"`
	}
	if err := json.NewDecoder(bytes.NewReader([]byte(value))).Decode(&v); err != nil {
		w.wrong = append(w.wrong, value)
	}
	if v.Ver <= w.vers[topic] {
		w.wrong = append(w.wrong, fmt.Sprintf("%s: version %d after %d", topic, v.Ver, w.vers[topic]))
	}
	w.vers[topic] = v.Ver
	if w.seen++; v.TF == "" || len(v.Closed) == 0 {
		return
	}
	if v.Closed[0].T > w.newest[topic] || v.Revs != w.revs[topic] {
		w.asks[topic] = w.seen
	}
	w.revs[topic] = v.Revs
	for _, b := range v.Closed {
		w.newest[topic] = max(w.newest[topic], b.T)
		b.Rev = 0
		w.closed[fmt.Sprintf("%s %d", topic, b.T)] = told{b, w.seen}
	}
}

// Whatever ends the program, and whenever, its bars are those of all trades that there were, the newest price is that of the
// newest trade, and who listens knows each bar as it was in the end, or that it has to ask for it.
func TestKilledInTheMiddle(t *testing.T) {
	const product, symbol = "BTC-USD", "COINBASE:BTC-USD"
	ex := exchangetest.Start(t, exchangetest.Config{Vendor: "coinbase", Products: []string{product}})
	redis := redistest.Start(t)
	w := watch(t, redis)
	dir := t.TempDir()
	args := []string{"-in=coinbase", "-symbols=" + symbol, "-coinbase-ws=" + ex.WS, "-coinbase-rest=" + ex.REST, "-broker=redis://" + redis.Addr(),
		"-history=" + filepath.Join(dir, "h"), "-checkpoint-interval=1s", "-bar-interval=50ms"}
	trade := func(p *process, n int) {
		t.Helper()
		p.eventually("the product is subscribed", func() bool { return ex.Subscribers(product) > 0 })
		ex.Make(product, n)
	}
	p := start(t, args...)
	trade(p, 1)
	p.eventually("the first trade is in a checkpoint", func() bool {
		for _, f := range glob(t, filepath.Join(dir, "h", "checkpoints", "*.checkpoint")) {
			if info, err := os.Stat(f); err == nil && info.Size() > 200 {
				return true
			}
		}
		return false
	})
	for i, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGKILL} {
		trade(p, 50)
		shows(ex, product, symbol, "1m", 60_000, p)
		if i%2 == 0 { // Some are on their way when it ends, and some come while it is away.
			ex.Make(product, 20)
		}
		p.end(how)
		ex.Lose(product, 30)
		p = start(t, args...)
	}
	trade(p, 10)
	shows(ex, product, symbol, "1s", 1000, p)
	shows(ex, product, symbol, "1d", 86_400_000, p)
	trades := ex.Trades(product)
	last := trades[len(trades)-1]
	p.eventually("the newest price is that of the newest trade", func() bool {
		return strings.Contains(redis.Do("GET", "price:"+symbol), `"id":`+strconv.FormatInt(last.ID, 10)+",")
	})
	var unknown string
	defer func() {
		if t.Failed() {
			t.Log(unknown)
		}
	}()
	p.eventually("who listens has been told of each bar as it was in the end", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, b := range p.bars(symbol, "1s") {
			if topic := "kline:1s:" + symbol; !w.knows(topic, b) {
				unknown = fmt.Sprintf("%+v is not known, but %+v; asked at %d", b, w.closed[fmt.Sprintf("%s %d", topic, b.T)], w.asks[topic])
				return false
			}
		}
		return true
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.wrong) > 0 {
		t.Errorf("%d values are wrong: %v", len(w.wrong), w.wrong[:min(3, len(w.wrong))])
	}
}

func glob(t *testing.T, pattern string) []string {
	all, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return all
}
