// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"flag"
	"testing"
	"time"

	"tickedge/internal/history/historytest"
)

var measure = flag.String("measure", "", "measure bars in the empty database with this URL, which takes minutes")

var seconds = flag.Int("seconds", 3600, "how many seconds of bars -measure stores")

// TestMeasure has the figures of docs/BUDGET.md.
func TestMeasure(t *testing.T) {
	if *measure == "" {
		t.Skip("only with -measure URL")
	}
	s := opened(t, *measure)
	historytest.Measure(t, s, *seconds, func() int64 {
		n, err := s.Bytes(t.Context())
		if err != nil {
			t.Error(err)
		}
		return n
	}, 500*time.Millisecond)
}
