// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"io"
	"time"

	"tickedge/bench/internal/lab"
	"tickedge/bench/internal/procfs"
	"tickedge/bench/internal/swarm"
)

// evictionGrace is what an eviction may come late: the edge looks at each conn at
// least once a second, and both ends round.
const evictionGrace = 2 * time.Second

// slowResult is what clients that never read do to the others.
type slowResult struct {
	conclusion
	Conns     int      `json:"conns"` // That read.
	Slow      int      `json:"slow_conns"`
	Timeout   float64  `json:"slow_timeout_seconds"`
	Without   slowHold `json:"without"`
	With      slowHold `json:"with"`
	Evicted   int      `json:"evicted"`
	Evictions float64  `json:"evictions_counted_by_the_edge"`
	Stuck     spread   `json:"evicted_after_seconds"` // Since the last byte arrived there.
}

// slowHold is the clients that read.
type slowHold struct {
	Staleness staleness `json:"staleness"`
	PerConn   spread    `json:"frames_per_conn_per_second"`
	RSSEnd    int64     `json:"rss_bytes_at_end"`
	RSSMax    int64     `json:"rss_bytes_max"`
	CPU       float64   `json:"cpu_percent"`
}

func runSlow(args []string, stdout, stderr io.Writer) int {
	c := newLab("slow", 5000, 15*time.Second, "")
	f := newLabFlags(c)
	share := f.Float64("share", 5, "slow clients, in percent of -conns, which are those that read")
	timeout := f.Duration("slow-timeout", 10*time.Second, "of the edge; -for has to be 3 s longer")
	return c.run(f, args, stdout, stderr, func() error {
		if !(*share > 0 && *share <= 100) {
			return fmt.Errorf("-share %v: want a percentage above 0, such as -share 5", *share)
		}
		if least := *timeout + evictionGrace + time.Second; c.hold < least {
			return fmt.Errorf("-for %v: want at least %v with -slow-timeout %v, or nobody is evicted meanwhile", c.hold, least, *timeout)
		}
		c.edgeArgs = append(c.edgeArgs, "-slow-timeout", timeout.String())
		return nil
	}, func(s *session) (outcome, error) { return s.slow(max(1, int(float64(c.conns)**share/100)), *timeout) })
}

// slow holds the same clients without slow ones beside them, and with.
func (s *session) slow(slow int, timeout time.Duration) (outcome, error) {
	res := &slowResult{Conns: s.conns, Slow: slow, Timeout: timeout.Seconds()}
	if err := s.ticks(s.rate); err != nil {
		return nil, err
	}
	s.progress("slow: without slow clients")
	if err := s.slowHold(0, &res.Without, res); err != nil {
		return nil, err
	}
	s.progress("slow: with %d slow clients", slow)
	if err := s.slowHold(slow, &res.With, res); err != nil {
		return nil, err
	}
	res.conclude()
	return res, nil
}

// slowHold holds the clients that read, with slow ones beside them.
func (s *session) slowHold(slow int, hold *slowHold, into *slowResult) error {
	res, err := s.holdBeside(func(server *lab.Server, ended <-chan struct{}) error {
		return s.watchSlow(server, slow, ended, hold, into)
	})
	if err != nil {
		return err
	}
	hold.Staleness, hold.PerConn = res.Update, res.PerConn
	for _, of := range res.Servers {
		hold.RSSEnd += of.After.RSS
		hold.CPU += of.CPUPercent
	}
	into.take(fmt.Sprintf("with %d slow clients", slow), res.Problems, nil)
	return nil
}

