// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"flag"
	"testing"

	"tickedge/internal/history/historytest"
)

var measure = flag.Bool("measure", false, "measure bars, which takes a minute or more")

var seconds = flag.Int("seconds", 3600, "how many seconds of bars -measure stores")

// TestMeasure has the figures of docs/BUDGET.md.
func TestMeasure(t *testing.T) {
	if !*measure {
		t.Skip("only with -measure")
	}
	s := opened(t, t.TempDir())
	historytest.Measure(t, s, *seconds, func() int64 { return int64(s.Bytes()) }, 0)
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes after all was compacted", s.Bytes())
}
