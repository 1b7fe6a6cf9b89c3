//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"tickedge/bench/internal/lab"
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
	c := &labConfig{mode: "soak", conns: 5000, hold: 3 * time.Minute}
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
	server, err := edgeTarget.start(s.lab, s.setting)
	if err != nil {
		return nil, err
	}
	w := &soakWatch{server: server, began: time.Now(), phase: soakBefore}
	if err := w.sample(); err != nil {
		return nil, err
	}
	s.progress("soak: %d conns, %.0f of them replaced each second for %v", s.conns, s.churn, s.labConfig.hold)
	moments, watched := make(chan int), make(chan error, 1)
	go func() { watched <- w.run(moments) }()
	hold, err := s.hold(server, s.conns, s.topics, func(moment int) error {
		if moment != atEnd { // All conns are still there then, and leave next.
			moments <- moment
		}
		return nil
	})
	close(moments)
	if err := errors.Join(err, <-watched); err != nil {
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
	w.phase = soakAfter
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
	phase  string
	series []soakSample
}

func (w *soakWatch) last() *soakSample { return &w.series[len(w.series)-1] }

// run samples until moments is closed, which tells what begins.
func (w *soakWatch) run(moments <-chan int) error {
	tick := time.NewTicker(soakEvery)
	defer tick.Stop()
	var all error
	for {
		select {
		case m, more := <-moments:
			switch {
			case !more:
				return all
			case m == atStart:
				w.phase = soakConnect
			case m == atHold:
				w.phase = soakChurn
			}
		case <-tick.C:
			if all == nil {
				all = w.sample()
			}
		}
	}
}

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
		Seconds: time.Since(w.began).Seconds(), Phase: w.phase, RSS: p.RSS, FDs: p.FDs,
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
