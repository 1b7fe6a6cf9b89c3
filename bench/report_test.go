// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tickedge/bench/internal/lab"
)

// reported writes the report of an outcome and returns report.md.
func reported(t *testing.T, c *labConfig, res outcome) string {
	t.Helper()
	l, err := lab.New(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writeResult(c, l, res); err != nil {
		t.Fatal(err)
	}
	return reportOf(t, l.Dir)
}

var link = regexp.MustCompile(`\]\(([^)]*)\)`)

// reportOf reads the report of a run and checks that all it links to is there.
func reportOf(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, reportFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range link.FindAllStringSubmatch(string(b), -1) {
		if _, err := os.Stat(filepath.Join(dir, m[1])); err != nil {
			t.Errorf("the report links to what is not there: %v", err)
		}
	}
	return string(b)
}

func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if !strings.Contains("\n"+text+"\n", "\n"+want+"\n") {
			t.Errorf("there is no line\n%s\nin\n%s", want, text)
		}
	}
}

// testConfig is that of a mode without flags.
func testConfig(mode string) *labConfig {
	return &labConfig{mode: mode, command: "bench " + mode, targets: targets, load: load{topics: 10, window: 500 * time.Millisecond, hold: time.Second}}
}

func TestReportOfFanout(t *testing.T) {
	c := testConfig("fanout")
	c.rate, c.rounds = 20_000, 1
	f := newFanoutResult(c)
	round := func(perFrame, percent, rss, p99 float64) []fanoutRound {
		return []fanoutRound{{CPUPerFrame: perFrame, CPUPercent: percent, Frames: 10_000, RSSPerConn: rss, Staleness: staleness{P99: p99}}}
	}
	for name, rounds := range map[string][]fanoutRound{
		edgeName: round(22, 22, 3000, 550), feedName: round(0, 10, 0, 0), floorName: round(10, 10, 10, 500),
		gorillaName: round(40, 40, 20_000, 600), eventsName: round(23.1, 23, 3600, 560),
	} {
		f.find(name).Rounds = rounds
	}
	f.conclude()
	wantLines(t, reported(t, c, f), "# bench fanout", "    bench fanout",
		"| CPU per frame, net of feed (10 topics per conn, 20000 ticks/s) | 1.20 × floor | ≤ 1.35 × floor | ≤ 1.15 × floor | yes |",
		"| p99 of staleness (10 topics per conn, 20000 ticks/s) | 550 ms | ≤ 600 ms | ≤ 520 ms | yes |",
		"| RSS per conn (10 topics per conn, 20000 ticks/s) | 0.150 × gorilla | ≤ 0.100 × gorilla |  | NO |",
		"| CPU per frame, feed included (10 topics per conn, 20000 ticks/s) | 0.55 × gorilla | ≤ 0.50 × gorilla |  | NO |",
		"| CPU per frame of streams of events (10 topics per conn, 20000 ticks/s) | 1.05 × WebSockets | ≤ 1.10 × WebSockets |  | yes |",
		"| RSS per stream of events (10 topics per conn, 20000 ticks/s) | 1.20 × WebSockets | ≤ 1.10 × WebSockets |  | NO |",
		"| edge, net of feed | 12.00 | 1.20 |  |  |  |  |  |  |  |",
		"![CPU per frame by server](cpu.svg)", "![staleness of rows by server](staleness.svg)", "## The run")

	f.Topics = 100
	if text := reported(t, c, f); strings.Contains(text, "net of feed (") || !strings.Contains(text, "(100 topics per conn") {
		t.Errorf("the goal for rows of 10 topics is told of 100, or that for 100 is not:\n%s", text)
	}
}

