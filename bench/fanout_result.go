//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
)

// fanoutResult compares servers under the same load.
type fanoutResult struct {
	Good     bool           `json:"good"`
	Conns    int            `json:"conns"`
	Topics   int            `json:"topics"`
	Rate     float64        `json:"ticks_per_second"`
	Rounds   int            `json:"rounds"`
	Seconds  float64        `json:"seconds_per_round"`
	Servers  []fanoutServer `json:"servers"`
	Problems []string       `json:"problems,omitempty"`
	Behind   []string       `json:"behind,omitempty"`
}

// fanoutServer is one server in all rounds. Times per frame are in µs of CPU.
type fanoutServer struct {
	Name         string  `json:"name"`
	CPUPerFrame  spread  `json:"cpu_us_per_frame"`
	CPUNet       *spread `json:"cpu_us_per_frame_net_of_feed,omitempty"` // Of the edge.
	CPUPercent   spread  `json:"cpu_percent"`                            // Of one core.
	Frames       spread  `json:"frames_per_second"`
	P50          spread  `json:"staleness_p50_ms"`
	P99          spread  `json:"staleness_p99_ms"`
	P999         spread  `json:"staleness_p999_ms"`
	RSSPerConn   spread  `json:"rss_bytes_per_conn"`
	ToFloor      *spread `json:"cpu_to_floor,omitempty"`
	NetToFloor   *spread `json:"cpu_net_of_feed_to_floor,omitempty"`
	ToGorilla    *spread `json:"cpu_to_gorilla,omitempty"`
	rounds       []fanoutRound
	RoundResults []fanoutRound `json:"rounds"`
}

// fanoutRound is one server in one round.
type fanoutRound struct {
	CPUPerFrame  float64   `json:"cpu_us_per_frame"`
	CPUPercent   float64   `json:"cpu_percent"`
	Frames       float64   `json:"frames_per_second"`
	Staleness    staleness `json:"staleness"`
	RowsPerFrame float64   `json:"rows_per_frame"`
	RSSPerConn   float64   `json:"rss_bytes_per_conn"`
	Problems     []string  `json:"problems,omitempty"`
	Behind       []string  `json:"behind,omitempty"`
}

func fanoutRoundOf(res *result) fanoutRound {
	r := fanoutRound{
		Frames: ratio(float64(res.Frames), res.HoldSeconds), Staleness: res.Update,
		RowsPerFrame: ratio(float64(res.Rows), float64(res.Frames)),
		Problems:     res.Problems, Behind: res.Behind,
	}
	for _, s := range res.Servers {
		r.CPUPerFrame += s.CPUPerFrame
		r.CPUPercent += s.CPUPercent
		r.RSSPerConn += s.RSSPerConn
	}
	return r
}

// newFanoutResult has an empty place for each round of each server.
func newFanoutResult(c *labConfig) *fanoutResult {
	f := &fanoutResult{Conns: c.conns, Topics: c.topics, Rate: c.rate, Rounds: c.rounds, Seconds: c.hold.Seconds()}
	add := func(name string) {
		f.Servers = append(f.Servers, fanoutServer{Name: name, rounds: make([]fanoutRound, c.rounds)})
	}
	for _, t := range c.targets {
		add(t.name)
		if t.name == edgeName {
			add(feedName)
		}
	}
	return f
}

// find returns the server of a name, nil if it did not take part.
func (f *fanoutResult) find(name string) *fanoutServer {
	if i := slices.IndexFunc(f.Servers, func(s fanoutServer) bool { return s.Name == name }); i >= 0 {
		return &f.Servers[i]
	}
	return nil
}

// each is one number of every round.
func each[R any](rounds []R, of func(r *R) float64) []float64 {
	var values []float64
	for i := range rounds {
		values = append(values, of(&rounds[i]))
	}
	return values
}

func cpuPerFrame(r *fanoutRound) float64 { return r.CPUPerFrame }

