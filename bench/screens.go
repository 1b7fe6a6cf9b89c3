// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"tickedge/bench/internal/lab"
	"tickedge/bench/internal/procfs"
)

const (
	// screensPatience bounds the wait until an edge has all topics of the screens.
	screensPatience = 30 * time.Second
	// screensSettle is how long clients are served before anything is measured, unless they are held for less.
	screensSettle = time.Second
	// screensMost is how many screens that differ there may be, as conditions are a hundredth of a percent apart.
	screensMost = 100
	// profiledFrom is how long a case has to be held for a profile, whose length is in whole seconds.
	profiledFrom = time.Second
	// generatorReached is the share of the ticks asked for, from which on they came.
	generatorReached = 0.98
)

// Cases of the mode.
const (
	namesCase   = "names"         // Each client has some names.
	screensCase = "screens"       // Each has one of the screens.
	eachCase    = "1 client each" // As many clients as there are screens: what remains are the conditions.
	oneCase     = "1 screen, %d clients"
)

// screensConfig is what the flags of this mode say.
type screensConfig struct {
	screens int
	list    string
	one     []int // How many clients share one screen, in cases of their own.
}

// screensPlan is a case: who asks for what, and how long.
type screensPlan struct {
	name    string
	conns   int
	screens []string // Conditions; none for names.
	hold    time.Duration
}

func runScreens(args []string, stdout, stderr io.Writer) int {
	c, d := newLab("screens", 1000, 8*time.Second, "-loops 1"), &screensConfig{}
	f := newLabFlags(c)
	// Screens have all topics there are, and names are what they are compared with.
	there := f.Lookup("topics")
	there.Value, there.DefValue = f.Lookup("universe").Value, f.Lookup("universe").DefValue
	there.Usage = "topics there are, which all screens cover; another name of -universe"
	f.IntVar(&c.topics, "names", 20, "names of each client without a screen")
	f.IntVar(&d.screens, "screens", 50, "screens that differ, of which each client has one")
	f.StringVar(&d.list, "one", "1,100,10000", "`numbers` of clients that share one screen, for what clients of a screen cost; empty for none")
	f.IntVar(&c.rounds, roundsFlag, 3, "how often each case is held")
	return c.run(f, args, stdout, stderr, func() error { return d.validate(c) }, func(s *session) (outcome, error) { return s.screens(d) })
}

