// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tickedge/internal/bars"
	"tickedge/internal/checkpoint/file"
	"tickedge/internal/history"
	"tickedge/internal/logtest"
	"tickedge/internal/trade"
)

// states is a store of checkpoints in memory.
type states map[string][]byte

func (m states) Load(_ context.Context, key string) ([]byte, int64, error)   { return m[key], 1, nil }
func (m states) Save(_ context.Context, key string, _ int64, b []byte) error { m[key] = b; return nil }
func (m states) Close() error                                                { return nil }

// gate is where bars go, once it is open.
type gate struct {
	open  atomic.Bool
	taken atomic.Int64
}

func (g *gate) Put(*bars.Bar) bool {
	if !g.open.Load() {
		return false
	}
	g.taken.Add(1)
	return true
}

func (g *gate) Flush(context.Context) error { return nil }

// shardOfOne returns the shard of one symbol, FILE:A, which does not run.
func shardOfOne(t *testing.T, to *gate, more ...string) (p *program, s *shard, a *trade.Symbol) {
	t.Helper()
	c, err := Parse(append([]string{"-in=file", "-file=/dev/null", "-symbols=FILE:A", "-intervals=1s", "-admin="}, more...))
	if err != nil {
		t.Fatal(err)
	}
	c.shards = 1
	log, _ := logtest.New(t)
	p = &program{cfg: c, log: log, out: outputs{log: log, bars: []barSink{to}, checkpoints: states{}}, last: t.Context()}
	s = newShard(p, "shard")
	if err := s.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p, s, c.table.Named("FILE:A")
}

// at is a trade of a second.
func at(of *trade.Symbol, second int64) trade.Trade {
	return trade.Trade{Symbol: of, Source: "FILE", ID: second, Time: (1_600_000_000 + second) * 1_000_000, Price: 10, Size: 1}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so in two minutes: %s", what)
		}
	}
}

// While bars can't be stored, trades that can be held up wait, and none is refused for want of room.
func TestHeldUp(t *testing.T) {
	to := new(gate)
	_, s, a := shardOfOne(t, to)
	s.patient, s.recorded = true, true
	r := newRouter(t.Context(), s.log, []*shard{s}, []*trade.Symbol{a}, false)
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	const n = 25_000 // More than a shard and its inbox have room for.
	var fed atomic.Bool
	go func() {
		for i := range int64(n) {
			r.Trade(at(a, i+1))
		}
		s.finish(ctx)
		fed.Store(true)
	}()
	taken, same := uint64(0), 0
	eventually(t, "trades wait, or all were taken", func() bool {
		var now uint64
		s.call(ctx, func() { now = s.engine.Stats().Trades })
		if same++; now != taken || len(s.in) < cap(s.in) {
			taken, same = now, 0
		}
		return fed.Load() || same > 20
	})
	to.open.Store(true)
	eventually(t, "all trades were taken", fed.Load)
	end()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if len(s.flaws) > 0 || to.taken.Load() != n {
		t.Errorf("%d bars were told, want %d; refused: %v", to.taken.Load(), n, s.flaws)
	}
}

// When the program ends, no trade is taken behind one that was not: the position would say that it was.
func TestRouterEnds(t *testing.T) {
	_, s, a := shardOfOne(t, new(gate))
	ctx, end := context.WithCancel(t.Context())
	r := newRouter(ctx, s.log, []*shard{s}, []*trade.Symbol{a}, true)
	r.Filling(a, true)
	r.Trade(at(a, 1))
	end()
	for i := range int64(100) {
		r.Trade(at(a, i+2))
	}
	if n := len(s.in); n != 2 {
		t.Errorf("%d trades were taken after the end", n-2)
	}
}

// A slow checkpoint, or a store that was away for an hour, does not put off the next checkpoint for hours.
func TestCheckpointPause(t *testing.T) {
	c := newConfig()
	c.checkpointEvery = 10 * time.Second
	for took, want := range map[time.Duration]time.Duration{0: 10 * time.Second, 2 * time.Second: 20 * time.Second, time.Hour: time.Minute} {
		if got := c.pause(took); got != want {
			t.Errorf("after %v: %v, want %v", took, got, want)
		}
	}
}

// Of a symbol that is held nothing is told to those who ask for history, as to the topic; and it is not held for ever, nor
// because it was when the checkpoint was stored.
func TestHeldSymbol(t *testing.T) {
	p, s, a := shardOfOne(t, new(gate))
	tr := at(a, 1)
	s.trade(&tr)
	s.await(a)
	if s.recent(a, "1s").ok {
		t.Error("bars of a symbol that is held are told")
	}
	p.out.checkpoints.(states)["again"] = s.state()
	s.awaitEnd = time.Now()
	s.unawait(s.awaitEnd.Add(-time.Second))
	if s.recent(a, "1s").ok {
		t.Error("it is not held any more before its time")
	}
	s.unawait(s.awaitEnd.Add(time.Second))
	if !s.recent(a, "1s").ok {
		t.Error("it is held after its time")
	}
	again := newShard(p, "again")
	if err := again.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	told := 0
	again.engine.DrainKlines(func(bars.Series) bool { told++; return true })
	if told != 1 {
		t.Errorf("%d series are told after a restart, want 1", told)
	}
}

