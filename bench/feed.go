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
	// feedEvery is the time between two samples while messages flow.
	feedEvery = 500 * time.Millisecond
	// feedLook is the time between two looks at the channels. Each is a scrape.
	feedLook = 50 * time.Millisecond
	// feedSettle is how long messages flow before anything is measured: every topic has
	// had a few by then, and the edge its memory for them.
	feedSettle = 3 * time.Second
	// feedPatience bounds the wait for all channels to be subscribed, and feedQuiet is
	// how long nothing may be taken for what is missing to be lost.
	feedPatience, feedQuiet = 60 * time.Second, 2 * time.Second
	// feedReached is the share of the rate asked for, from which on it was published.
	feedReached = 0.98
)

// feedConfig is what the flags of this mode say.
type feedConfig struct {
	sources  string
	kinds    []string // Of brokers.
	set, ver bool
	busy     int // Topics that tick.
}

func runFeed(args []string, stdout, stderr io.Writer) int {
	c, d := newLab("feed", 400, 15*time.Second, "-loops 1"), &feedConfig{}
	c.apart = true
	f := newLabFlags(c)
	for name, value := range map[string]string{"topics": "250", "universe": "100000", "rate": "200000", "interval": "5s"} {
		setDefault(f, name, value)
	}
	f.Lookup("universe").Usage = "topics that are wanted"
	f.Lookup("rate").Usage = "messages per second, all topics together"
	f.Lookup("interval").Usage = "window of the edge; a long one leaves the CPU to the feed"
	f.StringVar(&d.sources, "source", lab.Redis, "`list` of brokers out of "+strings.Join(lab.BrokerKinds, ",")+"; several take turns")
	f.IntVar(&c.rounds, roundsFlag, 1, "how often each broker has its turn")
	f.IntVar(&d.busy, "busy", 0, "topics that tick, of which those of -universe are wanted; 0 is the same number")
	f.BoolVar(&d.ver, "ver", false, "values have versions, as those of tickgen do")
	f.BoolVar(&d.set, "set", false, "SET each topic's key and PUBLISH in one MULTI, as publishers should; else PUBLISH only")
	return c.run(f, args, stdout, stderr, func() error { return d.validate(c) }, func(s *session) (outcome, error) { return s.feeds(d) })
}

func (d *feedConfig) validate(c *labConfig) error {
	var all []error
	if d.kinds = strings.Split(d.sources, ","); slices.ContainsFunc(d.kinds, func(k string) bool { return !slices.Contains(lab.BrokerKinds, k) }) {
		all = append(all, fmt.Errorf("-source %s: want some of %s, such as -source redis,nats; into the memory broker values come by bench publish",
			d.sources, strings.Join(lab.BrokerKinds, ",")))
	}
	if d.set && d.sources != lab.Redis {
		all = append(all, errors.New("-set: want -source redis, as no other has keys"))
	}
	if d.busy == 0 {
		d.busy = c.universe
	}
	if d.busy < c.universe {
		all = append(all, fmt.Errorf("-busy %d: want -universe or more, which are wanted of them, such as -busy %d", d.busy, c.universe))
	}
	if c.conns*c.topics < c.universe {
		all = append(all, fmt.Errorf("-universe %d: %d conns with %d topics each have %d at most between them, and all are to be subscribed",
			c.universe, c.conns, c.topics, c.conns*c.topics))
	}
	if c.hold < time.Second {
		all = append(all, fmt.Errorf("-for %v: want 1s or more, or there is no profile", c.hold))
	}
	return errors.Join(all...)
}

// feed lets conns subscribe to all topics between them, and messages flow to them from one broker.
// name is for the files of the run.
func (s *session) feed(d *feedConfig, kind, name string) (*feedResult, error) {
	broker, err := s.lab.Broker(kind)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.lab.BuildPublisher(), buildPprof(s.ctx)); err != nil {
		return nil, err
	}
	of := *s.labConfig
	of.source = broker.URL
	// What the rows are in the end is asked for by one client.
	of.edgeArgs = append([]string{"-max-topics-total", strconv.Itoa(max(100_000, 2*s.universe)), "-command-rate", "0"}, s.edgeArgs...)
	server, err := edgeTarget.start(s.lab, &of)
	if err != nil {
		return nil, err
	}
	w := &feedWatch{session: s, config: d, broker: broker, server: server, name: name, awaited: make(chan awaited, 1)}
	// What is found out before holding takes seconds, in which reports wait in a channel.
	s.every = time.Second
	s.progress("%s: %d conns subscribe to %d topics", name, s.conns, s.universe)
	hold, err := s.hold(server, s.conns, s.topics, w.look)
	if err != nil {
		return nil, err
	}
	res := &feedResult{
		Kind: kind, Conns: s.conns, Topics: s.topics, Universe: s.universe, Busy: d.busy, WindowMS: s.window.Milliseconds(), Asked: s.rate, Set: d.set,
		Ver: d.ver, Seconds: w.end.at.Sub(w.begin.at).Seconds(), SubscribeSeconds: w.subscribed.Seconds(), Series: w.series,
		Published: w.end.published - w.begin.published, Ticks: w.end.ticks - w.begin.ticks,
		EdgeCPU: w.end.edge - w.begin.edge, BrokerCPU: w.end.broker - w.begin.broker, PublisherCPU: w.end.publisher - w.begin.publisher,
		Host:  ratio(100*float64(w.end.busy-w.begin.busy), float64(w.end.all-w.begin.all)),
		Bytes: w.end.bytes - w.begin.bytes, Objects: w.end.objects - w.begin.objects, Cycles: w.end.cycles - w.begin.cycles,
		BrokerRSS: w.end.brokerRSS, Whole: w.whole, Profile: w.profile, Hold: hold, profile: w.profileFile(),
	}
	res.conclude()
	return res, errors.Join(s.lab.StopServer(server), s.lab.Stop(broker.Proc))
}

