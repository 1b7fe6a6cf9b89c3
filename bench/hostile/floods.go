// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// floodConns is how many flood at a time. Each comes again at once when it was ended.
const floodConns = 4

// flood is what is sent again and again, and how that ends.
type flood struct {
	name, demand string
	b            []byte // Enough to be ended for.
}

func floodsOf() []flood {
	short := list(universe, func(i int) string { return fmt.Sprintf("no topic %d", i) })
	names := `["` + strings.Join(short, `","`) + `"]`
	return []flood{
		{"pongs", "close 1008", slices.Repeat(frame(fin|0xa, ""), 20_000)},
		{"empty pings", "close 1008", slices.Repeat(ping(""), 20_000)},
		{"empty fragments", "close 1009", append(frame(0x1, ""), slices.Repeat(frame(0x0, ""), 20_000)...)},
		{"empty messages", "close 4502", slices.Repeat(message(""), 1000)},
		{"lists of 256 topics", "close 4503", slices.Repeat(message(`{"op":"list"}`), 500)},
		{"subscribes of 256 names that are none", "close 4503", slices.Repeat(message(`{"op":"subscribe","topics":`+names+`}`), 200)},
		{"unsubscribes of 256 names", "close 4503", slices.Repeat(message(`{"op":"unsubscribe","topics":`+names+`}`), 200)},
		{"commands of 20 KiB", "close 4503", slices.Repeat(message(`{"op":"ping","x":[0`+strings.Repeat(",1", 10_000)+`]}`), 200)},
		{"intervals", "close 4503", slices.Repeat(message(`{"op":"interval","ms":500}`), 500)},
		{"tokens", "close 4503", slices.Repeat(message(`{"op":"auth","token":"x"}`), 500)},
	}
}

func floodInputs(p *plan) []input {
	var all []input
	for _, f := range floodsOf() {
		all = append(all, input{
			fmt.Sprintf("%d conns flood with %s for %v, again and again", floodConns, f.name, p.floodFor),
			"each time " + f.demand, "SECURITY.md, All limits",
			func(r *run) string { return r.floodWith(f.b) },
		})
	}
	return all
}

// floodWith floods for a while and says how that ended each time.
func (r *run) floodWith(b []byte) string {
	var mu sync.Mutex
	ends := map[string]bool{}
	deadline := time.Now().Add(r.floodFor)
	var going sync.WaitGroup
	for i := range floodConns {
		going.Go(func() {
			for time.Now().Before(deadline) && r.edge.ctx.Err() == nil {
				end := r.floodTo(i, b)
				mu.Lock()
				ends[end] = true
				mu.Unlock()
			}
		})
	}
	going.Wait()
	var all []string
	for end := range ends {
		all = append(all, end)
	}
	slices.Sort(all)
	return "each time " + strings.Join(all, " or ")
}

// floodTo sends b on a conn with all topics, and returns how that ends.
func (r *run) floodTo(i int, b []byte) string {
	return r.edge.open("", i, 0, func(p *peer) string {
		what := p.send(append(allTopics(), b...))
		return what[strings.LastIndex(what, ", ")+1:][len(" "):]
	})
}
