// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"tickedge/bench/internal/chart"
	"tickedge/bench/internal/lab"
	"tickedge/bench/internal/swarm"
)

// feedName stands for the rounds that measure what the edge's feed costs: an edge with
// all topics and next to no clients.
const feedName = "feed"

func runFanout(args []string, stdout, stderr io.Writer) int {
	c := newLab("fanout", 5000, 10*time.Second, "-loops 1")
	f := newLabFlags(c)
	c.serversFlag(f, targetNames()...)
	f.IntVar(&c.rounds, roundsFlag, 5, "how often each server is held")
	f.StringVar(&c.kind, "source", lab.Redis, "broker of the ticks, one of "+strings.Join(allKinds, ",")+"; the usual designs know Redis alone")
	return c.run(f, args, stdout, stderr, c.checkSource, (*session).fanout)
}

// checkSource checks the flag -source of modes with one broker and several servers.
func (c *labConfig) checkSource() error {
	if !slices.Contains(allKinds, c.kind) {
		return fmt.Errorf("-source %s: want one of %s, such as -source nats", c.kind, strings.Join(allKinds, ","))
	}
	for _, t := range c.targets {
		if c.kind != lab.Redis && t.feed && t.dir != edgeTarget.dir {
			return fmt.Errorf("-source %s: %s knows Redis alone: want servers without it, such as -servers edge,floor,gnet", c.kind, t.name)
		}
	}
	return nil
}

// fanout holds the same conns at one server after the other, in rounds. Redis and the
// source of ticks run all the time, so that the rest of the machine does the same for
// each. A server runs only while it is measured, and as a new process: an idle one
// beside it would take ticks for the time that topics linger, and a used one has
// memory of before.
func (s *session) fanout() (outcome, error) {
	if err := s.ticks(s.rate); err != nil {
		return nil, err
	}
	f := newFanoutResult(s.labConfig)
	if err := turns(s.rounds, len(f.Servers), func(round, i int) (err error) {
		of := &f.Servers[i]
		s.progress("fanout: round %d of %d, %s", round+1, s.rounds, of.Name)
		of.Rounds[round], err = s.fanoutRound(of.Name, nil)
		return err
	}); err != nil {
		return nil, err
	}
	f.conclude()
	return f, nil
}

// fanoutRound starts a server, holds conns at it and ends it. watch may be nil.
func (s *session) fanoutRound(name string, watch func(server *lab.Server, moment int) error) (r fanoutRound, err error) {
	conns, topics := s.conns, s.topics
	if name == feedName {
		name, topics = edgeName, min(s.universe, swarm.TopicsMax)
		conns = coverage(s.universe, topics)
	}
	found, err := findTargets(name)
	if err != nil {
		return r, err
	}
	hold := s.holdAt
	if s.kind == lab.Memory && found[0].dir == edgeTarget.dir {
		hold = s.holdPosted
	}
	res, err := hold(found[0], s.labConfig, conns, topics, watch)
	if err != nil {
		return r, err
	}
	return fanoutRoundOf(res), nil
}

// holdPosted is holdAt of an edge with a broker of its own, to which ticks are posted: all topics in each
// request.
func (s *session) holdPosted(t target, set *labConfig, conns, topics int, watch func(server *lab.Server, moment int) error) (*result, error) {
	of := *set
	url, err := s.backOffice(&of)
	if err != nil {
		return nil, err
	}
	over, ended := make(chan struct{}), make(chan *posted, 1)
	started := false
	res, err := s.holdAt(t, &of, conns, topics, func(server *lab.Server, moment int) error {
		if moment == atStart {
			started = true
			go func() { ended <- post(url, 1, s.universe, s.universe, s.rate, over) }()
		}
		if moment == atEnd {
			close(over)
		}
		if watch != nil {
			return watch(server, moment)
		}
		return nil
	})
	if started && err == nil {
		p := <-ended
		res.Problems = append(res.Problems, p.problems...)
	}
	return res, err
}

// coverage is how many conns with so many random topics of a universe it takes to
// have all but 0.5 % of it.
func coverage(universe, topics int) int {
	if topics >= universe {
		return 1
	}
	missed := 1 - float64(topics)/float64(universe)
	return int(math.Ceil(math.Log(0.005) / math.Log(missed)))
}

// fanoutResult compares servers under the same load.
type fanoutResult struct {
	conclusion
	Conns   int            `json:"conns"`
	Topics  int            `json:"topics"`
	Source  string         `json:"source"` // Kind of broker.
	Rate    float64        `json:"ticks_per_second"`
	Rounds  int            `json:"rounds"`
	Seconds float64        `json:"seconds_per_round"`
	Servers []fanoutServer `json:"servers"`
}