// feedMark is what has come, and what it cost, up to a moment.
type feedMark struct {
	flow
	edge, broker, publisher time.Duration // CPU.
	busy, all               time.Duration // Of the host's processors.
	brokerRSS               int64
}

// feedSample is the edge at one moment of the measurement.
type feedSample struct {
	Seconds float64 `json:"seconds"` // Since its begin.
	Behind  float64 `json:"lag_ms"`  // The time in which as many messages come as are on their way.
	EdgeLag float64 `json:"edge_lag_ms"`
	RSS     int64   `json:"rss_bytes"`
}

// feedWhole is what became of all messages of a run.
type feedWhole struct {
	Sent     uint64 `json:"sent"`     // As the broker has answered.
	Wanted   uint64 `json:"wanted"`   // Those of them of topics that are wanted.
	Unheard  uint64 `json:"unheard"`  // Nobody had subscribed to them, as Redis says.
	Ticks    uint64 `json:"ticks"`    // As the edge counts, as what follows.
	Unwanted uint64 `json:"unwanted"` // Their topics had no subscriber any more.
	Dropped  uint64 `json:"dropped"`  // For their value or its version.
	Gaps     uint64 `json:"gaps"`
	Lost     int64  `json:"lost"` // The rest of those wanted. A stream has given newer ones in their place.

	Wrong int    `json:"wrong"`               // Topics whose row is not what was published last, when nothing comes any more.
	Row   string `json:"wrong_row,omitempty"` // One of them.

	Forgone uint64        `json:"forgone"`    // The publisher came too late to send them.
	Blocked time.Duration `json:"blocked_ns"` // The time that it waited for the broker.
}

// feedWatch measures beside a hold. Owned by the goroutine of the hold, but for what
// the goroutines that it starts say when they end.
type feedWatch struct {
	*session
	config *feedConfig
	broker *lab.Broker
	server *lab.Server
	name   string
	before uint64 // What the broker had counted before the publisher.

	awaited    chan awaited
	subscribed time.Duration // All channels, since the first connect.
	publisher  *lab.Proc
	begin, end feedMark
	series     []feedSample
	sampling   *repeated
	profiled   chan error
	profile    []share
	whole      feedWhole
}

// look does what is to be done at a moment of the hold.
func (w *feedWatch) look(moment int) error {
	switch moment {
	case atStart:
		go func() { w.awaited <- w.awaitChannels() }()
	case atHold:
		return w.start()
	case atEnd:
		return w.finish()
	}
	return nil
}

// start waits until all channels are subscribed, lets messages flow, and begins to
// measure.
func (w *feedWatch) start() error {
	a := <-w.awaited
	if a.err != nil {
		return a.err
	}
	w.subscribed = a.took
	w.progress("feed: all are subscribed after %.1f s; %.0f messages a second", w.subscribed.Seconds(), w.rate)
	var err error
	if w.before, err = w.broker.Published(); err != nil {
		return err
	}
	args := []string{"-wanted", strconv.Itoa(w.universe), "-last", w.lab.Path(lastFile)}
	if w.config.set {
		args = append(args, "-set")
	}
	if w.config.ver {
		args = append(args, "-ver")
	}
	if w.publisher, err = w.lab.Publisher(w.broker.URL, w.config.busy, w.rate, args...); err != nil {
		return err
	}
	if err := pause(w.ctx, feedSettle); err != nil {
		return err
	}
	if w.begin, err = w.mark(); err != nil {
		return err
	}
	w.sampling, w.profiled = repeat(feedEvery, w.sample), make(chan error, 1)
	go func() { w.profiled <- w.takeProfile(int(w.labConfig.hold.Seconds())) }()
	return nil
}

// finish ends what start began, and then the messages, and finds out what became of them.
func (w *feedWatch) finish() (err error) {
	if w.end, err = w.mark(); err != nil {
		return err
	}
	if err := errors.Join(w.sampling.stop(), <-w.profiled, w.lab.Failed()); err != nil {
		return err
	}
	if err := w.lab.Stop(w.publisher); err != nil {
		return err
	}
	if err := w.publisher.Result(&w.whole); err != nil {
		return err
	}
	if err := w.account(); err != nil {
		return err
	}
	w.whole.Wrong, w.whole.Row, err = wrongRows(w.ctx, w.server, w.lab.Path(lastFile))
	return err
}

