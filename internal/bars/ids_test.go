// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"math/rand/v2"
	"testing"
)

// TestIDs compares runs with a set.
func TestIDs(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var d ids
		known := make(map[int64]bool)
		spread := 1 + rnd.Int64N(400)
		for i := range 5000 {
			id := 1 + int64(i)/2*spread/100 + rnd.Int64N(200)
			at, has := d.find(id)
			if has != known[id] {
				t.Fatalf("seed %d: %d is known: %t, want %t; %v", seed, id, has, known[id], d.runs)
			}
			if !has {
				d.put(at, id, int64(i), 1<<20, -1)
				known[id] = true
			}
		}
		n := int64(0)
		for i, r := range d.runs {
			n += r.hi - r.lo + 1
			if r.lo > r.hi || i > 0 && r.lo <= d.runs[i-1].hi+1 {
				t.Fatalf("runs %v", d.runs)
			}
		}
		if int(n) != len(known) {
			t.Errorf("runs have %d ids, want %d", n, len(known))
		}
	}
}

func TestIDsGiveWay(t *testing.T) {
	var d ids
	put := func(id, time, before int64) {
		at, known := d.find(id)
		if known {
			t.Fatalf("%d is known", id)
		}
		d.put(at, id, time, 16, before)
	}
	for id := int64(1); id <= 17; id++ {
		put(id*2, id, -1)
	}
	if len(d.runs) != 15 || d.floor != 4 {
		t.Errorf("%d runs, from above %d; want 15 from above 4", len(d.runs), d.floor)
	}
	for id := int64(100); id < 1000; id += 2 {
		put(id, id, id-10) // Those older than 10 are let go of before any that is needed.
	}
	if d.floor != 4 || len(d.runs) > 16 {
		t.Errorf("%d runs, from above %d; want at most 16 from above 4", len(d.runs), d.floor)
	}
	if _, known := d.find(990); !known {
		t.Error("an id is forgotten that is new")
	}
}
