// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"testing"

	"tickedge/internal/trade"
)

// The trace of a trade is that of the next price, once, whichever trades came behind it.
func TestTraceOfPrices(t *testing.T) {
	e, s := New(DefaultConfig()), testSymbol("X")
	add := func(id int64, trace string) {
		t.Helper()
		at := epoch + id*1000
		if err := e.Add(&trade.Trade{Symbol: s, Source: "A", Price: 100, Size: 1, Time: at, Received: at + 5, ID: id, Trace: trace}, at); err != nil {
			t.Fatal(err)
		}
	}
	told := func(take bool) (trace string, received int64) {
		t.Helper()
		n := 0
		e.DrainPrices(func(p Price) bool {
			n++
			trace, received = p.Trace()
			return take
		})
		if n != 1 {
			t.Errorf("%d prices", n)
		}
		return trace, received
	}
	for _, step := range []struct {
		trades []string // By their places: ids.
		take   bool
		want   string
		id     int64
	}{
		{[]string{1: ""}, true, "", 0},
		{[]string{2: "a", 3: ""}, true, "a", 2},
		{[]string{4: ""}, true, "", 0},
		{[]string{6: "b", 7: "c", 8: ""}, false, "c", 7},
		{nil, true, "c", 7}, // It was not taken.
		{[]string{9: ""}, true, "", 0},
		{[]string{10: ""}, false, "", 0},
		{[]string{5: "late"}, true, "late", 5}, // An older trade changes the day.
	} {
		for id, trace := range step.trades {
			if first := len(step.trades) > 0; first && id > 0 && (trace != "" || id == len(step.trades)-1) {
				add(int64(id), trace)
			}
		}
		if trace, received := told(step.take); trace != step.want || trace != "" && received != epoch+step.id*1000+5 {
			t.Errorf("%q: the price has %q of %d", step.trades, trace, received-epoch)
		}
	}
}