func (d *screensConfig) validate(c *labConfig) error {
	var all []error
	if d.screens < 1 || d.screens > screensMost {
		all = append(all, fmt.Errorf("-screens %d: want 1 to %d, such as -screens 50", d.screens, screensMost))
	}
	for text := range strings.SplitSeq(d.list, ",") {
		if d.list == "" {
			break
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > usersScreens {
			all = append(all, fmt.Errorf("-one %s: want numbers of 1 to %d with commas between them, such as -one 1,100", d.list, usersScreens))
			break
		}
		d.one = append(d.one, n)
	}
	return errors.Join(all...)
}

// where is the condition number n. It holds of some 10 % of the topics (n = 0) to 5 % (n = 50), as long as their values move as
// those of the publisher do; the last one of 1 % is for screens that many clients share, or rows would be all that they cost.
func where(n int) string {
	return fmt.Sprintf("chg_pct > %d.%02d && v > 2e6", (890+n)/100, (890+n)%100)
}

const oneWhere = "chg_pct > 9.88 && v > 2e6"

// plans are the cases, those to be compared with each other side by side. What is not about clients is held for half of the time.
func (d *screensConfig) plans(c *labConfig) []screensPlan {
	var differ []string
	for n := range d.screens {
		differ = append(differ, where(n))
	}
	half := c.hold / 2
	all := []screensPlan{{namesCase, c.conns, nil, c.hold}, {screensCase, c.conns, differ, c.hold}, {eachCase, d.screens, differ, half}}
	for _, n := range d.one {
		all = append(all, screensPlan{fmt.Sprintf(oneCase, n), n, []string{oneWhere}, half})
	}
	return all
}

// usersScreens is how many screens an address may have here: all clients are of few addresses.
const usersScreens = 10_000

// screens holds the cases in turns, each at a new edge. Redis and the publisher run all the time.
func (s *session) screens(d *screensConfig) (outcome, error) {
	broker, err := s.lab.Broker(lab.Redis)
	if err != nil {
		return nil, err
	}
	err = s.lab.BuildPublisher()
	if s.labConfig.hold >= profiledFrom {
		err = errors.Join(err, buildPprof(s.ctx))
	}
	if err != nil {
		return nil, err
	}
	publisher, err := s.lab.Publisher(broker.URL, s.universe, s.rate, "-set", "-moving")
	if err != nil {
		return nil, err
	}
	s.source = broker.URL
	s.edgeArgs = append([]string{"-max-screens-per-user", strconv.Itoa(usersScreens), "-screen-cpu", "1", "-snapshot-rate-per-ip", "0",
		"-max-screen-topics", strconv.Itoa(max(10_000, s.universe))}, s.edgeArgs...)
	plans := d.plans(s.labConfig)
	res := &screensResult{Conns: s.conns, Screens: d.screens, Topics: s.universe, Names: s.topics, Rate: s.rate, Rounds: s.rounds,
		Seconds: s.labConfig.hold.Seconds()}
	for _, p := range plans {
		rounds := make([]screensRound, s.rounds)
		res.Cases = append(res.Cases, screensCaseResult{Name: p.name, Conns: p.conns, Conditions: len(p.screens), Rounds: rounds})
	}
	if err := turns(s.rounds, len(plans), func(round, i int) (err error) {
		s.progress("screens: round %d of %d, %s", round+1, s.rounds, plans[i].name)
		w := &screensWatch{session: s, plan: &plans[i], broker: broker, publisher: publisher,
			file: fmt.Sprintf("screens-%d-%d.pprof", round, i)}
		res.Cases[i].Rounds[round], err = w.run()
		return err
	}); err != nil {
		return nil, err
	}
	res.conclude()
	return res, nil
}

// screensMark is what has come, and what it cost, up to a moment.
type screensMark struct {
	at                      time.Time
	edge, broker, publisher time.Duration // CPU.
	busy, all               time.Duration // Of the host's processors.
	published               uint64
	metrics                 lab.Metrics
}

// screensWatch measures beside one hold. Owned by its goroutine, but for the profile.
type screensWatch struct {
	*session
	plan      *screensPlan
	broker    *lab.Broker
	publisher *lab.Proc
	file      string // Of the profile.

	server     *lab.Server
	begin, end screensMark
	profiled   chan error
	profile    []share
}

// run holds a case at a new edge.
func (w *screensWatch) run() (screensRound, error) {
	set := *w.labConfig
	set.screens, set.hold, set.conns = w.plan.screens, w.plan.hold, w.plan.conns
	of := *w.session
	of.labConfig = &set
	topics := set.topics
	held, err := of.holdAt(edgeTarget, &set, set.conns, topics, func(server *lab.Server, moment int) error {
		w.server = server
		switch moment {
		case atHold:
			return w.start()
		case atEnd:
			return w.finish()
		}
		return nil
	})
	if err != nil {
		return screensRound{}, err
	}
	return w.result(held), nil
}

// start waits until all is there that is to be measured.
func (w *screensWatch) start() error {
	if len(w.plan.screens) > 0 {
		var covered float64
		if err := until(w.ctx, screensPatience, feedLook, func() (bool, error) {
			m, err := w.server.Metrics()
			covered = m["edge_screen_topics"]
			return covered == float64(w.universe), err
		}, func() error {
			return fmt.Errorf("the screens cover %.0f of %d topics after %v", covered, w.universe, screensPatience)
		}); err != nil {
			return err
		}
	}
	if err := pause(w.ctx, min(screensSettle, w.plan.hold/4)); err != nil {
		return err
	}
	var err error
	if w.begin, err = w.mark(); err != nil {
		return err
	}
	if w.plan.hold >= profiledFrom {
		w.profiled = make(chan error, 1)
		go func() { w.profiled <- w.takeProfile(int(w.plan.hold.Seconds())) }()
	}
	return nil
}

func (w *screensWatch) finish() (err error) {
	if w.end, err = w.mark(); err != nil || w.profiled == nil {
		return err
	}
	return <-w.profiled
}

func (w *screensWatch) takeProfile(seconds int) error {
	ctx, cancel := context.WithTimeout(w.ctx, time.Duration(seconds)*time.Second+feedPatience)
	defer cancel()
	b, err := w.server.Page(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds))
	if err == nil {
		err = w.lab.WriteFile(w.file, b)
	}
	if err == nil {
		w.profile, err = profileShares(ctx, w.lab.Path(w.file), screensLayers)
	}
	return err
}