// account waits until the edge has taken what was sent, or takes nothing any more.
func (w *feedWatch) account() error {
	var before uint64
	last := time.Now()
	for {
		m, err := w.server.Metrics()
		if err != nil {
			return err
		}
		of := &w.whole
		of.Ticks, of.Unwanted, of.Gaps = m.Count("edge_feed_ticks_total"), m.Count("edge_feed_unwanted_total"), m.Count("edge_feed_gaps_total")
		of.Dropped = m.Count("edge_feed_invalid_total") + m.Count("edge_feed_older_total") + m.Count("edge_feed_repeated_total")
		taken := of.Ticks + of.Dropped
		if w.config.busy == w.universe {
			taken += of.Unheard + of.Unwanted
		}
		of.Lost = int64(of.Wanted) - int64(taken)
		if taken != before {
			before, last = taken, time.Now()
		}
		if of.Lost == 0 || time.Since(last) > feedQuiet {
			return nil
		}
		if err := pause(w.ctx, plainPause); err != nil {
			return err
		}
	}
}

// awaited says when all channels were subscribed, or why they will not be.
type awaited struct {
	took time.Duration
	err  error
}

// awaitChannels waits until the broker has confirmed all channels, where there is one for each topic.
func (w *feedWatch) awaitChannels() (a awaited) {
	began := time.Now()
	channels := 0
	a.err = until(w.ctx, feedPatience, feedLook, func() (bool, error) {
		m, err := w.server.Metrics()
		of := "edge_feed_channels"
		if w.broker.Kind == lab.NATSWildcard || w.broker.Streams() {
			of = "edge_feed_topics"
		}
		channels, a.took = int(m[of]), time.Since(began)
		return channels == w.universe && m.Sum("edge_feed_behind") == 0, err
	}, func() error {
		return fmt.Errorf("%d of %d topics are subscribed after %v", channels, w.universe, feedPatience)
	})
	return a
}

func (w *feedWatch) mark() (m feedMark, err error) {
	var errs [6]error
	m.flow, errs[0] = w.flow()
	m.edge, errs[1] = w.server.CPU()
	m.broker, errs[2] = w.broker.CPU()
	m.publisher, errs[3] = w.publisher.CPU()
	m.busy, m.all, errs[4] = procfs.Busy()
	of, err := w.broker.Sample()
	m.brokerRSS, errs[5] = of.RSS, err
	return m, errors.Join(errs[:]...)
}

// flow is what has been published and taken up to now.
type flow struct {
	at                     time.Time
	published, ticks       uint64
	bytes, objects, cycles uint64        // Allocated, and collections, in the edge.
	lag                    time.Duration // As the edge sees it.
}

// flow asks the broker before and after the edge, and takes the mean: meanwhile hundreds of
// messages pass. Those of topics that are wanted come at even distances.
func (w *feedWatch) flow() (f flow, err error) {
	before, err := w.broker.Published()
	if err != nil {
		return f, err
	}
	m, err := w.server.Metrics()
	if err != nil {
		return f, err
	}
	f.at = time.Now()
	after, err := w.broker.Published()
	f.published, f.ticks = (before+after)/2-w.before, m.Count("edge_feed_ticks_total")
	f.bytes, f.objects, f.cycles = m.Count("go_memstats_alloc_bytes_total"), m.Count("go_memstats_mallocs_total"), m.Count("go_gc_duration_seconds_count")
	for name, value := range m {
		if base, _, _ := strings.Cut(name, "{"); base == "edge_feed_lag_seconds" {
			f.lag = max(f.lag, time.Duration(value*float64(time.Second)))
		}
	}
	return f, err
}

// sample adds a sample to the series.
func (w *feedWatch) sample() error {
	f, err := w.flow()
	if err != nil {
		return err
	}
	p, err := w.server.Procs[0].Sample()
	w.series = append(w.series, feedSample{
		Seconds: f.at.Sub(w.begin.at).Seconds(), RSS: p.RSS, EdgeLag: float64(f.lag) / float64(time.Millisecond),
		// By Little's law. More may be counted as taken than as published, by the
		// time that counting takes.
		Behind: max(0, 1000*(float64(f.published)-float64(f.ticks)*float64(w.config.busy)/float64(w.universe))/w.rate),
	})
	return err
}

// profileFile is what the edge spent its CPU on, in the run's directory.
func (w *feedWatch) profileFile() string { return w.name + "-edge-cpu.pprof" }

func (w *feedWatch) takeProfile(seconds int) error {
	ctx, cancel := context.WithTimeout(w.ctx, time.Duration(seconds)*time.Second+feedPatience)
	defer cancel()
	b, err := w.server.Page(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds)) // A file for go tool pprof.
	if err != nil {
		return err
	}
	if err := w.lab.WriteFile(w.profileFile(), b); err != nil {
		return err
	}
	w.profile, err = profileShares(ctx, w.lab.Path(w.profileFile()), edgeLayers)
	return err
}
