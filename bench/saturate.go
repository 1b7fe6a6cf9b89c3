// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"tickedge/bench/internal/chart"
	"tickedge/bench/internal/lab"
	"tickedge/bench/internal/procfs"
	"tickedge/bench/internal/swarm"
)

const (
	// sampleConns are looked at in full beside the plain ones: a hundred tell what is
	// in the frames and how old it is, and cost next to nothing.
	sampleConns = 100
	// drainPause is the time between two rounds of reads over all plain conns.
	drainPause = 2 * time.Millisecond
	// lateAcks is how many frames may be acknowledged late, in percent. Linux does that
	// by a timer when nobody has read for 40 ms (TCP_DELACK_MIN), on the CPU where the
	// frame came, which is the server's: it pays for its client then, some 1.5 µs.
	lateAcks = 25
	// saturated is the share of its CPU above which a server can't do more, in
	// percent. The rest is the kernel's.
	saturated = 95
)

func runSaturate(args []string, stdout, stderr io.Writer) int {
	c := newLab("saturate", saturateConns(), 8*time.Second, "-loops 1")
	f := newLabFlags(c)
	setDefault(f, "interval", "100ms")
	setDefault(f, "universe", "100")
	setDefault(f, "rate", "5000")
	c.serversFlag(f, edgeName, floorName, gnetName)
	f.IntVar(&c.rounds, roundsFlag, 5, "how often each server is held")
	feedRate := f.Float64("feed-rate", 20_000, "ticks per second of further rounds, for servers with a feed; 0 leaves them out")
	return c.run(f, args, stdout, stderr, func() error {
		if *feedRate != 0 && !(*feedRate > c.rate) {
			return fmt.Errorf("-feed-rate %v: want more ticks per second than -rate %v, or 0", *feedRate, c.rate)
		}
		each, err := connsPerProcess()
		if err == nil && c.conns+sampleConns > each {
			err = fmt.Errorf("-conns %d: want no more than %d here", c.conns, each-sampleConns)
		}
		return errors.Join(err, c.framesOnly())
	}, func(s *session) (outcome, error) { return s.saturate(*feedRate) })
}

// saturateConns is most of the file limit, which server and bench have each, and no
// more than 20,000: with the shortest window of the edge that is more than a core does.
func saturateConns() int {
	each, err := connsPerProcess()
	if err != nil {
		return 500
	}
	const reserve = 500 // Descriptors that an edge keeps for other things.
	return max(1, min(each-reserve, 20_000))
}

// saturate gives servers one CPU each in turns, and more clients than it can serve
// with that.
func (s *session) saturate(feedRate float64) (_ outcome, err error) {
	cpu, release, err := splitHost()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := s.ticks(0); err != nil {
		return nil, err
	}
	res := newSaturateResult(s.labConfig, feedRate)
	if err := turns(s.rounds, len(res.Servers), func(round, i int) (err error) {
		of := &res.Servers[i]
		s.progress("saturate: round %d of %d, %s at %.0f ticks/s", round+1, s.rounds, of.Name, of.Rate)
		of.Rounds[round], err = s.saturateRound(&cpu, of.target, of.Rate)
		return err
	}); err != nil {
		return nil, err
	}
	res.conclude()
	return res, nil
}

// saturateRound starts a server, holds conns at it and ends it. A source of ticks runs
// only beside servers that take them: the others would not notice it, on a CPU of their
// own, but bench needs every bit of its own.
func (s *session) saturateRound(cpu *unix.CPUSet, t target, rate float64) (r saturateRound, err error) {
	if t.feed {
		ticks, err := s.lab.Ticks(s.source, s.universe, rate)
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, s.lab.Stop(ticks)) }()
	}
	var server *lab.Server
	set := *s.labConfig
	if t.name != edgeName {
		set.window /= 2 // The edge has a shortest one, and is the slowest here.
	}
	if err := startOn(cpu, func() (err error) {
		server, err = t.start(s.lab, &set)
		return err
	}); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.lab.StopServer(server)) }()
	conns, err := newPlain(server)
	if err != nil {
		return r, err
	}
	defer conns.closeAll()
	// All are connected before the first one subscribes: a server with too much to do
	// comes to accept few.
	if err := conns.open(s.ctx, s.conns, s.connRate); err != nil {
		return r, err
	}
	names, err := swarm.Names(lab.TopicPattern, s.universe)
	if err != nil {
		return r, err
	}
	if err := conns.subscribe(names, s.topics, s.seed); err != nil {
		return r, err
	}
	if err := conns.awaitFrames(s.ctx, 3); err != nil { // Hello, ack and rows.
		return r, err
	}
	return s.saturateHold(server, conns)
}

// saturateHold lets the plain conns be read while those of the sample are held.
func (s *session) saturateHold(server *lab.Server, conns *plainConns) (r saturateRound, err error) {
	reading := repeat(drainPause, conns.readAll) // It owns the conns now.
	var begin, end drainMark
	res, err := s.hold(server, sampleConns, s.topics, func(moment int) (err error) {
		switch moment {
		case atHold:
			begin, err = markDrain(conns, server)
		case atEnd:
			end, err = markDrain(conns, server)
		}
		return err
	})
	if err := errors.Join(err, reading.stop()); err != nil {
		return r, err
	}
	return saturateRoundOf(res, begin, end), nil
}

// drainMark is what has come, and what it cost, up to a moment.
type drainMark struct {
	at      time.Time
	frames  uint64        // Text frames of plain conns.
	late    float64       // Acknowledgements sent by a timer; of all sockets of the host.
	full    uint64        // Reads that found frames piled up.
	updates float64       // As an edge counts them, up to 200 ms ago. 0 of others.
	cpu     time.Duration // Of the server.
}

func markDrain(conns *plainConns, server *lab.Server) (drainMark, error) {
	// The metrics come first: an edge without CPU to spare takes a while for them.
	m, err := server.Metrics()
	late, lateErr := procfs.DelayedAcks()
	cpu, cpuErr := server.CPU()
	return drainMark{
		at: time.Now(), frames: conns.frames.Load(), late: late, full: conns.full.Load(),
		updates: m[`edge_frames_sent_total{kind="update"}`], cpu: cpu,
	}, errors.Join(err, lateErr, cpuErr)
}

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
func saturateRoundOf(res *result, begin, end drainMark) saturateRound {
	seconds := end.at.Sub(begin.at).Seconds()
	cpu := (end.cpu - begin.cpu).Seconds()
	r := saturateRound{
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
