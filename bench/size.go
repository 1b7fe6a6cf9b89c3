// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"tickedge/bench/internal/chart"
	"tickedge/bench/internal/lab"
)

// sizeResult is what an edge takes before its first client.
type sizeResult struct {
	conclusion
	Before string      `json:"before"` // A commit.
	Rounds int         `json:"rounds"`
	Edges  []sizedEdge `json:"edges"`
}

// sizedEdge is an edge that waits.
type sizedEdge struct {
	Name   string    `json:"name"`
	Ran    string    `json:"program"` // That ran.
	Bytes  int64     `json:"binary_bytes"`
	RSS    spread    `json:"rss_bytes"`
	Files  spread    `json:"fds"`
	Rounds []int64   `json:"rss_bytes_of_rounds"`
	files  []float64 // Of rounds.
	path   string    // Of the program; empty is that of the source tree.
	kind   string    // Of broker.
}

// commitName is how a commit is named.
var commitName = regexp.MustCompile(`^[0-9a-f]{7,40}$`)

func runSize(args []string, stdout, stderr io.Writer) int {
	c := newLab("size", 1, 5*time.Second, "")
	f := newLabFlags(c)
	f.Lookup("for").Usage = "how long an edge waits before its memory is read"
	before := f.String("before", "", "`commit` to compare with")
	sources := f.String("source", lab.Redis, "`list` of brokers out of "+strings.Join(allKinds, ","))
	f.IntVar(&c.rounds, roundsFlag, 5, "how often each edge is started")
	kinds := []string{}
	return c.run(f, args, stdout, stderr, func() error {
		kinds = strings.Split(*sources, ",")
		if *before != "" && !commitName.MatchString(*before) {
			return fmt.Errorf("-before %s: want a commit, such as -before 2526696", *before)
		}
		return checkKinds(*sources, kinds)
	}, func(s *session) (outcome, error) { return s.size(*before, kinds) })
}

// allKinds are those of brokers, the one in memory included.
var allKinds = append(slices.Clone(lab.BrokerKinds), lab.Memory)

// checkKinds checks a flag -source that knows the memory broker too.
func checkKinds(list string, kinds []string) error {
	for _, kind := range kinds {
		if !slices.Contains(allKinds, kind) {
			return fmt.Errorf("-source %s: want some of %s, such as -source redis,memory", list, strings.Join(allKinds, ","))
		}
	}
	return nil
}

// size starts edges without clients, one after the other.
func (s *session) size(before string, kinds []string) (outcome, error) {
	res := &sizeResult{Before: before, Rounds: s.rounds}
	if before != "" {
		path, err := s.lab.BuildAt(before, edgeTarget.dir)
		if err != nil {
			return nil, err
		}
		res.Edges = append(res.Edges, sizedEdge{Name: before + ", redis", kind: lab.Redis, path: path})
	}
	for _, kind := range kinds {
		res.Edges = append(res.Edges, sizedEdge{Name: "now, " + kind, kind: kind})
	}
	for i := range res.Edges {
		e := &res.Edges[i]
		path, err := s.lab.Build(edgeTarget.dir)
		if err != nil {
			return nil, err
		}
		file, err := os.Stat(cmp.Or(e.path, path))
		if err != nil {
			return nil, err
		}
		e.Bytes = file.Size()
	}
	if err := turns(s.rounds, len(res.Edges), func(round, i int) error {
		s.progress("size: round %d of %d, %s", round+1, s.rounds, res.Edges[i].Name)
		return s.sizeRound(&res.Edges[i])
	}); err != nil {
		return nil, err
	}
	res.conclude()
	return res, nil
}

func (s *session) sizeRound(e *sizedEdge) error {
	of := *s.labConfig
	of.source = lab.Memory
	var broker *lab.Broker
	if e.kind != lab.Memory {
		var err error
		if broker, err = s.lab.Broker(e.kind); err != nil {
			return err
		}
		of.source = broker.URL
	}
	s.lab.Use(edgeTarget.dir, e.path)
	defer s.lab.Use(edgeTarget.dir, "")
	server, err := edgeTarget.start(s.lab, &of)
	if err != nil {
		return err
	}
	if err := pause(s.ctx, s.labConfig.hold); err != nil {
		return err
	}
	sample, err := server.Procs[0].Sample()
	if err == nil {
		e.Ran, err = os.Readlink(fmt.Sprintf("/proc/%d/exe", server.Procs[0].PID))
	}
	e.Rounds, e.files = append(e.Rounds, sample.RSS), append(e.files, float64(sample.FDs))
	err = errors.Join(err, s.lab.Failed(), s.lab.StopServer(server))
	if broker != nil {
		err = errors.Join(err, s.lab.Stop(broker.Proc))
	}
	return err
}

func (res *sizeResult) conclude() {
	for i := range res.Edges {
		e := &res.Edges[i]
		e.RSS, e.Files = over(e.Rounds, func(rss *int64) float64 { return float64(*rss) }), spreadOf(e.files)
	}
	res.conclusion.conclude()
}

func (res *sizeResult) headline() string {
	return fmt.Sprintf("edges without clients, each started %d times; medians (min-max)", res.Rounds)
}

func (res *sizeResult) tables() []*table {
	t := newTable("edge", "binary", "more:%+.2f", "RSS MB:%.2f", "more:%+.2f", "descriptors:%.0f")
	for _, e := range res.Edges {
		rss := e.RSS
		rss.Median, rss.Min, rss.Max = rss.Median/1e6, rss.Min/1e6, rss.Max/1e6
		first := &res.Edges[0]
		t.row(e.Name, fmt.Sprint(e.Bytes), single(mb(e.Bytes-first.Bytes)), rss, single((e.RSS.Median-first.RSS.Median)/1e6), e.Files)
	}
	return []*table{t}
}

func (res *sizeResult) report(r *report) {
	c := chart.Bars{Title: "An edge that waits", Axis: overRounds("MB of RSS", res.Rounds), Series: one}
	for _, e := range res.Edges {
		c.Rows = append(c.Rows, serverRow(edgeName, e.Name, bar(spread{e.RSS.Median / 1e6, e.RSS.Min / 1e6, e.RSS.Max / 1e6}, 0.01, "")))
		if first := &res.Edges[0]; res.Before != "" && e.path == "" {
			r.atMost(limit{"binary, " + e.Name, single(mb(e.Bytes) / mb(first.Bytes)), "%.2f", " × " + res.Before, (mb(first.Bytes) + binaryGoal) / mb(first.Bytes), 0, false})
			r.atMost(limit{"RSS without clients, " + e.Name, single(e.RSS.Median / first.RSS.Median), "%.2f", " × " + res.Before, (first.RSS.Median/1e6 + idleGoal) / (first.RSS.Median / 1e6), 0, false})
		}
	}
	r.picture("rss", "memory of edges without clients", c)
}
