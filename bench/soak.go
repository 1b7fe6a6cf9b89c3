// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tickedge/bench/internal/chart"
	"tickedge/bench/internal/lab"
	"tickedge/bench/internal/swarm"
)

const (
	// soakEvery is the time between two samples of the edge.
	soakEvery = time.Second
	// soakLinger is how long the edge keeps topics that nobody wants, and soakPatience
	// what everything may take on top of it to be as it was before the first client.
	soakLinger, soakPatience = 30 * time.Second, 30 * time.Second
	// soakFetchFDs is the edge's connection to Redis for the values of new topics. The
	// first client makes it dial, and it is kept.
	soakFetchFDs = 1
)

// soakSample is the edge at one moment.
type soakSample struct {
	Seconds       float64 `json:"seconds"` // Since the sample before the first client.
	Phase         string  `json:"phase"`
	RSS           int64   `json:"rss_bytes"`
	Heap          int64   `json:"go_heap_in_use_bytes"`
	Goroutines    int     `json:"goroutines"`
	FDs           int     `json:"fds"`
	Conns         int     `json:"conns"` // In any state.
	Subscriptions int     `json:"subscriptions"`
	Topics        int     `json:"topics"` // Those that linger included.
}

// Phases of a soak.
const (
	soakBefore  = "before"
	soakConnect = "connect"
	soakChurn   = "churn"
	soakAfter   = "after" // All clients have left.
)

func runSoak(args []string, stdout, stderr io.Writer) int {
	c := newLab("soak", 5000, 3*time.Minute, "")
	f := newLabFlags(c)
	f.Float64Var(&c.churn, "churn", 500, "conns per second that are replaced by new ones; as many others change a topic")
	return c.run(f, args, stdout, stderr, func() error {
		if !(c.churn > 0 && c.churn <= 100_000) {
			return fmt.Errorf("-churn %v: want conns per second above 0, such as -churn 500", c.churn)
		}
		return nil
	}, (*session).soak)
}

// soak lets clients come and go at an edge, lets all of them leave, and waits until
// nothing of them is left there.
func (s *session) soak() (outcome, error) {
	if err := s.ticks(s.rate); err != nil {
		return nil, err
	}
	server, err := edgeTarget.start(s.lab, s.labConfig)
	if err != nil {
		return nil, err
	}
	w := &soakWatch{server: server, began: time.Now()}
	w.phase.Store(soakBefore)
	if err := w.sample(); err != nil {
		return nil, err
	}
	w.phase.Store(soakConnect)
	s.progress("soak: %d conns, %.0f of them replaced each second for %v", s.conns, s.churn, s.labConfig.hold)
	sampling := repeat(soakEvery, w.sample)
	hold, err := s.hold(server, s.conns, s.topics, func(moment int) error {
		if moment == atHold { // At its end all conns are still there, and leave next.
			w.phase.Store(soakChurn)
		}
		return nil
	})
	if err := errors.Join(err, sampling.stop()); err != nil {
		return nil, err
	}
	s.progress("soak: all have left; topics go after %v", soakLinger)
	res := &soakResult{Conns: s.conns, Topics: s.topics, Rate: s.rate, Churn: s.churn, Hold: hold}
	left, err := s.settle(w)
	if err != nil {
		return nil, err
	}
	res.SettledSeconds, res.Left, res.Series = w.last().Seconds-left, w.leftovers(), w.series
	res.conclude()
	return res, s.lab.StopServer(server)
}

// settle samples until nothing is left of the clients, or patience is. It returns when
// it began.
func (s *session) settle(w *soakWatch) (began float64, err error) {
	w.phase.Store(soakAfter)
	for {
		if err := errors.Join(w.sample(), s.lab.Failed()); err != nil {
			return 0, err
		}
		if began == 0 {
			began = w.last().Seconds
		}
		if len(w.leftovers()) == 0 || w.last().Seconds-began > (soakLinger+soakPatience).Seconds() {
			return began, nil
		}
		if err := pause(s.ctx, soakEvery); err != nil {
			return 0, err
		}
	}
}

