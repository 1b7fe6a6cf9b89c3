// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tickedge/internal/doctor"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

// million is a load whose numbers are easily done by hand. Tests take away from it.
func million() Load {
	return Load{
		Clients: 1_000_000, Topics: 20, Symbols: 5000, TickRate: 2, Window: 500 * time.Millisecond, RowBytes: 60, Transport: WebSocket,
		Cores: 8, EgressPrice: 0.08, RetrySpread: 10 * time.Second, FrameCost: FrameCost, Limits: Limits{Topics: 256, TopicsTotal: 100_000,
			Reserve: 262},
	}
}

func near(t *testing.T, what string, is, want float64) {
	t.Helper()
	if math.Abs(is-want) > 0.001*math.Abs(want) || math.IsNaN(is) {
		t.Errorf("%s: %v, want %v", what, is, want)
	}
}

// A client of 20 topics that tick once in a window at the mean has 20 × (1 − 1/e) of them in a flush.
func TestTraffic(t *testing.T) {
	l := million()
	p := Make(l)
	near(t, "rows", p.Traffic.Rows, 12.6424)
	near(t, "frames", p.Traffic.Frames, 2_000_000)
	near(t, "bytes", p.Traffic.Bytes, 12.6424*60+43)
	near(t, "payload", p.Traffic.Payload, 2e6*801.54)
	near(t, "out", p.Traffic.Out, 2e6*(801.54+52))
	near(t, "in", p.Traffic.In, 2e6*52)
	near(t, "packets out", p.Traffic.PktsOut, 2e6)
	near(t, "GB", p.Price.GB, 2e6*853.54*2_628_000/1e9)
	near(t, "price", p.Price.Month, 0.08*2e6*853.54*2_628_000/1e9)

	l.TLS, l.Transport = true, Events // One record and a larger envelope.
	p = Make(l)
	near(t, "out of TLS", p.Traffic.Out, 2e6*(758.54+64+22+52))
	near(t, "cores of TLS", p.Proxy.Cores, 2e6*9.2e-6/0.7)
	near(t, "opens of TLS", p.Proxy.Opens, 290)

	// Half of the windows have news where 0.6931 ticks are expected in each.
	quiet := million()
	quiet.Topics, quiet.TickRate, quiet.Window = 1, math.Ln2, time.Second
	p = Make(quiet)
	near(t, "share", p.Traffic.Share, 0.5)
	near(t, "frames of half", p.Traffic.Frames, 500_000)
	near(t, "rows of those", p.Traffic.Rows, 1)

	// 2,000 rows of 60 bytes are four pieces, of 30,000 bytes each, which are 21 packets and 11 acknowledgements.
	long := million()
	long.Topics, long.TickRate = 2000, 100
	p = Make(long)
	near(t, "pieces", p.Traffic.Frames, 8_000_000)
	near(t, "rows of a piece", p.Traffic.Rows, 500)
	near(t, "packets of pieces", p.Traffic.PktsOut, 21*8e6)
	near(t, "acknowledgements", p.Traffic.PktsIn, 11*8e6)

	still := million()
	still.TickRate = 0
	p = Make(still)
	if p.Traffic.Frames != 0 || p.Traffic.Out != 0 || p.Broker.Out != 0 || p.Edges.Count != 2 {
		t.Errorf("nothing ticks: %+v", p)
	}
}

// 2,000,000 frames of 4.9 µs and 12.6 rows of 19 ns are 10.28 cores; 8 cores hold 5.6 less the feed.
func TestEdges(t *testing.T) {
	l := million()
	l.Symbols, l.TickRate = 1000, 10 // 10,000 ticks of 1 µs, and all topics in each frame.
	p := Make(l)
	frames := 2e6 * (4.9e-6 + 20*(1-math.Exp(-5))*19e-9)
	near(t, "cores", p.Edges.All, frames+float64(p.Edges.Count)*(0.046+0.01))
	if p.Edges.Count != 3 || p.Edges.Clients != 333_334 || p.OneGone.Clients != 500_000 || !p.OneGone.Holds {
		t.Errorf("%+v %+v", p.Edges, p.OneGone)
	}
	near(t, "load", p.Edges.Load, (frames/3+0.056)/8)
	near(t, "load of two", p.OneGone.Load, (frames/2+0.056)/8)
	if want := int64(processMemory + 1000*461 + 10_000*42 + 333_334*(735+134)); p.Edges.Memory != want {
		t.Errorf("memory %d, want %d", p.Edges.Memory, want)
	}
	if want := doctor.ToHave(128<<20 + 500_000*(2048+4200+4096)); p.OneGone.Memory != want || p.OneGone.Files != 500_262 {
		t.Errorf("%+v, want %d", p.OneGone, want)
	}
	near(t, "back", p.OneGone.Back, 333_334*64e-6/(16-(frames+2*0.056)))
	near(t, "comeback", p.Comeback.CPU, 64)
	near(t, "comeback at last", p.Comeback.Seconds, 10)
	near(t, "messages", p.Broker.Out, 30_000)
	near(t, "broker", p.Broker.Bytes, 30_000*85)
	near(t, "redis", p.Broker.Cores, 0.055+0.009)

	// What one edge holds has another one beside it.
	l.Clients = 10_000
	if p := Make(l); p.Edges.Count != 2 || p.OneGone.Clients != 10_000 {
		t.Errorf("few clients: %+v", p.Edges)
	}
	// Who has measured 9.8 µs a frame has twice the cores for them, but for rows.
	l.Clients, l.FrameCost = 1_000_000, 2*FrameCost
	if p := Make(l); p.Edges.Count != 5 {
		t.Errorf("slow processors: %+v", p.Edges)
	}
	// A tick of more topics costs more.
	near(t, "a tick of few", tickCost(10), 1e-6)
	near(t, "a tick between", tickCost(10_000), 1.9e-6)
	near(t, "a tick of many", tickCost(100_000), 2.8e-6)
	near(t, "a tick of more", tickCost(10_000_000), 2.8e-6)
}