func TestReportOfDensity(t *testing.T) {
	d := &density{Conns: 15_000, Topics: 10, Servers: []densityPoint{
		{Server: edgeName, State: idleState, RSS: 740, Heap: 900, Slab: 7000, Goroutines: 24, GoBefore: 20, Raw: &result{}},
		{Server: gnetName, State: idleState, RSS: 650, Slab: 7000, Raw: &result{}},
		{Server: eventsName, State: idleState, RSS: 777, Raw: &result{}},
		{Server: edgeName, State: fanoutState, RSS: 1010, Goroutines: 15_020, GoBefore: 20, Raw: &result{}},
	}}
	d.conclude()
	wantLines(t, reported(t, testConfig("density"), d),
		"| RSS per conn, idle | 740 B | ≤ 1000 B | ≤ 750 B | yes, stretch too |",
		"| RSS per stream of events, idle | 1.05 × WebSockets | ≤ 1.10 × WebSockets |  | yes |",
		"| goroutines with 15000 conns, idle; 20 without | 24 | ≤ 30 |  | yes |",
		"| RSS per conn, fan-out | 1010 B | ≤ 1000 B | ≤ 750 B | NO |",
		"| goroutines with 15000 conns, fan-out; 20 without | 15020 | ≤ 30 |  | NO |",
		"![RSS per conn](rss.svg)", "![memory per conn with that of the kernel](memory.svg)")
}

func TestReportOfTicks(t *testing.T) {
	rate := func(asked, rows float64, with, feed []float64) tickRate {
		r := tickRate{Asked: asked}
		for i := range with {
			r.with = append(r.with, fanoutRound{CPUPercent: with[i], Frames: 1000})
			r.without = append(r.without, fanoutRound{CPUPercent: feed[i]})
			r.ticks, r.rows = append(r.ticks, asked), append(r.rows, rows)
		}
		return r
	}
	res := &ticksResult{Conns: 500, Rates: []tickRate{
		// The machine was half as fast in the second round.
		rate(100_000, 10, []float64{42, 84}, []float64{35, 70}), rate(10_000, 9.9, []float64{10, 20}, []float64{5, 10}), rate(1000, 4, []float64{6, 12}, []float64{4, 8}),
	}}
	res.conclude()
	text := reported(t, testConfig("ticks"), res)
	wantLines(t, text, "| CPU added by ten times the ticks, from 10000/s on, 500 conns | 1.07 × that of the feed alone | ≤ 1.10 × that of the feed alone |  | yes |",
		"![CPU over the rate of ticks](cpu.svg)")
	if strings.Contains(text, "from 1000/s on") {
		t.Errorf("rates are compared at which clients get other rows:\n%s", text)
	}
}

func TestReportOfSaturate(t *testing.T) {
	res := &saturateResult{}
	for _, s := range []struct {
		name         string
		rate, frames float64
	}{{edgeName, 5000, 84_000}, {edgeName, 20_000, 79_000}, {floorName, 5000, 100_000}} {
		res.Servers = append(res.Servers, saturateServer{Name: s.name, Rate: s.rate, Rounds: []saturateRound{{Frames: s.frames}}})
	}
	res.Servers[1].Rounds[0].Behind = []string{"the server used 80 % of its CPU"}
	res.conclude()
	wantLines(t, reported(t, testConfig("saturate"), res),
		"| frames per second on one core (5000 ticks/s) | 0.84 × floor | ≥ 0.80 × floor | ≥ 0.95 × floor | yes |",
		"| frames per second on one core (20000 ticks/s) | 0.79 × floor | ≥ 0.80 × floor | ≥ 0.95 × floor | unknown: BEHIND |",
		"![frames per second on one core by server](frames.svg)", "BEHIND: edge at 20000 ticks/s in round 1: the server used 80 % of its CPU")
}

func TestReportOfHandshake(t *testing.T) {
	res := &handshakeResult{Rounds: 1, Servers: []handshakeServer{
		{Name: edgeName, Rounds: []handshakeRound{{Open: 19, Close: 5}}}, {Name: floorName, Rounds: []handshakeRound{{Open: 16, Close: 4}}},
	}}
	res.conclude()
	wantLines(t, reported(t, testConfig("handshake"), res),
		"| CPU per handshake | 1.19 × floor | ≤ 1.50 × floor | ≤ 1.20 × floor | yes, stretch too |",
		"| edge | 19.0 | 1.19 | 5.0 | 1.25 | 0.0 |", "![CPU per handshake by server](cpu.svg)")
}

