//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
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
	Good      bool     `json:"good"`
	Conns     int      `json:"conns"` // That read.
	Slow      int      `json:"slow_conns"`
	Timeout   float64  `json:"slow_timeout_seconds"`
	Without   slowHold `json:"without"`
	With      slowHold `json:"with"`
	Evicted   int      `json:"evicted"`
	Evictions float64  `json:"evictions_counted_by_the_edge"`
	Stuck     spread   `json:"evicted_after_seconds"` // Since the last byte arrived there.
	Problems  []string `json:"problems,omitempty"`
}

// slowHold is the clients that read.
type slowHold struct {
	Staleness staleness `json:"staleness"`
	PerConn   perConn   `json:"frames_per_conn_per_second"`
	RSSEnd    int64     `json:"rss_bytes_at_end"`
	RSSMax    int64     `json:"rss_bytes_max"`
	CPU       float64   `json:"cpu_percent"`
}

func runSlow(args []string, stdout, stderr io.Writer) int {
	c := &labConfig{mode: "slow", conns: 5000, hold: 15 * time.Second}
	f := newLabFlags(c)
	share := f.Float64("share", 5, "slow clients, in percent of -conns, which are those that read")
	timeout := f.Duration("slow-timeout", 10*time.Second, "of the edge; -for has to be 3 s longer")
	err := c.parse(f, args, stderr)
	if err == nil && !(*share > 0 && *share <= 100) {
		err = fmt.Errorf("-share %v: want a percentage above 0, such as -share 5", *share)
	}
	if err == nil && c.hold < *timeout+evictionGrace+time.Second {
		err = fmt.Errorf("-for %v: want at least %v with -slow-timeout %v, or nobody is evicted meanwhile", c.hold, *timeout+evictionGrace+time.Second, *timeout)
	}
	if err != nil {
		return flagError(c.mode, err, stderr)
	}
	c.edgeArgs = append(c.edgeArgs, "-slow-timeout", timeout.String())
	slow := max(1, int(float64(c.conns)**share/100))
	return runLab(c, stdout, stderr, func(s *session) (outcome, error) { return s.slow(slow, *timeout) })
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
	server, err := targets[0].start(s.lab, s.setting)
	if err != nil {
		return err
	}
	stop, watched := make(chan struct{}), make(chan error, 1)
	began := false
	res, err := s.hold(server, s.conns, s.topics, func(moment int) {
		switch moment {
		case atHold:
			began = true
			go func() { watched <- s.watchSlow(server, slow, stop, hold, into) }()
		case atEnd:
			m, _ := server.Metrics() // A failed scrape shows as no evictions.
			for name, v := range m {
				if strings.HasPrefix(name, "edge_connections_closed_total") && strings.Contains(name, `"slow_consumer"`) {
					into.Evictions += v
				}
			}
		}
	})
	close(stop)
	if began {
		err = errors.Join(err, <-watched)
	}
	if err := errors.Join(err, s.lab.StopServer(server)); err != nil {
		return err
	}
	hold.Staleness, hold.PerConn = res.Update, res.PerConn
	for _, of := range res.Servers {
		hold.RSSEnd += of.After.RSS
		hold.CPU += of.CPUPercent
	}
	for _, p := range res.Problems {
		into.Problems = append(into.Problems, fmt.Sprintf("with %d slow clients: %s", slow, p))
	}
	return nil
}

// watchSlow opens the slow clients and looks after them and the edge's memory until
// stop is closed.
func (s *session) watchSlow(server *lab.Server, slow int, stop <-chan struct{}, hold *slowHold, into *slowResult) error {
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
		case <-stop:
			var stuck []float64
			for _, d := range clients.stuck {
				stuck = append(stuck, d.Seconds())
			}
			into.Evicted, into.Stuck = slow-clients.left(), spreadOf(stuck)
			return nil
		case <-tick.C:
		}
	}
}

func (res *slowResult) conclude() {
	if n := res.Slow - res.Evicted; n > 0 {
		res.Problems = append(res.Problems, fmt.Sprintf("%d slow clients were not evicted", n))
	}
	if res.Evictions != float64(res.Evicted) {
		res.Problems = append(res.Problems, fmt.Sprintf("%d conns were evicted, and the edge counts %.0f", res.Evicted, res.Evictions))
	}
	if res.Stuck.Max > res.Timeout+evictionGrace.Seconds() {
		res.Problems = append(res.Problems, fmt.Sprintf("a slow client was evicted after %.1f s, %v at the latest were asked for", res.Stuck.Max, res.Timeout))
	}
	if res.Evicted > 0 && res.Stuck.Min < res.Timeout-1 {
		res.Problems = append(res.Problems, fmt.Sprintf("a slow client was evicted after %.1f s, before its time", res.Stuck.Min))
	}
	res.Good = len(res.Problems) == 0
}

func (res *slowResult) good() bool { return res.Good }

func (res *slowResult) headline() string {
	return fmt.Sprintf("edge, %d clients that read and %d that never do, -slow-timeout %.0fs\n"+
		"evicted: %d, %.0f as the edge counts; after the last byte arrived: %s s",
		res.Conns, res.Slow, res.Timeout, res.Evicted, res.Evictions, res.Stuck.text("%.2f"))
}

func (res *slowResult) table() *table {
	t := newTable("slow ones", "others: p50 ms", "p99 ms", "p99.9 ms", "max ms", "frames per conn and s: min", "median", "RSS max MB", "RSS end MB", "CPU %")
	for _, h := range []struct {
		name string
		slowHold
	}{{"without", res.Without}, {"with", res.With}} {
		t.row(h.name, fmt.Sprintf("%.0f", h.Staleness.P50), fmt.Sprintf("%.0f", h.Staleness.P99), fmt.Sprintf("%.0f", h.Staleness.P999),
			fmt.Sprintf("%.0f", h.Staleness.Max), fmt.Sprintf("%.2f", h.PerConn.Min), fmt.Sprintf("%.2f", h.PerConn.Median),
			fmt.Sprintf("%.1f", mb(h.RSSMax)), fmt.Sprintf("%.1f", mb(h.RSSEnd)), fmt.Sprintf("%.1f", h.CPU))
	}
	return t
}

func (res *slowResult) writeText(w io.Writer) error {
	fmt.Fprintln(w, res.headline())
	if err := res.table().writeText(w, 0); err != nil {
		return err
	}
	return verdict(w, res.Problems)
}
