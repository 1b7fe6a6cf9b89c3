// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	watchers    = 50
	watchTopics = 10 // Of each. They all tick 10 times a second.
	// watchWindow is short, so that what holds the edge up for less than the usual
	// window shows as well.
	watchWindow = "200" // Milliseconds.
	// restless is the time between two looks of this process at itself.
	restless = 10 * time.Millisecond
)

// watch is ordinary subscribers, which hear from the edge five times a second.
type watch struct {
	start time.Time
	peers []*peer
	last  [watchers]atomic.Int64 // When each heard something, since start.
	gap   atomic.Int64           // The longest since reset.
	pause atomic.Int64           // The longest that this process stood still, since reset.
	first atomic.Pointer[string] // Which was lost first, and why.
	going sync.WaitGroup
	stop  chan struct{}
}

func startWatch(e *edge) (*watch, error) {
	w := &watch{start: time.Now(), stop: make(chan struct{})}
	for i := range watchers {
		names := list(watchTopics, func(k int) string { return topicName(i*7 + k) })
		p, err := e.upgraded("?interval=" + watchWindow + "&topics=" + strings.Join(names, ","))
		if err != nil {
			w.end()
			return nil, fmt.Errorf("subscriber %d: %w", i, err)
		}
		_ = p.SetDeadline(time.Time{}) // A silence is measured, and is no error.
		w.peers = append(w.peers, p)
		w.last[i].Store(int64(time.Since(w.start)))
		w.going.Go(func() { w.listen(i, p) })
	}
	w.going.Go(w.lookAtOurselves)
	return w, nil
}

// listen reads for one subscriber until the end.
func (w *watch) listen(i int, p *peer) {
	for {
		if _, _, err := p.heard(); err != nil {
			select {
			case <-w.stop:
			default:
				text := fmt.Sprintf("number %d: %v", i, err)
				w.first.CompareAndSwap(nil, &text)
			}
			return
		}
		now := int64(time.Since(w.start))
		raise(&w.gap, now-w.last[i].Swap(now))
	}
}

// lookAtOurselves measures how long this process stands still. That is nothing that the
// edge does.
func (w *watch) lookAtOurselves() {
	tick := time.NewTicker(restless)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
			raise(&w.pause, int64(time.Since(last)-restless))
			last = time.Now()
		}
	}
}

func raise(most *atomic.Int64, to int64) {
	for have := most.Load(); to > have; have = most.Load() {
		if most.CompareAndSwap(have, to) {
			return
		}
	}
}

func (w *watch) reset() {
	w.gap.Store(0)
	w.pause.Store(0)
}

// worst is the longest that a subscriber heard nothing since the reset, its silence of
// now included, and how long it may have been: limit, and what we stood still ourselves.
func (w *watch) worst(limit time.Duration) (gap, allowed time.Duration) {
	most := w.gap.Load()
	now := int64(time.Since(w.start))
	for i := range w.last {
		most = max(most, now-w.last[i].Load())
	}
	return time.Duration(most), limit + time.Duration(w.pause.Load())
}

// lost says which was lost first, nothing if nobody was.
func (w *watch) lost() string {
	if text := w.first.Load(); text != nil {
		return *text
	}
	return ""
}

func (w *watch) end() {
	close(w.stop)
	for _, p := range w.peers {
		_ = p.Close()
	}
	w.going.Wait()
}
