// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
)

// While ticks come all the time, connections break, and topics come and go: no value ever
// goes back in time, and in the end each is what Redis holds. Without versions, because
// these would hide what they prevent.
func TestValuesNeverGoBack(t *testing.T) {
	for _, mode := range []Mode{ModeChannel, ModePattern, ModeStream} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			cfg := plain(s)
			cfg.Mode = mode
			if mode == ModeStream {
				cfg.Stream = "ticks"
			}
			r := run(t, cfg, limits)
			const names, kills = 50, 5
			for i := range names {
				r.acquire(fmt.Sprint("T", i))
			}
			r.settled()

			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			defer wg.Wait()
			defer stop()
			wg.Go(func() { // The publisher.
				c := s.Client()
				defer c.Close()
				for n := 1; ctx.Err() == nil; n++ {
					pipe := c.TxPipeline()
					name := fmt.Sprint("T", n%names)
					pipe.Set(ctx, "price:"+name, n, 0)
					if mode == ModeStream {
						pipe.XAdd(ctx, &goredis.XAddArgs{Stream: "ticks", Values: []any{"topic", name, "value", n}})
					} else {
						pipe.Publish(ctx, "channel:prices:"+name, n)
					}
					pipe.Exec(ctx)
				}
			})
			rows := make([]int, names)
			look := func() {
				for i := range rows {
					n, _ := strconv.Atoi(r.value(fmt.Sprint("T", i)))
					if n < rows[i] {
						t.Fatalf("T%d was %d and is %d", i, rows[i], n)
					}
					rows[i] = n
				}
			}
			kind := "pubsub"
			if mode == ModeStream {
				kind = "normal"
			}
			for range kills {
				connects := r.Stats().Counts[broker.Connects]
				s.Do("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
				r.eventually("a new connection", func() bool { look(); return r.Stats().Counts[broker.Connects] > connects })
				r.eventually("up", func() bool { look(); return r.table.Health().Up })
				at := slices.Clone(rows)
				r.eventually("every topic ticks", func() bool {
					look()
					for i := range rows {
						if rows[i] == at[i] {
							return false
						}
					}
					return true
				})
			}
			stop()
			wg.Wait()
			for i := range names {
				name := fmt.Sprint("T", i)
				newest := s.Do("GET", "price:"+name)
				r.eventually(name+" is "+newest, func() bool { look(); return r.value(name) == newest })
			}
		})
	}
}
