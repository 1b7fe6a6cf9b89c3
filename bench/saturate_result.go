//go:build linux

package main

import (
	"fmt"
	"math"
	"slices"

	"tickedge/bench/internal/chart"
)

// saturateResult compares how many frames servers send with one CPU.
type saturateResult struct {
	conclusion
	Conns    int              `json:"conns"`
	Topics   int              `json:"topics"`
	Universe int              `json:"universe"`
	Window   float64          `json:"window_ms"`
	Rounds   int              `json:"rounds"`
	Seconds  float64          `json:"seconds_per_round"`
	Servers  []saturateServer `json:"servers"`
}

// saturateServer is one server at one rate of ticks in all rounds.
type saturateServer struct {
	Name        string          `json:"name"`
	Rate        float64         `json:"ticks_per_second"`
	Frames      spread          `json:"frames_per_second"`
	ToFloor     *spread         `json:"frames_to_floor,omitempty"`
	CPUPercent  spread          `json:"cpu_percent"` // Of its one CPU.
	CPUPerFrame spread          `json:"cpu_us_per_frame"`
	Rows        spread          `json:"rows_per_frame"`
	P50         spread          `json:"staleness_p50_ms"`
	P99         spread          `json:"staleness_p99_ms"`
	Bench       spread          `json:"bench_cpu_percent"`
	Late        spread          `json:"late_acks_percent"` // Of frames.
	Rounds      []saturateRound `json:"rounds"`
	target      target
}

// saturateRound is one server in one round.
type saturateRound struct {
	Frames      float64   `json:"frames_per_second"`
	CPUPercent  float64   `json:"cpu_percent"`
	CPUPerFrame float64   `json:"cpu_us_per_frame"`
	Rows        float64   `json:"rows_per_frame"` // Of the sample.
	Staleness   staleness `json:"staleness"`      // Of the sample.
	Bench       float64   `json:"bench_cpu_percent"`
	Late        float64   `json:"late_acks_percent"`        // Of frames.
	Counted     float64   `json:"counted_by_edge_to_bench"` // Frames; 0 for others.
	Problems    []string  `json:"problems,omitempty"`
	Behind      []string  `json:"behind,omitempty"`
}

// newSaturateResult has an empty place for each round.
func newSaturateResult(c *labConfig, feedRate float64) *saturateResult {
	res := &saturateResult{
		Conns: c.conns, Topics: c.topics, Universe: c.universe, Window: c.window.Seconds() * 1e3,
		Rounds: c.rounds, Seconds: c.hold.Seconds(),
	}
	add := func(t target, rate float64) {
		res.Servers = append(res.Servers, saturateServer{Name: t.name, Rate: rate, target: t, Rounds: make([]saturateRound, c.rounds)})
	}
	for _, t := range c.targets {
		add(t, c.rate)
		if t.feed && feedRate > 0 {
			add(t, feedRate)
		}
	}
	return res
}

// countedOff is how far the edge's own count of frames may be from that of bench: what
// it publishes may be 0.2 s older at one end than at the other, plus 1 %.
func countedOff(seconds float64) float64 { return 0.2/seconds + 0.01 }

// saturateRoundOf puts together what came on the plain conns and on the sample, which
// is res.
func saturateRoundOf(res *result, begin, end drainMark) *saturateRound {
	seconds := end.at.Sub(begin.at).Seconds()
	cpu := (end.cpu - begin.cpu).Seconds()
	r := &saturateRound{
		Frames:     float64(end.frames-begin.frames)/seconds + ratio(float64(res.Frames), res.HoldSeconds),
		CPUPercent: 100 * cpu / seconds,
		Rows:       ratio(float64(res.Rows), float64(res.Frames)), Staleness: res.Update,
		Bench:    res.Client.CPUPercent,
		Problems: res.Problems,
	}
	r.CPUPerFrame = ratio(1e6*cpu, r.Frames*seconds)
	r.Late = ratio(100*(end.late-begin.late), r.Frames*seconds)
	r.Counted = ratio(end.updates-begin.updates, r.Frames*seconds)
	if r.Counted != 0 && math.Abs(r.Counted-1) > countedOff(seconds) {
		r.Problems = append(r.Problems, fmt.Sprintf("the edge counts %.3f times the frames that bench counts", r.Counted))
	}
	if r.CPUPercent < saturated {
		r.Behind = append(r.Behind, fmt.Sprintf("the server used %.0f %% of its CPU, so it can do more: ask for more -conns", r.CPUPercent))
	}
	if r.Late > lateAcks {
		r.Behind = append(r.Behind, fmt.Sprintf("%.0f %% of the frames were read so late that the server's CPU acknowledged them: bench needs more CPUs", r.Late))
	}
	if n := end.full - begin.full; n > 0 {
		r.Behind = append(r.Behind, fmt.Sprintf("%d reads found frames piled up", n))
	}
	return r
}

