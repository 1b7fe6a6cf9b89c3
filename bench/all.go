// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tickedge/bench/internal/lab"
)

// part is one run of bench all.
type part struct {
	mode string
	run  func(args []string, stdout, stderr io.Writer) int
	args string // Flags, with spaces between them.
}

// shortParts take some six minutes on two cores. That is enough to see whether
// all works and about how much it costs; the numbers that count are the full ones.
var shortParts = []part{
	{"density", runDensity, "-for 3s"},
	{"fanout", runFanout, "-conns 4000 -rounds 1 -for 5s"},
	{"fanout", runFanout, "-conns 2000 -rounds 1 -for 5s -topics 100 -servers edge,gorilla"},
	{"ticks", runTicks, "-conns 4000 -rounds 1 -for 5s -rates 1000,10000,100000"},
	{"saturate", runSaturate, "-rounds 1 -for 4s"},
	{"handshake", runHandshake, "-conns 5000 -rounds 1"},
	{"storm", runStorm, "-conns 1000 -storm 4000 -for 5s"},
	{"slow", runSlow, "-conns 2000 -for 7s -slow-timeout 3s"},
	{"http", runHTTP, "-conns 2000 -for 3s -rounds 1"},
	{"scale", runScale, "-conns 15000 -for 15s -find=false"},
	{"soak", runSoak, "-conns 2000 -churn 200 -for 30s"},
	{"feed", runFeed, "-for 5s"},
}

// fullParts take the medians of five rounds, and as many conns as one process may
// hold with the usual file limit of 20,000.
var fullParts = []part{
	{"density", runDensity, "-for 20s"},
	{"fanout", runFanout, "-conns 15000 -rounds 5 -for 10s"},
	{"fanout", runFanout, "-conns 15000 -rounds 5 -for 10s -topics 100 -servers edge,gorilla"},
	{"fanout", runFanout, "-conns 15000 -rounds 5 -for 10s -rate 100000"},
	{"ticks", runTicks, "-conns 15000 -rounds 5 -for 10s"},
	{"saturate", runSaturate, "-rounds 5 -for 10s"},
	{"handshake", runHandshake, "-conns 15000 -rounds 5"},
	{"storm", runStorm, "-conns 5000 -storm 10000 -for 20s"},
	{"slow", runSlow, "-conns 10000 -for 20s"},
	{"http", runHTTP, "-for 20s -rounds 5"},
	{"scale", runScale, "-conns 100000 -for 5m"},
	{"soak", runSoak, "-conns 10000 -churn 500 -for 5m"},
	{"screens", runScreens, "-rounds 5"},
	{"feed", runFeed, "-for 2m"},
	{"feed", runFeed, "-for 30s -set -rate 100000"},
}

func (p part) command() string { return "bench " + p.mode + " " + p.args }

// partResult is what came of a part.
type partResult struct {
	part
	dir   string // Within that of the whole.
	good  bool
	took  time.Duration
	goals []goal
}

func runAll(args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("bench all", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	short := f.Bool("short", false, "few conns, rounds and seconds: six minutes (the default)")
	full := f.Bool("full", false, "medians of five rounds, 15,000 conns and more: about an hour")
	dir := f.String("dir", "", "`directory` for the report and one directory for each part; empty makes one in the place for temporary files")
	err := parseFlags(f, args, ", within the source tree", "want -short or -full", stdout)
	if err == nil && *short && *full {
		err = errors.New("-short and -full: want one of them")
	}
	if err != nil {
		return flagError("all", err, stderr)
	}
	if *dir == "" {
		if *dir, err = os.MkdirTemp("", "bench-all-"+time.Now().Format("0102-150405")+"-"); err != nil {
			fmt.Fprintf(stderr, "bench all: %v\n", err)
			return exitBad
		}
	}
	command, parts := "bench all -short", shortParts
	if *full {
		command, parts = "bench all -full", fullParts
	}
	good, err := runParts(command, parts, *dir, stdout, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "bench all: %v\n", err)
	}
	if err != nil || !good {
		return exitBad
	}
	return exitGood
}