// fanoutServer is one server in all rounds. Times per frame are in µs of CPU.
type fanoutServer struct {
	Name        string        `json:"name"`
	CPUPerFrame spread        `json:"cpu_us_per_frame"`
	CPUNet      *spread       `json:"cpu_us_per_frame_net_of_feed,omitempty"` // Of the edge.
	CPUPercent  spread        `json:"cpu_percent"`                            // Of one core.
	Frames      spread        `json:"frames_per_second"`
	P50         spread        `json:"staleness_p50_ms"`
	P99         spread        `json:"staleness_p99_ms"`
	P999        spread        `json:"staleness_p999_ms"`
	RSSPerConn  spread        `json:"rss_bytes_per_conn"`
	ToFloor     *spread       `json:"cpu_to_floor,omitempty"`
	NetToFloor  *spread       `json:"cpu_net_of_feed_to_floor,omitempty"`
	ToGorilla   *spread       `json:"cpu_to_gorilla,omitempty"`
	ToEdge      *spread       `json:"cpu_to_edge,omitempty"` // Of streams of events.
	RSSToEdge   *spread       `json:"rss_to_edge,omitempty"` // The same.
	Rounds      []fanoutRound `json:"rounds"`
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
		CPUPerFrame: res.sum(func(s *serverCost) float64 { return s.CPUPerFrame }),
		CPUPercent:  res.sum(func(s *serverCost) float64 { return s.CPUPercent }),
		RSSPerConn:  res.sum(func(s *serverCost) float64 { return s.RSSPerConn }),
	}
	return r
}