// An edge that has few clients wants the topics of those alone.
func TestBrokerWanted(t *testing.T) {
	l := million()
	l.Clients, l.Edges, l.Topics, l.Symbols = 10, 10, 20, 5000
	near(t, "wanted", Make(l).Broker.Wanted, 20)
	l.Edges, l.Topics = 1, 2500 // Ten clients leave out one topic in 1,024.
	near(t, "wanted of ten", Make(l).Broker.Wanted, 5000*(1-1.0/1024))
	l.Topics = 5000
	near(t, "all", Make(l).Broker.Wanted, 5000)
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Load)
		want   []string
	}{
		{"a million", func(*Load) {}, nil},
		{"one edge", func(l *Load) { l.Edges, l.Clients = 1, 1000 }, []string{"plan for two"}},
		{"two edges", func(l *Load) { l.Edges = 2 }, []string{"if one edge goes, the others are used for 129 %", "set -retry-spread 12s"}},
		{"too few edges", func(l *Load) { l.Edges, l.Cores = 2, 4 }, []string{"each edge takes 5.2 of 4 cores"}},
		{"many topics", func(l *Load) { l.Topics = 257 }, []string{"set -max-topics 257"}},
		{"many symbols", func(l *Load) { l.Symbols, l.TickRate = 100_001, 0.01 }, []string{"set -max-topics-total 100001"}},
		{"many ticks", func(l *Load) { l.TickRate = 50 }, []string{"one Redis has one core for all, and this takes 1.6",
			"more than the 200,000 that were measured"}},
		{"many clients of an edge", func(l *Load) { l.Clients, l.Window, l.Edges = 1_048_576, 10*time.Second, 2 },
			[]string{"raise it, or plan for more edges"}},
		{"no time to come back", func(l *Load) { l.RetrySpread = time.Second }, []string{"set -retry-spread 5s"}},
	} {
		l := million()
		c.change(&l)
		if err := l.Validate(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		have := Make(l).Warnings
		fits := len(have) == len(c.want)
		for i := range min(len(have), len(c.want)) {
			fits = fits && strings.Contains(have[i], c.want[i])
		}
		if !fits {
			t.Errorf("%s: %q, want %q", c.name, have, c.want)
		}
	}
	if p := Make(func() Load { l := million(); l.TickRate = 50; return l }()); !slices.ContainsFunc(p.Warnings, func(s string) bool {
		return strings.Contains(s, "redis-cluster://") && strings.Contains(s, "several -source") && strings.Contains(s, "NATS")
	}) || p.Broker.Enough {
		t.Errorf("one Redis is too small, and the ways out are not named: %q", p.Warnings)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Load)
		want   string
	}{
		{func(l *Load) { l.Clients = 0 }, "-clients is 0, want 1 to 1000000000, such as -clients 100000"},
		{func(l *Load) { l.Clients = -5 }, "-clients is -5, want 1 to"},
		{func(l *Load) { l.Clients = math.MaxInt64 }, "-clients is 9223372036854775807"},
		{func(l *Load) { l.TickRate = math.NaN() }, "-tick-rate is NaN, want 0 to 1000000, such as -tick-rate 2"},
		{func(l *Load) { l.TickRate = math.Inf(1) }, "-tick-rate is +Inf"},
		{func(l *Load) { l.TickRate = -1 }, "-tick-rate is -1"},
		{func(l *Load) { l.EgressPrice = math.NaN() }, "-egress-price is NaN"},
		{func(l *Load) { l.Topics = 5001 }, "-topics is 5001, want 1 to 4096"},
		{func(l *Load) { l.Symbols = 10 }, "-topics is 20 and -symbols is 10: a client can't have more topics than there are"},
		{func(l *Load) { l.Symbols = 0 }, "-symbols is 0"},
		{func(l *Load) { l.RowBytes = 0 }, "-row-bytes is 0"},
		{func(l *Load) { l.Cores = 0 }, "-cores-per-host is 0"},
		{func(l *Load) { l.Edges = -1 }, "-edges is -1"},
		{func(l *Load) { l.Window = time.Millisecond }, "-window is 1ms, want 100ms to 1m0s, such as -window 500ms"},
		{func(l *Load) { l.RetrySpread = -1 }, "-retry-spread is -1ns"},
		{func(l *Load) { l.FrameCost = 0 }, "-frame-cost is 0s, want 100ns to 10ms, such as -frame-cost 8us"},
		{func(l *Load) { l.Transport = "http" }, `-transport is "http", want ws (WebSocket) or sse (server-sent events)`},
		{func(l *Load) { l.Symbols, l.TickRate, l.Cores = 100_000, 10, 4 },
			"-cores-per-host is 4, and the feed of an edge takes 2.85 cores with 1,000,000 ticks a second"},
	} {
		l := million()
		c.change(&l)
		if err := l.Validate(); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	if err := million().Validate(); err != nil {
		t.Error(err)
	}
}