// runParts runs one part after the other, also when one is bad, and writes the report
// of all. It ends early when it is interrupted, as the part then does, too.
func runParts(command string, parts []part, dir string, stdout, stderr io.Writer) (good bool, err error) {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	var results []partResult
	good = true
	for i, p := range parts {
		r := partResult{part: p, dir: fmt.Sprintf("%02d-%s", i+1, p.mode)}
		fmt.Fprintf(stdout, "\n%d of %d: %s\n", i+1, len(parts), p.command())
		began := time.Now()
		if r.good, err = r.measure(dir, stdout, stderr); err != nil {
			return false, err
		}
		r.took = time.Since(began)
		good = good && r.good
		results = append(results, r)
		if ctx.Err() != nil {
			return false, errors.New("interrupted")
		}
	}
	report, err := writeAll(command, dir, results)
	if err != nil {
		return false, err
	}
	fmt.Fprintln(stdout)
	fmt.Fprintf(stdout, "%s\nreport: %s\n", goalsOf(results).text(), report)
	return good, nil
}

// benchLog is what a part said on its way.
const benchLog = "bench.log"

// measure runs the part. The error is that of the directory; what becomes of the part
// is in good.
func (r *partResult) measure(dir string, stdout, stderr io.Writer) (good bool, err error) {
	at := filepath.Join(dir, r.dir)
	if err := os.MkdirAll(at, 0o755); err != nil {
		return false, err
	}
	// A run of before may have left its own.
	for _, name := range []string{reportFile, goalsFile} {
		if err := os.Remove(filepath.Join(at, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, err
		}
	}
	log, err := os.Create(filepath.Join(at, benchLog))
	if err != nil {
		return false, err
	}
	defer log.Close()
	good = r.run(append(strings.Fields(r.args), "-dir", at), stdout, io.MultiWriter(stderr, log)) == exitGood
	b, err := os.ReadFile(filepath.Join(at, goalsFile))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // It came to no end.
	}
	return good, errors.Join(err, json.Unmarshal(b, &r.goals))
}

// goalsOf are the goals of all parts.
func goalsOf(results []partResult) *table {
	t := newTable("goal", "measured", "wanted", "stretch", "holds", "command")
	for _, r := range results {
		for _, g := range r.goals {
			t.row(g.What, g.Measured, g.Wanted, g.Stretch, g.verdict(), r.command())
		}
	}
	return t
}

// writeAll writes the report of all parts, which contains theirs, and returns its path.
func writeAll(command, dir string, results []partResult) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "# bench all\n\n    %s\n\n## Goals\n\n", command)
	b.WriteString(goalsOf(results).markdown())
	index := newTable("part", "result", "seconds:%.0f")
	var bodies strings.Builder
	var facts [][2]string
	for _, r := range results {
		verdict := "good"
		if !r.good {
			verdict = fmt.Sprintf("**not good**, see [%s](%s/%s)", benchLog, r.dir, benchLog)
		}
		name := r.command()
		// A part that came to no end has no report.
		if text, err := os.ReadFile(filepath.Join(dir, r.dir, reportFile)); err == nil {
			name = fmt.Sprintf("[%s](%s/%s)", name, r.dir, reportFile)
			bodies.WriteString(nested(string(text), r.dir))
		}
		index.row(name, verdict, r.took.Seconds())
		if facts == nil {
			facts, _ = lab.Facts(filepath.Join(dir, r.dir)) // A part with wrong flags has none.
		}
	}
	fmt.Fprintf(&b, "## Parts\n\n%s%s%s%s", index.markdown(), runHeading, factTable(facts).markdown(), bodies.String())
	path := filepath.Join(dir, reportFile)
	return path, os.WriteFile(path, []byte(b.String()), 0o644)
}

// nested is the report of a part as a section of the report of all, one directory up,
// without what is the same for all parts.
func nested(text, dir string) string {
	text, _, _ = strings.Cut(text, runHeading)
	text = strings.ReplaceAll(text, "](", "]("+dir+"/")
	return "#" + text
}
