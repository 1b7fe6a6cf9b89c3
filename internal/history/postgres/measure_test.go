// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"flag"
	"testing"

	"tickedge/internal/history/historytest"
)

var measure = flag.String("measure", "", "measure an hour of bars in the empty database with this URL, which takes minutes")

// TestMeasure has the figures of docs/BUDGET.md.
func TestMeasure(t *testing.T) {
	if *measure == "" {
		t.Skip("only with -measure URL")
	}
	s := opened(t, *measure)
	historytest.Measure(t, s, func() int64 {
		n, err := s.Bytes(t.Context())
		if err != nil {
			t.Error(err)
		}
		return n
	})
}