func TestReportOfStorm(t *testing.T) {
	hold := func(p99 float64) *result {
		return &result{HoldSeconds: 10, Update: staleness{P99: p99}, Servers: []serverCost{{}}}
	}
	res := &stormResult{Conns: 500, Storm: 2000}
	res.conclude(hold(300), hold(601), &result{Connected: 2000, ConnectSeconds: 2})
	wantLines(t, reported(t, testConfig("storm"), res),
		"| a storm of 2000 conns | all open and acked after 2.00 s | none lost |  | yes |",
		"| p99 of staleness of those connected, in the storm | 601 ms | ≤ 600 ms | ≤ 520 ms | NO |")
	res = &stormResult{Conns: 500, Storm: 2000}
	res.conclude(hold(300), hold(300), &result{Connected: 2000, ConnectSeconds: 2, Problems: []string{"3 conns lost"}})
	wantLines(t, reported(t, testConfig("storm"), res), "| a storm of 2000 conns | newcomers: 3 conns lost | none lost |  | NO |")
}

func TestReportOfSlow(t *testing.T) {
	res := &slowResult{
		Slow: 100, Evicted: 100, Evictions: 100, Timeout: 10, Stuck: spread{10, 9.5, 11},
		Without: slowHold{Staleness: staleness{P99: 300}, RSSMax: 20e6}, With: slowHold{Staleness: staleness{P99: 320}, RSSMax: 23.3e6},
	}
	res.conclude()
	wantLines(t, reported(t, testConfig("slow"), res),
		"| p99 of staleness of the others beside slow clients | 320 ms | ≤ 320 ms |  | yes |",
		"| most RSS beside slow clients | 23.3 MB | ≤ 23.2 MB |  | NO |",
		"| slow clients evicted with -slow-timeout 10s | 100 of 100, after 10.0 (9.5-11.0) s | all, after 10 to 12 s |  | yes |")
	res.Stuck.Max = 12.1
	wantLines(t, reported(t, testConfig("slow"), res), "| slow clients evicted with -slow-timeout 10s | 100 of 100, after 10.0 (9.5-12.1) s | all, after 10 to 12 s |  | NO |")
}

func TestReportOfScale(t *testing.T) {
	res := &scaleResult{conclusion: conclusion{Good: true}, WindowMS: 500, All: &scalePoint{Conns: 100_000, Open: 100_000, Seconds: 60, PerConn: spread{Min: 0.5, Median: 1}}}
	for _, conns := range []int{60_000, 50_000} {
		res.Tried = append(res.Tried, &scalePoint{Conns: conns, EveryFrame: conns < 55_000, Staleness: staleness{P99: float64(conns) / 100}})
	}
	res.Most = res.Tried[1]
	res.Most.Behind = []string{"bench was late"} // And p99 holds even so.
	wantLines(t, reported(t, testConfig("scale"), res),
		"| 100000 conns for 60 s | 100000 open, 0 refused, 0 lost, 0 unserved | all open and served |  | yes |",
		"| p99 of staleness of 50000 conns, each with every frame | 500 ms | ≤ 600 ms | ≤ 520 ms | yes, stretch too |",
		"![frames and staleness over the number of conns](conns.svg)")
}

func TestReportOfSoak(t *testing.T) {
	res := &soakResult{Conns: 100, Churn: 50, Left: []string{"2 descriptors"}, Hold: &result{}}
	for i, phase := range []string{soakBefore, soakChurn, soakChurn, soakChurn, soakAfter} {
		res.Series = append(res.Series, soakSample{Seconds: float64(i), Phase: phase, RSS: int64(100e6 + 5e6*i), Goroutines: 20})
	}
	res.conclude()
	wantLines(t, reported(t, testConfig("soak"), res),
		"| left over of 50 conns/s that come and go | 2 descriptors | nothing |  | NO |",
		"| RSS in the last third of the churn | 1.10 × that in the first | ≤ 1.10 × that in the first |  | yes |",
		"![memory, goroutines, descriptors and subscriptions over the run](series.svg)")
}