func (w *screensWatch) mark() (m screensMark, err error) {
	var errs [7]error
	before, err := w.broker.Published()
	errs[6] = err
	m.metrics, errs[0] = w.server.Metrics()
	m.at = time.Now()
	after, err := w.broker.Published()
	m.published, errs[4] = (before+after)/2, err // Thousands pass while the edge answers.
	m.edge, errs[1] = w.server.CPU()
	m.broker, errs[2] = w.broker.CPU()
	m.publisher, errs[3] = w.publisher.CPU()
	m.busy, m.all, errs[5] = procfs.Busy()
	return m, errors.Join(errs[:]...)
}

// result is what the two marks and the hold between them say.
func (w *screensWatch) result(held *result) screensRound {
	seconds := w.end.at.Sub(w.begin.at).Seconds()
	count := func(name string) float64 { return w.end.metrics.Sum(name) - w.begin.metrics.Sum(name) }
	percent := func(d time.Duration) float64 { return ratio(100*d.Seconds(), seconds) }
	ticks := count("edge_feed_ticks_total")
	r := screensRound{
		Seconds: seconds, Ticks: ratio(ticks, seconds), Published: ratio(float64(w.end.published-w.begin.published), seconds),
		CPUPercent: percent(w.end.edge - w.begin.edge), CPUPerTick: ratio(1e6*(w.end.edge-w.begin.edge).Seconds(), ticks),
		BrokerCPU: percent(w.end.broker - w.begin.broker), PublisherCPU: percent(w.end.publisher - w.begin.publisher),
		BenchCPU:    held.Client.CPUPercent,
		Host:        ratio(100*float64(w.end.busy-w.begin.busy), float64(w.end.all-w.begin.all)),
		Evaluations: ratio(count("edge_screen_evaluations_total"), seconds), Share: w.end.metrics["edge_screen_cpu_ratio"],
		Messages: ratio(float64(held.Frames), held.HoldSeconds), Rows: ratio(float64(held.Rows), held.HoldSeconds),
		Outs:      ratio(float64(held.Outs), held.HoldSeconds),
		Staleness: held.Update, Profile: w.profile, Problems: slices.Clone(held.Problems), Behind: slices.Clone(held.Behind),
	}
	for _, s := range held.Servers {
		r.RSS += float64(s.After.RSS)
	}
	r.check(w)
	return r
}

// check notes what was not as it is to be, and signs that what makes the ticks, and not the edge, was at its end.
func (r *screensRound) check(w *screensWatch) {
	bad := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Sprintf(format, args...)) }
	behind := func(format string, args ...any) { r.Behind = append(r.Behind, fmt.Sprintf(format, args...)) }
	if r.Rows == 0 {
		bad("no rows came")
	}
	if n := w.end.metrics.Sum("edge_screen_topics_refused_total") + w.end.metrics.Sum("edge_screen_limits_total"); n > 0 {
		bad("%.0f screens or topics of them were refused", n)
	}
	if n := len(w.plan.screens); int(w.end.metrics["edge_screen_conditions"]) != n {
		bad("the edge has %.0f conditions, and not %d", w.end.metrics["edge_screen_conditions"], n)
	}
	if r.Published < generatorReached*w.rate {
		behind("%.0f of %.0f ticks a second were published", r.Published, w.rate)
	}
	// Without screens nobody wants some of the topics where clients are few.
	if len(w.plan.screens) > 0 && r.Ticks < generatorReached*r.Published {
		behind("%.0f of %.0f ticks a second came to the edge", r.Ticks, r.Published)
	}
	for of, cpu := range map[string]float64{"publisher": r.PublisherCPU, "redis": r.BrokerCPU} {
		if cpu > cpuFull {
			behind("%s used %.0f %% of a core", of, cpu)
		}
	}
}
