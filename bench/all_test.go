// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tickedge/bench/internal/lab"
)

// fakePart is a part that writes what a mode does. exit is its exit code; with
// exitUsage it writes nothing.
func fakePart(t *testing.T, name string, exit int) part {
	return part{name, func(args []string, stdout, stderr io.Writer) int {
		dir := args[len(args)-1]
		if want := "-conns 7 -dir " + dir; strings.Join(args, " ") != want {
			t.Errorf("%q, want %q", args, want)
		}
		fmt.Fprintln(stdout, "result of", name)
		fmt.Fprintln(stderr, "progress of", name)
		if exit == exitUsage {
			return exit
		}
		l, err := lab.New(t.Context(), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := writeResult(testConfig(name), l, &density{conclusion: conclusion{Good: exit == exitGood}, Topics: 10, Servers: []densityPoint{{Server: edgeName, State: name, RSS: 900, Raw: &result{}}}}); err != nil {
			t.Fatal(err)
		}
		return exit
	}, "-conns 7"}
}

func TestAllGoesOnAfterABadPart(t *testing.T) {
	dir := t.TempDir()
	// What an earlier run has left must not be taken for the second part's.
	stale := filepath.Join(dir, "02-second")
	if err := os.Mkdir(stale, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{goalsFile, reportFile} {
		if err := os.WriteFile(filepath.Join(stale, name), []byte(`[{"what":"stale"}]`), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	parts := []part{fakePart(t, "first", exitGood), fakePart(t, "second", exitUsage), fakePart(t, "third", exitBad), fakePart(t, "fourth", exitGood)}
	var stdout, stderr strings.Builder
	good, err := runParts("bench all -short", parts, dir, &stdout, &stderr)
	if err != nil || good {
		t.Fatalf("good %v, %v", good, err)
	}
	text := reportOf(t, dir)
	wantLines(t, text, "# bench all", "    bench all -short", "## bench first", "## bench third",
		"| RSS per conn, first | 900 B | ≤ 1000 B | ≤ 750 B | yes | bench first -conns 7 |",
		"| RSS per conn, third | 900 B | ≤ 1000 B | ≤ 750 B | yes | bench third -conns 7 |",
		"![RSS per conn](03-third/rss.svg)")
	if strings.Contains(text, "stale") || strings.Count(text, "load before") != 1 {
		t.Error(text)
	}
	for _, want := range []string{"[bench first -conns 7](01-first/report.md) | good |", "bench second -conns 7 | **not good**, see [bench.log](02-second/bench.log)", "| **not good**, see [bench.log](03-third/bench.log)"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	if !strings.Contains(stdout.String(), "result of fourth") || !strings.Contains(stderr.String(), "progress of fourth") {
		t.Errorf("%s\n%s", &stdout, &stderr)
	}
	if good, err := runParts("bench all", parts[:1], t.TempDir(), io.Discard, io.Discard); err != nil || !good {
		t.Errorf("good %v, %v", good, err)
	}
}

func TestAllWrongFlags(t *testing.T) {
	for args, want := range map[string]string{"-short -full": "want one of them", "full": "want -short or -full", "-fast": "not defined: -fast"} {
		code, _, stderr := bench(append([]string{"all"}, strings.Fields(args)...)...)
		if code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("bench all %s: exit code %d: %s", args, code, stderr)
		}
	}
}

// TestPartsHaveFlagsThatExist asks each part for its help after its flags: a wrong one
// comes first.
func TestPartsHaveFlagsThatExist(t *testing.T) {
	for _, p := range append(append([]part{}, shortParts...), fullParts...) {
		var stderr strings.Builder
		if code := p.run(append(strings.Fields(p.args), "-h"), io.Discard, &stderr); code != exitGood {
			t.Errorf("%s: exit code %d: %s", p.command(), code, &stderr)
		}
	}
}