// watchSlow opens the slow clients and looks after them and the edge's memory until
// ended is closed.
func (s *session) watchSlow(server *lab.Server, slow int, ended <-chan struct{}, hold *slowHold, into *slowResult) error {
	names, err := swarm.Names(lab.TopicPattern, min(s.universe, swarm.TopicsMax))
	if err != nil {
		return err
	}
	clients, err := openSlow(server.Addr, slow, names)
	if err != nil {
		return err
	}
	defer clients.close()
	tick := time.NewTicker(slowEvery)
	defer tick.Stop()
	for {
		var rss int64
		for _, pid := range server.PIDs() {
			sample, err := procfs.Read(pid)
			if err != nil {
				return err
			}
			rss += sample.RSS
		}
		hold.RSSMax = max(hold.RSSMax, rss)
		clients.look()
		select {
		case <-ended:
			into.Evicted += slow - clients.left()
			into.Stuck = over(clients.stuck, func(d *time.Duration) float64 { return d.Seconds() })
			m, err := server.Metrics()
			into.Evictions += m.By("edge_connections_closed_total", "reason")["slow_consumer"]
			return err
		case <-tick.C:
		}
	}
}

func (res *slowResult) conclude() {
	if n := res.Slow - res.Evicted; n > 0 {
		res.problem("%d slow clients were not evicted", n)
	}
	if res.Evictions != float64(res.Evicted) {
		res.problem("%d conns were evicted, and the edge counts %.0f", res.Evicted, res.Evictions)
	}
	if res.Stuck.Max > res.Timeout+evictionGrace.Seconds() {
		res.problem("a slow client was evicted after %.1f s, %v at the latest were asked for", res.Stuck.Max, res.Timeout)
	}
	if res.Evicted > 0 && res.Stuck.Min < res.Timeout-1 {
		res.problem("a slow client was evicted after %.1f s, before its time", res.Stuck.Min)
	}
	res.conclusion.conclude()
}

func (res *slowResult) headline() string {
	return fmt.Sprintf("edge, %d clients that read and %d that never do, -slow-timeout %.0fs\n"+
		"evicted: %d, %.0f as the edge counts; after the last byte arrived: %s s",
		res.Conns, res.Slow, res.Timeout, res.Evicted, res.Evictions, res.Stuck.text("%.2f"))
}

func (res *slowResult) tables() []*table {
	t := newTable("slow ones", "others: p50 ms:%.0f", "p99 ms:%.0f", "p99.9 ms:%.0f", "max ms:%.0f", "frames per conn and s: min:%.2f", "median:%.2f",
		"RSS max MB:%.1f", "RSS end MB:%.1f", "CPU %:%.1f")
	row := func(name string, h slowHold) {
		t.row(name, h.Staleness.P50, h.Staleness.P99, h.Staleness.P999, h.Staleness.Max, h.PerConn.Min, h.PerConn.Median, mb(h.RSSMax), mb(h.RSSEnd), h.CPU)
	}
	row("without", res.Without)
	row("with", res.With)
	return []*table{t}
}

const (
	// slowNoise is how far apart, in ms, the p99 of two holds may be for one reason and
	// another.
	slowNoise = 20
	// slowShare is what a client that never reads may cost in memory, in MB: itself and
	// one frame of 256 rows that the socket has not taken.
	slowShare = 0.032
)

func (res *slowResult) report(r *report) {
	r.atMost(limit{"p99 of staleness of the others beside slow clients", single(res.With.Staleness.P99), "%.0f", " ms", res.Without.Staleness.P99 + slowNoise, 0, false})
	r.atMost(limit{"most RSS beside slow clients", single(mb(res.With.RSSMax)), "%.1f", " MB", mb(res.Without.RSSMax) + slowShare*float64(res.Slow), 0, false})
	last := res.Timeout + evictionGrace.Seconds()
	r.goals = append(r.goals, goal{
		What:     fmt.Sprintf("slow clients evicted with -slow-timeout %.0fs", res.Timeout),
		Wanted:   fmt.Sprintf("all, after %.0f to %.0f s", res.Timeout, last),
		Measured: fmt.Sprintf("%d of %d, after %s s", res.Evicted, res.Slow, res.Stuck.text("%.1f")),
		Holds:    res.Evicted == res.Slow && res.Stuck.Min >= res.Timeout-1 && res.Stuck.Max <= last,
	})
	r.picture("staleness", "staleness of rows without slow clients and with them",
		heldChart("Staleness of rows at those that read", [2]string{"alone", fmt.Sprintf("beside %d that never read", res.Slow)}, [2]staleness{res.Without.Staleness, res.With.Staleness}))
}