// A shard that comes to a request too late does not disturb its answer: the race detector sees it otherwise.
func TestLateCall(t *testing.T) {
	p, s, a := shardOfOne(t, new(gate))
	tr := at(a, 1)
	s.trade(&tr)
	p.shards = []*shard{s}
	p.running.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan history.LiveSeries)
	go func() {
		out, _ := live{p}.Open(ctx, a.Name, "1s")
		answered <- out
	}()
	f := <-s.calls
	cancel()
	late := make(chan struct{})
	go func() { f(); close(late) }()
	if out := <-answered; out.Ver == 0 && (out.Open != nil || out.Revs != 0) {
		t.Error("there is half an answer")
	}
	<-late
}

// Where its owner was killed, who listens may have been told bars that are not what became of them: it is told to ask for them.
// Where it has ended in order it is not.
func TestKilledOwner(t *testing.T) {
	p, s, a := shardOfOne(t, new(gate))
	store, err := file.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	p.out.checkpoints = store
	own := func() (*shard, int64) {
		s = newShard(p, "owned")
		if err := s.load(t.Context()); err != nil {
			t.Fatal(err)
		}
		k, _ := s.engine.Series(a, "1s")
		if s.epoch == 1 {
			return s, 0
		}
		return s, k.Revs()
	}
	s, _ = own()
	for second := range int64(3) {
		tr := at(a, second+1)
		s.trade(&tr)
	}
	s.save(t.Context())
	if err := (<-s.saved).err; err != nil {
		t.Fatal(err)
	}
	s, killed := own()
	told := 0
	s.engine.DrainKlines(func(bars.Series) bool { told++; return true })
	if killed == 0 || told != 1 {
		t.Errorf("after one that was killed %d revisions are told in %d series", killed, told)
	}
	s.vers["kline:1s:FILE:A"] = 1
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	s, ended := own()
	if ended != killed {
		t.Errorf("after one that has ended there are %d revisions, want %d", ended, killed)
	}
	if _, again := own(); again <= ended {
		t.Error("one that was killed before its first checkpoint has told nothing, as it seems")
	}
}

// What a writer that has ended does not take is not told, and stays in the checkpoint.
func TestWriterEnded(t *testing.T) {
	_, s, a := shardOfOne(t, new(gate))
	w := history.NewWriter(nil, history.WriterConfig{Log: s.log})
	ended, end := context.WithCancel(t.Context())
	end()
	w.Run(ended, ended)
	if (writerSink{to: w}).Put(&bars.Bar{Symbol: a, Interval: s.cfg.bars.Intervals[0], Start: 1_600_000_000_000, Open: 1, High: 1, Low: 1, Close: 1, Count: 1, Closed: true}) {
		t.Error("a bar is told that nobody stores")
	}
}

// TestRenumbered has ids that begin anew: bars and the position go on from there, before and after a checkpoint is read.
func TestRenumbered(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		p, s, a := shardOfOne(t, &gate{})
		for n, step := range []struct {
			id, second int64
			trades     uint64 // In bars by then.
			position   int64
		}{{1000, 1, 1, 1000}, {1000, 61, 1, 1000}, {999, 122, 2, 999}, {1000, 123, 3, 1000}, {1000, 1, 3, 1000}, {1, 184, 4, 1}} {
			tr := at(a, step.second)
			tr.ID = step.id
			s.trade(&tr)
			if pos := s.positions[a.Name]; s.engine.Stats().Trades != step.trades || pos.ID != step.position {
				t.Fatalf("restarts %t, step %d: %d trades, position %+v", restarts, n, s.engine.Stats().Trades, pos)
			}
			if !restarts {
				continue
			}
			p.out.checkpoints.(states)[s.name] = s.state()
			s = newShard(p, s.name)
			if err := s.load(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// What a shard has counted is told when it has no time to say so.
func TestBusyShardIsCounted(t *testing.T) {
	p, s, a := shardOfOne(t, new(gate))
	tr := at(a, 1)
	s.trade(&tr)
	p.shards = []*shard{s}
	p.running.Store(true)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	registry := prometheus.NewRegistry()
	registry.MustRegister(exporter{p})
	for _, busy := range []bool{false, true} {
		if busy {
			end()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		}
		w := httptest.NewRecorder()
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if !strings.Contains(w.Body.String(), "\nmarketdata_trades_total 1\n") {
			t.Errorf("busy %t: no trade is counted:\n%s", busy, w.Body)
		}
	}
}