// soakWatch samples an edge. Owned by one goroutine at a time.
type soakWatch struct {
	server *lab.Server
	began  time.Time
	phase  atomic.Value // A string.
	series []soakSample
}

func (w *soakWatch) last() *soakSample { return &w.series[len(w.series)-1] }

// sample adds a sample to the series.
func (w *soakWatch) sample() error {
	m, err := w.server.Metrics()
	if err != nil {
		return err
	}
	p, err := w.server.Procs[0].Sample()
	if err != nil {
		return err
	}
	w.series = append(w.series, soakSample{
		Seconds: time.Since(w.began).Seconds(), Phase: w.phase.Load().(string), RSS: p.RSS, FDs: p.FDs,
		Heap: int64(m["go_memstats_heap_inuse_bytes"]), Goroutines: int(m["go_goroutines"]),
		Conns:         int(m.Sum("edge_connections")),
		Subscriptions: int(m["edge_subscriptions"]), Topics: int(m["edge_topics"]),
	})
	return nil
}

// leftovers says what the last sample has that the first one had not.
func (w *soakWatch) leftovers() []string {
	var all []string
	base, now := &w.series[0], w.last()
	note := func(n int, what string) {
		if n > 0 {
			all = append(all, fmt.Sprintf("%d %s", n, what))
		}
	}
	note(now.Conns, "conns")
	note(now.Subscriptions, "subscriptions")
	note(now.Topics, "topics")
	note(now.Goroutines-base.Goroutines, "goroutines")
	note(now.FDs-base.FDs-soakFetchFDs, "descriptors")
	return all
}

// soakGrowthMax is how much the edge's RSS may grow between the first and the last
// third of the churn, as a share. A leak of 1 KB a conn is far above that within a
// minute, what the garbage collector makes of it is below.
const soakGrowthMax = 0.10

// soakResult is an edge whose clients come and go.
type soakResult struct {
	conclusion
	Conns   int                `json:"conns"`
	Topics  int                `json:"topics"`
	Rate    float64            `json:"ticks_per_second"`
	Churn   float64            `json:"churn_per_second"`
	Ended   [swarm.Ways]uint64 `json:"ended_by_close_fin_rst"`
	Changed uint64             `json:"topics_exchanged"`
	Growth  float64            `json:"rss_growth"` // From the first third of the churn to the last one, as a share.
	Thirds  [2]float64         `json:"rss_bytes_of_first_and_last_third"`
	Left    []string           `json:"left_over,omitempty"`

	// SettledSeconds is the time from when the clients had left until nothing of them
	// was left at the edge.
	SettledSeconds float64      `json:"settled_seconds"`
	Series         []soakSample `json:"series"`
	Hold           *result      `json:"hold"`
}

func (res *soakResult) conclude() {
	res.Ended, res.Changed = res.Hold.Ended, res.Hold.Changed
	res.Thirds, res.Growth = growthOf(each(res.churn(), func(s *soakSample) float64 { return float64(s.RSS) }))
	res.Problems, res.Behind = append(res.Problems, res.Hold.Problems...), res.Hold.Behind
	if res.Growth > soakGrowthMax {
		res.problem("RSS grew by %.1f %% during the churn, %.0f %% are allowed", 100*res.Growth, 100*soakGrowthMax)
	}
	for way, n := range res.Ended {
		if n == 0 {
			res.problem("no conn ended by %v: ask for more -churn or a longer -for", swarm.Way(way))
		}
	}
	for _, what := range res.Left {
		res.problem("%s are left over %.0f s after the clients left", what, res.SettledSeconds)
	}
	res.notes = []string{
		fmt.Sprintf("RSS, median of the first third of the churn %.1f MB, of the last third %.1f MB: %+.1f %%", res.Thirds[0]/1e6, res.Thirds[1]/1e6, 100*res.Growth),
		"staleness " + res.Hold.Update.text("updates"),
	}
	if len(res.Left) == 0 {
		res.notes = append(res.notes, fmt.Sprintf("nothing was left over %.0f s after the last client left; topics linger %v", res.SettledSeconds, soakLinger))
	}
	res.conclusion.conclude()
}

