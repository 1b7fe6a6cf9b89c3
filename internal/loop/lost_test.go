// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tickedge/internal/fanout"
	"tickedge/internal/topics"
)

// viewer is a client with some topics, and what it has seen of them.
type viewer struct {
	*raw
	topics []int
	value  map[int]int
	count  map[int]uint64
}

func topicName(i int) string { return fmt.Sprintf("topic-%d", i) }

// take reads one message. Numbers never go down, neither the values nor the counts.
func (v *viewer) take() error {
	m, err := v.read()
	if err != nil {
		return err
	}
	for _, r := range m.Rows {
		i, err1 := strconv.Atoi(strings.TrimPrefix(r.S, "topic-"))
		value, err2 := strconv.Atoi(string(r.V))
		if err1 != nil || err2 != nil {
			return fmt.Errorf("row %+v", r)
		}
		if value < v.value[i] || r.N < v.count[i] {
			return fmt.Errorf("%s went from %d (n %d) to %d (n %d)", r.S, v.value[i], v.count[i], value, r.N)
		}
		v.value[i], v.count[i] = value, r.N
	}
	return nil
}

func (v *viewer) isUpToDate(final []atomic.Int64) bool {
	for _, i := range v.topics {
		if int64(v.value[i]) != final[i].Load() {
			return false
		}
	}
	return true
}

// Whatever clients do, those that stay end with the last value of each of their
// topics, and see none go back. Many topics make a gather long, so that ticks are
// committed while it is under way.
func TestNoUpdateIsLost(t *testing.T) {
	const topicCount, writers, viewers, each, runs = 2000, 4, 24, 250, 2500 * time.Millisecond
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	e := serve(t, func(c *Config) { c.Shard.Heartbeat = 500 * time.Millisecond }) // It has viewers look again.
	final := make([]atomic.Int64, topicCount)                                     // The last value that was committed.
	var writing, viewing sync.WaitGroup
	var quiet atomic.Bool
	stop, late := time.Now().Add(runs), time.Now().Add(runs+patience)
	tooLittle := func() bool {
		st := e.Stats()
		return st.Count[fanout.UpdateRows] < 1000 || st.Count[fanout.Snapshots] < viewers
	}
	wanted := func() bool { // A busy machine takes longer for as much.
		now := time.Now()
		return now.Before(stop) || now.Before(late) && tooLittle()
	}
	for w := range writers {
		writing.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for n := 1; wanted(); n++ {
				<-tick.C
				for range 200 {
					i := rng.IntN(topicCount/writers)*writers + w
					if e.table.Publish(topicName(i), strconv.Itoa(n), topics.Meta{}) == topics.Committed {
						final[i].Store(int64(n))
					}
				}
			}
		})
	}
	failed := make(chan error, viewers)
	for id := range viewers {
		viewing.Go(func() {
			if err := view(e, rand.New(rand.NewPCG(seed, uint64(1000+id))), each, final, &quiet); err != nil {
				failed <- fmt.Errorf("viewer %d: %w", id, err)
			}
		})
	}
	writing.Wait()
	quiet.Store(true)
	viewing.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	if tooLittle() {
		t.Errorf("that was too little to show anything: %+v", e.Stats().Stats)
	}
}

// view watches through one connection after another, pauses now and then, changes its
// topics, and stays with the last connection until it is up to date.
func view(e *edge, rng *rand.Rand, each int, final []atomic.Int64, quiet *atomic.Bool) error {
	for {
		c, err := connect(e.Addr(), 3*patience)
		if err != nil {
			return err
		}
		v := &viewer{raw: c, value: make(map[int]int), count: make(map[int]uint64)}
		v.topics = rng.Perm(len(final))[:each]
		last, err := v.watch(rng, final, quiet)
		if rng.IntN(2) == 0 {
			c.close()
		} else {
			c.reset()
		}
		if last || err != nil {
			return err
		}
	}
}

func (v *viewer) watch(rng *rand.Rand, final []atomic.Int64, quiet *atomic.Bool) (last bool, err error) {
	list := make([]string, len(v.topics))
	for at, i := range v.topics {
		list[at] = topicName(i)
	}
	half := len(list) / 2
	if err := v.handshake("?interval=100&topics=" + strings.Join(list[:half], ",")); err != nil {
		return false, err
	}
	if _, err := v.Write(subscribe(list[half:]...)); err != nil {
		return false, err
	}
	for frames := 3 + rng.IntN(10); frames > 0; frames-- {
		if quiet.Load() {
			break
		}
		switch rng.IntN(6) {
		case 0: // It does not read for a while.
			<-time.After(time.Duration(rng.IntN(250)) * time.Millisecond)
		case 1: // A topic goes, and comes back.
			name := list[rng.IntN(len(list))]
			again := append(command(`{"op":"unsubscribe","topics":[%q]}`, name), subscribe(name)...)
			if _, err := v.Write(again); err != nil {
				return false, err
			}
		}
		if err := v.take(); err != nil {
			return false, err
		}
	}
	if !quiet.Load() && rng.IntN(2) == 0 {
		return false, nil
	}
	// Nothing but heartbeats comes when nothing changes, so look at what is missing at a deadline.
	_ = v.SetReadDeadline(time.Now().Add(3 * patience))
	for !quiet.Load() || !v.isUpToDate(final) {
		if err := v.take(); err != nil {
			missing := 0
			for _, i := range v.topics {
				if int64(v.value[i]) != final[i].Load() {
					missing++
				}
			}
			return true, fmt.Errorf("%d of %d topics are not up to date: %w", missing, len(v.topics), err)
		}
	}
	return true, nil
}
