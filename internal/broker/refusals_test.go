// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A topic that was refused is not tried again for a second, and others go on.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Refusals
		publish := func(want string, fate Fate) {
			t.Helper()
			var tried []string
			ticks := []Tick{{Topic: "A"}, {Topic: "NO"}, {Topic: "B"}}
			done := r.Publish(ticks, func(left []Tick) bool {
				for i := range left {
					tried = append(tried, left[i].Topic)
					if left[i].Fate = Taken; left[i].Topic == "NO" {
						left[i].Fate = fate
					}
				}
				return true
			})
			if !done || fmt.Sprint(tried) != want || ticks[0].Fate != Taken || ticks[1].Fate != fate || ticks[2].Fate != Taken {
				t.Errorf("%v were tried, want %s: %+v", tried, want, ticks)
			}
		}
		publish("[A NO B]", Forbidden)
		publish("[A B]", Forbidden)
		time.Sleep(refusedFor)
		publish("[A NO B]", TooLarge) // Another value may be shorter.
		publish("[A NO B]", Taken)
	})
}

// What is remembered is bounded, and makes room in time.
func TestRefusalsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Refusals
		refuse := func(from, n int) {
			ticks := make([]Tick, n)
			for i := range ticks {
				ticks[i].Topic = fmt.Sprint(from + i)
			}
			r.Publish(ticks, func(left []Tick) bool {
				for i := range left {
					left[i].Fate = Unserved
				}
				return true
			})
		}
		refuse(0, refusalsMax+5)
		if len(r.of) != refusalsMax {
			t.Errorf("%d topics are remembered, want %d", len(r.of), refusalsMax)
		}
		time.Sleep(refusedFor)
		refuse(1_000_000, 3)
		if len(r.of) != 3 {
			t.Errorf("%d topics are remembered, want 3", len(r.of))
		}
	})
}