// churn are the samples of that phase.
func (res *soakResult) churn() []soakSample {
	return slices.DeleteFunc(slices.Clone(res.Series), func(s soakSample) bool { return s.Phase != soakChurn })
}

// moments are the samples that are told: the first one, the first and the last of the
// churn, and the last one.
func (res *soakResult) moments() []soakSample {
	told := res.Series[:1:1]
	if churn := res.churn(); len(churn) > 0 {
		told = append(told, churn[0], churn[len(churn)-1])
	}
	return append(told, res.Series[len(res.Series)-1])
}

func (res *soakResult) headline() string {
	return fmt.Sprintf("edge, %d conns with %d topics each, %.0f ticks/s; for %.0f s %.0f conns/s were replaced: %d ended by close frame, %d by FIN, %d by RST; %d topics exchanged",
		res.Conns, res.Topics, res.Rate, res.Hold.HoldSeconds, res.Churn, res.Ended[swarm.ByClose], res.Ended[swarm.ByFIN], res.Ended[swarm.ByRST], res.Changed)
}

func (res *soakResult) tables() []*table {
	t := newTable("at s:%.0f", "phase", "RSS MB:%.1f", "heap MB:%.1f", "goroutines", "descriptors", "conns", "subscriptions", "topics")
	t.right = true
	for _, s := range res.moments() {
		t.row(s.Seconds, s.Phase, mb(s.RSS), mb(s.Heap), s.Goroutines, s.FDs, s.Conns, s.Subscriptions, s.Topics)
	}
	return []*table{t}
}

func (res *soakResult) report(r *report) {
	left := "nothing"
	if len(res.Left) > 0 {
		left = strings.Join(res.Left, ", ")
	}
	r.goals = append(r.goals, goal{
		What: fmt.Sprintf("left over of %.0f conns/s that come and go", res.Churn), Wanted: "nothing", Measured: left, Holds: len(res.Left) == 0,
	})
	r.atMost(limit{"RSS in the last third of the churn", single(1 + res.Growth), "%.2f", " × that in the first", 1 + soakGrowthMax, 0, false})
	r.picture("series", "memory, goroutines, descriptors and subscriptions over the run", res.seriesChart())
}

func (res *soakResult) seriesChart() chart.Lines {
	rss, heap := chart.Series{Name: "the edge", Colour: chart.Blue}, chart.Series{Name: "its Go heap", Colour: chart.Orange}
	line := func(s chart.Series, of func(s *soakSample) float64) chart.Line {
		return lineOf(s, res.Series, func(s *soakSample) float64 { return s.Seconds }, of)
	}
	panel := func(title string, of func(s *soakSample) float64) chart.Panel {
		return chart.Panel{Title: title, Lines: []chart.Line{line(rss, of)}}
	}
	c := chart.Lines{
		Title: fmt.Sprintf("%d conns, of which %.0f a second are replaced; then all leave", res.Conns, res.Churn), XAxis: "seconds",
		Legend: []chart.Series{rss, heap},
		Panels: []chart.Panel{
			panel("RSS and heap in use, MB", func(s *soakSample) float64 { return mb(s.RSS) }),
			panel("goroutines", func(s *soakSample) float64 { return float64(s.Goroutines) }),
			panel("file descriptors", func(s *soakSample) float64 { return float64(s.FDs) }),
			panel("subscriptions", func(s *soakSample) float64 { return float64(s.Subscriptions) }),
		},
	}
	c.Panels[0].Lines = append(c.Panels[0].Lines, line(heap, func(s *soakSample) float64 { return mb(s.Heap) }))
	return c
}
