// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tickedge/internal/topics"
)

// Descriptors and slots are used again at once while flushes are under way. No client
// ever gets a byte that was meant for another one.
func TestDescriptorsAndSlotsAreReused(t *testing.T) {
	const clients, topicsEach, runs, livesMin = 24, 4, 3 * time.Second, 500
	e := serve(t)
	e.log.allow("stale connection") // gnet says so of an event that came with the end.
	var current [clients]atomic.Pointer[[]string]
	var over atomic.Bool
	var publisher, running sync.WaitGroup
	publisher.Go(func() {
		pad := strings.Repeat("p", 4<<10)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for !over.Load() {
			<-tick.C
			for i := range current {
				if list := current[i].Load(); list != nil {
					for _, name := range *list {
						e.table.Publish(name, `{"of":"`+name+`","pad":"`+pad+`"}`, topics.Meta{})
					}
				}
			}
		}
	})
	var conns, rows atomic.Int64
	failed := make(chan error, clients)
	until, enough := time.Now().Add(runs), time.Now().Add(patience)
	wanted := func() bool { // A busy machine takes longer for as many lives.
		now := time.Now()
		return now.Before(until) || conns.Load() < livesMin && now.Before(enough)
	}
	for i := range clients {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			for life := 0; wanted(); life++ {
				mine := names(fmt.Sprintf("c%d.%d.", i, life), topicsEach)
				current[i].Store(&mine)
				n, err := oneLife(e, mine, rng)
				if err != nil {
					failed <- fmt.Errorf("client %d in life %d: %w", i, life, err)
					return
				}
				conns.Add(1)
				rows.Add(n)
			}
		})
	}
	running.Wait()
	over.Store(true)
	publisher.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	t.Logf("%d connections, %d rows", conns.Load(), rows.Load())
	if conns.Load() < livesMin || rows.Load() < 100 {
		t.Error("that was too little to show anything")
	}
}

// oneLife opens a connection, reads for a while, and leaves without a word.
func oneLife(e *edge, mine []string, rng *rand.Rand) (rows int64, err error) {
	c, err := connect(e.Addr(), patience)
	if err != nil {
		return 0, err
	}
	if rng.IntN(2) == 0 {
		defer c.reset()
	} else {
		defer c.close()
	}
	request := upgradeRequest("?interval=100&topics=" + strings.Join(mine, ","))
	switch rng.IntN(8) {
	case 0: // It goes before it has said anything.
		return 0, nil
	case 1: // Or in the middle of its request, or right behind it.
		_, err := io.WriteString(c.TCPConn, request[:rng.IntN(len(request)+1)])
		return 0, err
	}
	if _, err := io.WriteString(c.TCPConn, request); err != nil {
		return 0, err
	}
	if err := c.switched(); err != nil { // The first byte is that of the 101.
		return 0, err
	}
	for i, frames := 0, rng.IntN(4); i < frames; i++ {
		m, err := c.read()
		if err != nil {
			return rows, err
		}
		if i == 0 && m.T != "hello" || i == 1 && m.T != "ack" {
			return rows, fmt.Errorf("got %+v", m)
		}
		for _, r := range m.Rows {
			rows++
			if !strings.HasPrefix(r.S, strings.TrimSuffix(mine[0], "0")) || !strings.Contains(string(r.V), `"`+r.S+`"`) {
				return rows, fmt.Errorf("got a row of %s", r.S)
			}
		}
	}
	return rows, nil
}
