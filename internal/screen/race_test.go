// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"tickedge/internal/topics"
)

// Feeds, conns of several loops and the registry's own goroutine are at it at once. At rest each client has what the newest
// values say.
func TestRace(t *testing.T) {
	table, r := testRegistry(1000, nil)
	ctx, stop := context.WithCancel(t.Context())
	var running, writing sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	const ticks, feeds, names = 3000, 3, 40
	for feed := range feeds {
		writing.Go(func() { // Each topic has one feed.
			rng := rand.New(rand.NewPCG(uint64(feed), 1))
			for i := range ticks {
				name := fmt.Sprintf("a:%d", rng.IntN(names)*feeds+feed)
				value := fmt.Sprintf(`{"v":%d,"p":%d}`, i%10, rng.IntN(100))
				if i < ticks-1 && rng.IntN(30) == 0 {
					value = topics.Delisted
				}
				publish(table, r, name, value)
			}
			for i := range names { // The last word.
				publish(table, r, fmt.Sprintf("a:%d", i*feeds+feed), fmt.Sprintf(`{"v":1,"p":%d}`, (i*feeds+feed)%100))
			}
		})
	}
	specs := make([]Spec, 6)
	for i := range specs {
		top, by := 0, ""
		if i%3 == 2 {
			top, by = 5, "-p"
		}
		spec, refusal := ParseSpec([][]byte{[]byte([]string{"*", "a:*"}[i%2])}, fmt.Sprintf("p >= %d", 10*i), top, by, nil)
		if refusal != nil {
			t.Fatal(refusal.Reason)
		}
		specs[i] = spec
	}
	kept := make([]*reader, len(specs))
	for i, spec := range specs {
		view, refusal := r.Attach(spec, "kept", time.Now())
		if refusal != nil {
			t.Fatal(refusal.Reason)
		}
		kept[i] = &reader{view: view, question: question{holds: func(q price) bool { return q.p >= 10*i }}, top: spec.Top, rows: make(map[string]string)}
		writing.Go(func() {
			for range 300 { // Others come and go with the same, and with others.
				v, refusal := r.Attach(specs[rand.IntN(len(specs))], "others", time.Now())
				if refusal != nil {
					t.Error(refusal.Reason)
					return
				}
				var at Place
				var p Piece
				v.Changes(&at, 1000, &p)
				r.Detach(v, "others", time.Now())
				kept[i].read(t, 500)
			}
		})
	}
	writing.Wait()
	for i, rd := range kept {
		want := 0
		for n := range names * feeds {
			if n%100 >= 10*i {
				want++
			}
		}
		if rd.top > 0 {
			want = min(want, rd.top)
		}
		deadline := time.Now().Add(time.Minute)
		for ok := false; !ok; time.Sleep(time.Millisecond) {
			for rd.read(t, 500) {
			}
			ok = len(rd.rows) == want
			for name, value := range rd.rows {
				var n int
				_, err := fmt.Sscanf(name, "a:%d", &n)
				ok = ok && err == nil && value == fmt.Sprintf(`{"v":1,"p":%d}`, n%100)
			}
			if time.Now().After(deadline) {
				t.Fatalf("screen %d has %d rows, want %d: %v", i, len(rd.rows), want, rd.rows)
			}
		}
	}
	for _, rd := range kept {
		r.Detach(rd.view, "kept", time.Now())
	}
	stop()
	running.Wait()
	r.Turn(time.Now().Add(time.Minute))
	if s := r.Stats(); s.Screens != 0 || s.Covered != 0 || table.Subscriptions() != 0 {
		t.Errorf("left over: %+v, %d subscriptions", s, table.Subscriptions())
	}
}