// conclude compares the rounds.
func (f *fanoutResult) conclude() {
	floor, gorilla, feed := f.find(floorName), f.find(gorillaName), f.find(feedName)
	for i := range f.Servers {
		s := &f.Servers[i]
		s.RoundResults = s.rounds
		cpu := each(s.rounds, cpuPerFrame)
		s.CPUPerFrame = spreadOf(cpu)
		s.CPUPercent = spreadOf(each(s.rounds, func(r *fanoutRound) float64 { return r.CPUPercent }))
		s.Frames = spreadOf(each(s.rounds, func(r *fanoutRound) float64 { return r.Frames }))
		s.P50 = spreadOf(each(s.rounds, func(r *fanoutRound) float64 { return r.Staleness.P50 }))
		s.P99 = spreadOf(each(s.rounds, func(r *fanoutRound) float64 { return r.Staleness.P99 }))
		s.P999 = spreadOf(each(s.rounds, func(r *fanoutRound) float64 { return r.Staleness.P999 }))
		s.RSSPerConn = spreadOf(each(s.rounds, func(r *fanoutRound) float64 { return r.RSSPerConn }))
		for n, r := range s.rounds {
			for _, p := range r.Problems {
				f.Problems = append(f.Problems, fmt.Sprintf("%s in round %d: %s", s.Name, n+1, p))
			}
			for _, b := range r.Behind {
				f.Behind = append(f.Behind, fmt.Sprintf("%s in round %d: %s", s.Name, n+1, b))
			}
		}
		if s.Name == feedName {
			continue // Its frames are few and large.
		}
		s.ToFloor, s.ToGorilla = toOther(cpu, floor), toOther(cpu, gorilla)
		if s.Name == edgeName && feed != nil {
			net := netOfFeed(s.rounds, feed.rounds)
			spread := spreadOf(net)
			s.CPUNet, s.NetToFloor = &spread, toOther(net, floor)
		}
	}
	f.Good = len(f.Problems) == 0
}

// toOther is nil if there is no other.
func toOther(cpu []float64, other *fanoutServer) *spread {
	if other == nil {
		return nil
	}
	s := ratiosOf(cpu, each(other.rounds, cpuPerFrame))
	return &s
}

// netOfFeed is the CPU per frame of each round without what an edge with the same
// feed and next to no clients used in that round. The result is in µs: a percent of a
// core is 10,000 µs a second.
func netOfFeed(edge, feed []fanoutRound) []float64 {
	var net []float64
	for i := range edge {
		net = append(net, ratio((edge[i].CPUPercent-feed[i].CPUPercent)*1e4, edge[i].Frames))
	}
	return net
}

func (f *fanoutResult) good() bool { return f.Good }

func (f *fanoutResult) headline() string {
	return fmt.Sprintf("%d conns with %d topics each, %.0f ticks/s, %d rounds of %.1f s; medians of rounds (min-max)",
		f.Conns, f.Topics, f.Rate, f.Rounds, f.Seconds)
}

func (f *fanoutResult) table() *table {
	t := newTable("server", "µs CPU/frame", "to floor", "to gorilla", "CPU %", "frames/s", "p50 ms", "p99 ms", "p99.9 ms", "RSS/conn")
	for _, s := range f.Servers {
		if s.Name == feedName {
			t.row("edge's feed", "-", "-", "-", s.CPUPercent.text("%.1f"), s.Frames.text("%.0f"))
			continue
		}
		t.row(s.Name, s.CPUPerFrame.text("%.2f"), textOf(s.ToFloor, "%.2f"), textOf(s.ToGorilla, "%.2f"), s.CPUPercent.text("%.1f"),
			s.Frames.text("%.0f"), s.P50.text("%.0f"), s.P99.text("%.0f"), s.P999.text("%.0f"), s.RSSPerConn.text("%.0f"))
		if s.CPUNet != nil {
			t.row(s.Name+", net of feed", s.CPUNet.text("%.2f"), textOf(s.NetToFloor, "%.2f"))
		}
	}
	return t
}

func (f *fanoutResult) writeText(w io.Writer) error {
	fmt.Fprintln(w, f.headline())
	if err := f.table().writeText(w, 0); err != nil {
		return err
	}
	for _, text := range f.Behind {
		fmt.Fprintln(w, "BEHIND:", text)
	}
	return verdict(w, f.Problems)
}

func textOf(s *spread, format string) string {
	if s == nil {
		return "-"
	}
	return s.text(format)
}