// Whatever is found good makes numbers that JSON has, and none of them is absurd.
func FuzzMake(f *testing.F) {
	f.Add(int64(1_000_000), 20, 5000, 2.0, int64(500*time.Millisecond), 60, 0, 8, 0.08, int64(10*time.Second), int64(FrameCost), true)
	// Two edges that have no processor left for who comes back.
	f.Add(int64(1_000_000), 20, 5000, 2.0, int64(500*time.Millisecond), 60, 2, 1, 0.0, int64(0), int64(FrameCost), false)
	f.Add(int64(1), 1, 1, 0.0, int64(windowLeast), 1, 1, 1, 0.0, int64(0), int64(frameLeast), false)
	f.Add(int64(clientsMost), topicsMost, symbolsMost, 0.001, int64(windowMost), rowMost, edgesMost, coresMost, float64(priceMost),
		int64(spreadMost), int64(frameMost), true)
	f.Add(int64(clientsMost), topicsMost, topicsMost, 1.0, int64(windowLeast), rowMost, 0, 1, math.NaN(), int64(-1), int64(0), false)
	f.Fuzz(func(t *testing.T, clients int64, topics, symbols int, tickRate float64, window int64, row, edges, cores int, price float64,
		spread, frame int64, events bool) {
		l := Load{Clients: clients, Topics: topics, Symbols: symbols, TickRate: tickRate, Window: time.Duration(window), RowBytes: row,
			Transport: WebSocket,
			TLS:       row%2 == 0, Edges: edges, Cores: cores, EgressPrice: price, RetrySpread: time.Duration(spread), FrameCost: time.Duration(frame),
			Limits: million().Limits}
		if events {
			l.Transport = Events
		}
		if err := l.Validate(); err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "-") || !strings.Contains(line, " is ") {
					t.Errorf("%q names no flag", line)
				}
			}
			return
		}
		p := Make(l)
		if _, err := json.Marshal(p); err != nil {
			t.Fatalf("%+v: %v", l, err)
		}
		e, g := p.Edges, p.OneGone
		if e.Count < 1 || e.Clients < 1 || e.Cores <= 0 || e.Memory <= 0 || g.Memory <= 0 || g.Files <= 0 || p.Traffic.Out < 0 ||
			p.Broker.Out < 0 ||
			int64(e.Count)*e.Clients < clients || p.Traffic.Rows > float64(topics)+1e-6 || l.Edges == 0 && (!g.Holds ||
			e.Load > doctor.MostBusy+1e-9) {
			t.Errorf("%+v makes %+v", l, p)
		}
	})
}

func TestTextIsAsInTheFile(t *testing.T) {
	small := million()
	small.Clients, small.Edges, small.EgressPrice, small.Transport, small.Topics = 5000, 1, 0, Events, 300
	full := million()
	full.Edges, full.Cores = 2, 1
	tls := million()
	tls.TLS, tls.TickRate = true, 50
	for name, l := range map[string]Load{"million.txt": million(), "small.txt": small, "tls.txt": tls, "full.txt": full} {
		var b strings.Builder
		if err := Make(l).WriteText(&b); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if b.String() != string(want) {
			t.Errorf("%s is now (-update if that is right):\n%s", name, b.String())
		}
	}
}
