//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"

	"tickedge/bench/internal/chart"
	"tickedge/bench/internal/swarm"
)

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