// newFanoutResult has an empty place for each round of each server.
func newFanoutResult(c *labConfig) *fanoutResult {
	f := &fanoutResult{Conns: c.conns, Topics: c.topics, Source: cmp.Or(c.kind, lab.Redis), Rate: c.rate, Rounds: c.rounds, Seconds: c.hold.Seconds()}
	add := func(name string) {
		f.Servers = append(f.Servers, fanoutServer{Name: name, Rounds: make([]fanoutRound, c.rounds)})
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

// roundsOf are the rounds of a server, nil if it did not take part.
func (f *fanoutResult) roundsOf(name string) []fanoutRound {
	if s := f.find(name); s != nil {
		return s.Rounds
	}
	return nil
}

// conclude compares the rounds.
func (f *fanoutResult) conclude() {
	cpu := func(r *fanoutRound) float64 { return r.CPUPerFrame }
	rss := func(r *fanoutRound) float64 { return r.RSSPerConn }
	edge, floor, gorilla, feed := f.roundsOf(edgeName), f.roundsOf(floorName), f.roundsOf(gorillaName), f.roundsOf(feedName)
	for i := range f.Servers {
		s := &f.Servers[i]
		s.CPUPerFrame = over(s.Rounds, cpu)
		s.CPUPercent = over(s.Rounds, func(r *fanoutRound) float64 { return r.CPUPercent })
		s.Frames = over(s.Rounds, func(r *fanoutRound) float64 { return r.Frames })
		s.P50 = over(s.Rounds, func(r *fanoutRound) float64 { return r.Staleness.P50 })
		s.P99 = over(s.Rounds, func(r *fanoutRound) float64 { return r.Staleness.P99 })
		s.P999 = over(s.Rounds, func(r *fanoutRound) float64 { return r.Staleness.P999 })
		s.RSSPerConn = over(s.Rounds, rss)
		for n, r := range s.Rounds {
			f.take(fmt.Sprintf("%s in round %d", s.Name, n+1), r.Problems, r.Behind)
		}
		if s.Name == feedName {
			continue // Its frames are few and large.
		}
		s.ToFloor, s.ToGorilla = ratioTo(s.Rounds, floor, cpu), ratioTo(s.Rounds, gorilla, cpu)
		if s.Name == eventsName {
			s.ToEdge, s.RSSToEdge = ratioTo(s.Rounds, edge, cpu), ratioTo(s.Rounds, edge, rss)
		}
		if s.ToEdge != nil {
			f.notes = append(f.notes, fmt.Sprintf("streams of events to WebSockets: CPU per frame %s, RSS per conn %s", s.ToEdge.text("%.2f"), s.RSSToEdge.text("%.2f")))
		}
		if (s.Name == edgeName || s.Name == eventsName) && feed != nil {
			net := netOfFeed(s.Rounds, feed)
			spread := spreadOf(net)
			s.CPUNet = &spread
			if floor != nil {
				to := ratiosOf(net, each(floor, cpu))
				s.NetToFloor = &to
			}
		}
	}
	f.conclusion.conclude()
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

func (f *fanoutResult) headline() string {
	return fmt.Sprintf("%d conns with %d topics each, %.0f ticks/s from %s, %d rounds of %.1f s; medians of rounds (min-max)",
		f.Conns, f.Topics, f.Rate, f.Source, f.Rounds, f.Seconds)
}

func (f *fanoutResult) tables() []*table {
	t := newTable("server", "µs CPU/frame:%.2f", "to floor:%.2f", "to gorilla:%.2f", "CPU %:%.1f", "frames/s:%.0f", "p50 ms:%.0f", "p99 ms:%.0f", "p99.9 ms:%.0f", "RSS/conn:%.0f")
	for _, s := range f.Servers {
		if s.Name == feedName {
			t.row("edge's feed", "-", "-", "-", s.CPUPercent, s.Frames)
			continue
		}
		t.row(s.Name, s.CPUPerFrame, s.ToFloor, s.ToGorilla, s.CPUPercent, s.Frames, s.P50, s.P99, s.P999, s.RSSPerConn)
		if s.CPUNet != nil {
			t.row(s.Name+", net of feed", s.CPUNet, s.NetToFloor)
		}
	}
	return []*table{t}
}

func (f *fanoutResult) report(r *report) {
	f.addGoals(r)
	r.picture("cpu", "CPU per frame by server", f.cpuChart())
	r.picture("staleness", "staleness of rows by server", f.stalenessChart())
	r.picture("rss", "RSS per conn by server", f.rssChart())
}

func (f *fanoutResult) addGoals(r *report) {
	edge, gorilla, events := f.find(edgeName), f.find(gorillaName), f.find(eventsName)
	if edge == nil {
		return
	}
	under := fmt.Sprintf(" (%d topics per conn, %.0f ticks/s)", f.Topics, f.Rate)
	if f.Source != lab.Redis {
		under = strings.TrimSuffix(under, ")") + " from " + f.Source + ")"
	}
	if edge.NetToFloor != nil && f.Topics == topicsOfGoals {
		behind := f.wasBehind(edgeName, feedName, floorName)
		r.atMost(limit{"CPU per frame, net of feed" + under, *edge.NetToFloor, "%.2f", " × floor", frameGoal, frameFar, behind})
	}
	r.staleness("p99 of staleness"+under, edge.P99, f.wasBehind(edgeName))
	if events != nil {
		behind := f.wasBehind(edgeName, eventsName)
		r.atMost(limit{"CPU per frame of streams of events" + under, *events.ToEdge, "%.2f", " × WebSockets", framingGoal, 0, behind})
		r.atMost(limit{"RSS per stream of events" + under, *events.RSSToEdge, "%.2f", " × WebSockets", framingGoal, 0, behind})
	}
	if gorilla != nil {
		rss := func(r *fanoutRound) float64 { return r.RSSPerConn }
		memory := ratiosOf(each(edge.Rounds, rss), each(gorilla.Rounds, rss))
		r.atMost(limit{"RSS per conn" + under, memory, "%.3f", " × gorilla", usualMemoryGoal, 0, false})
		r.atMost(limit{"CPU per frame, feed included" + under, *edge.ToGorilla, "%.2f", " × gorilla", usualCPUGoal, 0, f.wasBehind(edgeName, gorillaName)})
	}
}

// wasBehind reports whether bench was in its own way in a round of these servers.
func (f *fanoutResult) wasBehind(names ...string) bool {
	for _, s := range f.Servers {
		for _, round := range s.Rounds {
			if len(round.Behind) > 0 && slices.Contains(names, s.Name) {
				return true
			}
		}
	}
	return false
}

func (f *fanoutResult) cpuChart() chart.Bars {
	c := chart.Bars{Title: "CPU per frame", Axis: overRounds("µs of server CPU per frame", f.Rounds), Series: one}
	for _, s := range f.Servers {
		if s.Name == feedName {
			continue // Its frames are few and large.
		}
		c.Rows = append(c.Rows, serverRow(s.Name, s.Name, bar(s.CPUPerFrame, 0.1, times(s.ToFloor, s.Name, floorName))))
		if s.CPUNet != nil {
			c.Rows = append(c.Rows, serverRow(s.Name, s.Name+", net of feed", bar(*s.CPUNet, 0.1, times(s.NetToFloor, s.Name, floorName))))
		}
	}
	return c
}

func (f *fanoutResult) stalenessChart() chart.Bars {
	c := chart.Bars{Title: "Staleness of rows", Axis: overRounds("ms from the tick to the client", f.Rounds),
		Series: []chart.Series{{Name: "p50", Colour: chart.Light}, {Name: "p99", Colour: chart.Middle}, {Name: "p99.9", Colour: chart.Dark}}}
	for _, s := range f.Servers {
		if s.Name != feedName {
			c.Rows = append(c.Rows, chart.Row{Name: s.Name, Bars: []chart.Bar{bar(s.P50, 1, ""), bar(s.P99, 1, ""), bar(s.P999, 1, "")}})
		}
	}
	return c
}

func (f *fanoutResult) rssChart() chart.Bars {
	c := chart.Bars{Title: "Memory per conn under fan-out", Axis: overRounds("bytes of RSS per conn", f.Rounds), Series: one}
	for _, s := range f.Servers {
		if s.Name != feedName {
			c.Rows = append(c.Rows, serverRow(s.Name, s.Name, bar(s.RSSPerConn, 1, "")))
		}
	}
	return c
}