func TestReportOfFeed(t *testing.T) {
	res := &feedResult{
		Kind: lab.Redis, Universe: 1000, Busy: 1000, Asked: 1000, Seconds: 10, Published: 9900, Ticks: 9900, EdgeCPU: 30 * time.Millisecond, BrokerCPU: 5 * time.Second,
		Whole: feedWhole{Sent: 12_000, Wanted: 12_000, Ticks: 12_000}, Profile: []share{{"collector", 40}, {"the rest", 60}}, Hold: &result{},
	}
	for i, lag := range []float64{1, 3, 2, 90} {
		res.Series = append(res.Series, feedSample{Seconds: float64(i), Behind: lag, RSS: int64(100e6 + 4e6*i)})
	}
	res.conclude()
	if !res.Good {
		t.Error(res.Problems)
	}
	wantLines(t, reported(t, testConfig("feed"), res),
		"| messages taken of 1000 topics through one connection | 990/s | ≥ 980/s |  | yes |",
		"| messages lost of 1000 topics through one connection | 0 of 12000 | none |  | yes |",
		"| lag of the feed at the worst moment, of 1000 topics through one connection | 90 ms | ≤ 100 ms | ≤ 20 ms | yes |",
		"| CPU per message of 1000 topics through one connection | 3.03 µs | ≤ 4.00 µs | ≤ 2.50 µs | yes |",
		"| RSS in the last third, of 1000 topics through one connection | 1.12 × that in the first | ≤ 1.10 × that in the first |  | NO |",
		"| collector | 40.0 | 1.21 |", "![lag and memory over the run](series.svg)")

	// What is slow is the source; and what is bad is told.
	res.Published, res.Ticks, res.Problems = 9000, 9000, nil
	res.Whole = feedWhole{Sent: 12_000, Wanted: 12_000, Ticks: 11_000, Unheard: 1, Dropped: 2, Gaps: 3, Lost: 994, Blocked: 1500 * time.Millisecond}
	res.conclude()
	text := reported(t, testConfig("feed"), res)
	wantLines(t, text, "| messages taken of 1000 topics through one connection | 900/s | ≥ 980/s |  | unknown: BEHIND |",
		"| messages lost of 1000 topics through one connection | 994 of 12000 | none |  | NO |")
	for _, want := range []string{"900 messages a second were published of 1000: redis-server used 50 % of a core", "waited for it 1.5 s"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	for _, want := range []string{"994 messages were lost", "1 messages had no subscriber", "2 messages were dropped", "3 times the edge lost"} {
		if !strings.Contains(strings.Join(res.Problems, "\n"), want) {
			t.Errorf("there is no %q in %q", want, res.Problems)
		}
	}
}

func TestReportOfFeeds(t *testing.T) {
	run := func(kind string, cpu time.Duration, whole feedWhole) *feedResult {
		res := &feedResult{Kind: kind, Universe: 1000, Busy: 1000, Asked: 1000, Seconds: 10, Published: 9900, Ticks: 9900, EdgeCPU: cpu, Whole: whole, Host: 98, Hold: &result{},
			Profile: []share{{"nats.go", 50}}}
		res.conclude()
		return res
	}
	all := feedWhole{Sent: 12_000, Wanted: 12_000, Ticks: 12_000}
	late := feedWhole{Sent: 12_000, Wanted: 12_000, Ticks: 11_000, Lost: 1000}
	res := &feedsResult{Rounds: 2, Seconds: 10, Sources: []feedSource{
		{Kind: lab.Redis, Rounds: []*feedResult{run(lab.Redis, 20*time.Millisecond, all), run(lab.Redis, 40*time.Millisecond, all)}},
		{Kind: lab.JetStream, Rounds: []*feedResult{run(lab.JetStream, 30*time.Millisecond, late), run(lab.JetStream, 52*time.Millisecond, late)}},
	}}
	res.conclude()
	if !res.Good {
		t.Error(res.Problems)
	}
	text := reported(t, testConfig("feed"), res)
	wantLines(t, text, "| CPU per message from jetstream | 1.40 (1.30-1.50) × redis | ≤ 1.30 × redis |  | NO |",
		"| newest values missing from jetstream | 0 | none |  | yes |", "| nats.go | 50.0 | 1.52 |", "![CPU per message by source](cpu.svg)")
	if want := "jetstream in round 2: without CPU to spare: the machine, 98 % of all processors"; !slices.Contains(res.notes, want) {
		t.Errorf("there is no %q in %q", want, res.notes)
	}
	// Of a stream what counts is the newest value, of the others each message.
	late.Wrong, late.Row = 3, "T1 is old"
	if r := run(lab.JetStream, 0, late); len(r.Problems) != 1 || r.Problems[0] != "3 topics have not the value that was published last: T1 is old" {
		t.Error(r.Problems)
	}
	late.Wrong = 0
	if r := run(lab.NATS, 0, late); len(r.Problems) != 1 || r.Problems[0] != "1000 messages were lost" {
		t.Error(r.Problems)
	}
}

// nothing is an outcome of which nothing was measured.
type nothing struct{}

func (nothing) headline() string  { return "" }
func (nothing) tables() []*table  { return []*table{newTable("name", "n")} }
func (nothing) ends() *conclusion { return &conclusion{} }
func (nothing) report(r *report) {
	r.atMost(limit{"least", spread{}, "%.1f", " s", 1, 0.5, false})
	r.atLeast(limit{"most", spread{3, 2, 4}, "%.1f", " s", 2, 3, false})
	r.atLeast(limit{"more", spread{1.9, 1.9, 3}, "%.1f", " s", 2, 0, false})
	r.atMost(limit{"known", spread{1, 1, 1}, "%.1f", "", 2, 0, true})
	r.staleness("late", single(601), true)
}

func TestGoals(t *testing.T) {
	wantLines(t, reported(t, testConfig("nothing"), nothing{}),
		"**This run was not good**: see the last line of [result.txt](result.txt).",
		"| least | not measured | ≤ 1.0 s | ≤ 0.5 s | NO |",
		"| most | 3.0 (2.0-4.0) s | ≥ 2.0 s | ≥ 3.0 s | yes, stretch too |",
		"| more | 1.9 (1.9-3.0) s | ≥ 2.0 s |  | NO |",
		"| known | 1.0 | ≤ 2.0 |  | unknown: BEHIND |",
		"| late | 601 ms | ≤ 600 ms | ≤ 520 ms | unknown: BEHIND |")
}

func TestTableAlignsNumbers(t *testing.T) {
	tab := newTable("name", "n", "mixed", "more")
	tab.row("edge", "1.0 (0.9-1.1)", "1")
	tab.row("gnet", "-", "one")
	want := "| name | n | mixed | more |\n| --- | --: | --- | --: |\n| edge | 1.0 (0.9-1.1) | 1 |  |\n| gnet | - | one |  |\n\n"
	if got := tab.markdown(); got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
	if want := "name  n              mixed  more\nedge  1.0 (0.9-1.1)  1\ngnet  -              one\n"; tab.text() != want {
		t.Errorf("%q, want\n%q", tab.text(), want)
	}
}

func TestCommandOfAReport(t *testing.T) {
	c := newLab("fanout", 10, time.Second, "")
	f := newLabFlags(c)
	if err := c.parse(f, strings.Fields("-dir /tmp/x -rate 500 -json -for 2s"), os.Stderr); err != nil {
		t.Fatal(err)
	}
	if want := "bench fanout -for=2s -rate=500"; c.command != want {
		t.Errorf("%q, want %q", c.command, want)
	}
	if got := quoted("-loops 1"); got != "'-loops 1'" {
		t.Error(got)
	}
}
