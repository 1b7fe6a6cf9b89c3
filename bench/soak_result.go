//go:build linux

package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"tickedge/bench/internal/swarm"
)

// soakGrowthMax is how much the edge's RSS may grow between the first and the last
// third of the churn, as a share. A leak of 1 KB a conn is far above that within a
// minute, what the garbage collector makes of it is below.
const soakGrowthMax = 0.10

// soakResult is an edge whose clients come and go.
type soakResult struct {
	Good    bool               `json:"good"`
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
	Problems       []string     `json:"problems,omitempty"`
}

func (res *soakResult) conclude() {
	res.Ended, res.Changed = res.Hold.Ended, res.Hold.Changed
	var churn []float64
	for _, s := range res.Series {
		if s.Phase == soakChurn {
			churn = append(churn, float64(s.RSS))
		}
	}
	third := len(churn) / 3
	res.Thirds = [2]float64{spreadOf(churn[:third]).Median, spreadOf(churn[len(churn)-third:]).Median}
	res.Growth = ratio(res.Thirds[1]-res.Thirds[0], res.Thirds[0])
	res.Problems = append(res.Problems, res.Hold.Problems...)
	if res.Growth > soakGrowthMax {
		res.Problems = append(res.Problems, fmt.Sprintf("RSS grew by %.1f %% during the churn, %.0f %% are allowed", 100*res.Growth, 100*soakGrowthMax))
	}
	for way, n := range res.Ended {
		if n == 0 {
			res.Problems = append(res.Problems, fmt.Sprintf("no conn ended by %v: ask for more -churn or a longer -for", swarm.Way(way)))
		}
	}
	for _, what := range res.Left {
		res.Problems = append(res.Problems, fmt.Sprintf("%s are left over %.0f s after the clients left", what, res.SettledSeconds))
	}
	res.Good = len(res.Problems) == 0
}

func (res *soakResult) good() bool { return res.Good }

// moments are the samples that are told: the first one, the first and the last of the
// churn, and the last one.
func (res *soakResult) moments() []soakSample {
	var churn []soakSample
	for _, s := range res.Series {
		if s.Phase == soakChurn {
			churn = append(churn, s)
		}
	}
	told := res.Series[:1:1]
	if len(churn) > 0 {
		told = append(told, churn[0], churn[len(churn)-1])
	}
	return append(told, res.Series[len(res.Series)-1])
}

func (res *soakResult) headline() string {
	return fmt.Sprintf("edge, %d conns with %d topics each, %.0f ticks/s; for %.0f s %.0f conns/s were replaced: %d ended by close frame, %d by FIN, %d by RST; %d topics exchanged",
		res.Conns, res.Topics, res.Rate, res.Hold.HoldSeconds, res.Churn, res.Ended[swarm.ByClose], res.Ended[swarm.ByFIN], res.Ended[swarm.ByRST], res.Changed)
}

func (res *soakResult) table() *table {
	t := newTable("at s", "phase", "RSS MB", "heap MB", "goroutines", "descriptors", "conns", "subscriptions", "topics")
	for _, s := range res.moments() {
		t.row(fmt.Sprintf("%.0f", s.Seconds), s.Phase, fmt.Sprintf("%.1f", mb(s.RSS)), fmt.Sprintf("%.1f", mb(s.Heap)), fmt.Sprint(s.Goroutines),
			fmt.Sprint(s.FDs), fmt.Sprint(s.Conns), fmt.Sprint(s.Subscriptions), fmt.Sprint(s.Topics))
	}
	return t
}

func (res *soakResult) writeText(w io.Writer) error {
	fmt.Fprintln(w, res.headline())
	if err := res.table().writeText(w, tabwriter.AlignRight); err != nil {
		return err
	}
	fmt.Fprintf(w, "RSS, median of the first third of the churn %.1f MB, of the last third %.1f MB: %+.1f %%\n", res.Thirds[0]/1e6, res.Thirds[1]/1e6, 100*res.Growth)
	fmt.Fprintf(w, "staleness %s\n", res.Hold.Update.text("updates"))
	if len(res.Left) == 0 {
		fmt.Fprintf(w, "nothing was left over %.0f s after the last client left; topics linger %v\n", res.SettledSeconds, soakLinger)
	}
	for _, text := range res.Hold.Behind {
		fmt.Fprintln(w, "BEHIND:", text)
	}
	return verdict(w, res.Problems)
}