// conclude compares the rounds.
func (res *saturateResult) conclude() {
	frames := func(r *saturateRound) float64 { return r.Frames }
	floor := slices.IndexFunc(res.Servers, func(s saturateServer) bool { return s.Name == floorName })
	for i := range res.Servers {
		s := &res.Servers[i]
		s.Frames = over(s.Rounds, frames)
		s.CPUPercent = over(s.Rounds, func(r *saturateRound) float64 { return r.CPUPercent })
		s.CPUPerFrame = over(s.Rounds, func(r *saturateRound) float64 { return r.CPUPerFrame })
		s.Rows = over(s.Rounds, func(r *saturateRound) float64 { return r.Rows })
		s.P50 = over(s.Rounds, func(r *saturateRound) float64 { return r.Staleness.P50 })
		s.P99 = over(s.Rounds, func(r *saturateRound) float64 { return r.Staleness.P99 })
		s.Bench = over(s.Rounds, func(r *saturateRound) float64 { return r.Bench })
		s.Late = over(s.Rounds, func(r *saturateRound) float64 { return r.Late })
		if floor >= 0 {
			s.ToFloor = ratioTo(s.Rounds, res.Servers[floor].Rounds, frames)
		}
		for n, r := range s.Rounds {
			res.take(fmt.Sprintf("%s at %.0f ticks/s in round %d", s.Name, s.Rate, n+1), r.Problems, r.Behind)
		}
	}
	res.conclusion.conclude()
}

func (res *saturateResult) headline() string {
	return fmt.Sprintf("one CPU for the server, the others for all else; %d conns with %d of %d topics each, window %.0f ms\n"+
		"%d rounds of %.1f s; medians of rounds (min-max)",
		res.Conns, res.Topics, res.Universe, res.Window, res.Rounds, res.Seconds)
}

func (res *saturateResult) tables() []*table {
	t := newTable("server", "ticks/s:%.0f", "frames/s:%.0f", "to floor:%.2f", "CPU %:%.1f", "µs CPU/frame:%.2f", "rows/frame:%.2f", "p50 ms:%.0f", "p99 ms:%.0f",
		"bench's CPU %:%.0f", "late ACKs %:%.0f")
	for _, s := range res.Servers {
		t.row(s.Name, s.Rate, s.Frames, s.ToFloor, s.CPUPercent, s.CPUPerFrame, s.Rows, s.P50, s.P99, s.Bench, s.Late)
	}
	return []*table{t}
}

func (res *saturateResult) report(r *report) {
	behind := func(of saturateServer) bool {
		return slices.ContainsFunc(of.Rounds, func(r saturateRound) bool { return len(r.Behind) > 0 })
	}
	floorBehind := slices.ContainsFunc(res.Servers, func(s saturateServer) bool { return s.Name == floorName && behind(s) })
	for _, s := range res.Servers {
		if s.Name == edgeName && s.ToFloor != nil {
			what := fmt.Sprintf("frames per second on one core (%.0f ticks/s)", s.Rate)
			r.atLeast(limit{what, *s.ToFloor, "%.2f", " × floor", saturateGoal, saturateFar, floorBehind || behind(s)})
		}
	}
	r.picture("frames", "frames per second on one core by server", res.framesChart())
}

func (res *saturateResult) framesChart() chart.Bars {
	c := chart.Bars{Title: "Frames on one core", Axis: overRounds("frames per second", res.Rounds), Series: one}
	for _, s := range res.Servers {
		name := fmt.Sprintf("%s, %s ticks/s", s.Name, chart.Number(s.Rate, 1))
		c.Rows = append(c.Rows, serverRow(s.Name, name, bar(s.Frames, 1, times(s.ToFloor, s.Name, floorName))))
	}
	return c
}
