// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// Where ticks are many a few of them count for all, in whatever order topics tick: here all take turns, which would show
// if the ones that are counted were a fixed number apart.
func TestLoadsAreSampled(t *testing.T) {
	t.Parallel()
	const names, rounds, perSecond = 400, 2000, 20 // 8,000 ticks a second.
	l := newLoaded(t, names, window)
	var name [names]string
	for i := range name {
		name[i] = fmt.Sprintf("T%03d", i)
		l.hold(name[i], 1+i%2)
	}
	counted := int64(0)
	for round := range rounds {
		if round%perSecond == 0 {
			if round > perSecond { // The first second is one in which all are counted.
				for i := range l.shards {
					counted += l.shards[i].loads.counted
				}
			}
			l.pass(1000)
		}
		for i := range name {
			l.Publish(name[i], strings.Repeat("1", 1+i/4), Meta{At: l.now + int64(round%perSecond)*50})
		}
	}
	check(t, l.Table)
	if most := int64(1.3 * (shardMask + 1) * countedMost * rounds / perSecond); counted > most || counted < most/2 {
		t.Errorf("%d ticks were counted, want %d at most", counted, most)
	}
	var ticks, noise float64
	top := l.Top(ByTicks, 1000, anyTopic)
	if len(top) != names {
		t.Fatalf("%d topics of %d", len(top), names)
	}
	for _, of := range top {
		if of.Ticks.Over != 0 || of.Ticks.Noise == 0 || of.Ticks.Noise > 2*of.Ticks.Sum {
			t.Errorf("%+v", of)
		}
		// Twice three standard deviations are met by none of a hundred million.
		if off := of.Ticks.PerSecond - perSecond; math.Abs(off) > 2*of.Ticks.Noise*of.Ticks.PerSecond/of.Ticks.Sum+1 {
			t.Errorf("%s has %+v, want %d a second", of.Topic, of.Ticks, perSecond)
		}
		ticks += of.Ticks.PerSecond
		noise = math.Hypot(noise, of.Ticks.Noise*of.Ticks.PerSecond/of.Ticks.Sum)
	}
	if want := float64(names * perSecond); math.Abs(ticks-want) > 2*noise+.02*want {
		t.Errorf("%v ticks a second of all, want %v: one side is favoured", ticks, want)
	}
	// A tick is sent to a tenth of the subscribers, as there are ten in a window.
	for _, of := range l.Top(ByBytes, 40, anyTopic) {
		var i int
		_, _ = fmt.Sscanf(of.Topic, "T%03d", &i)
		want := perSecond / 10 * float64(1+i%2) * float64(len(`{"s":"T000","n":1000,"v":},`)+1+i/4)
		if off := of.Bytes.PerSecond - want; i < names/2 || math.Abs(off) > 2*of.Bytes.Noise*of.Bytes.PerSecond/of.Bytes.Sum+.05*want {
			t.Errorf("%+v, want %v", of, want)
		}
	}
	// When fewer come all of them are counted again, however long the next was to be skipped to.
	l.pass(2000)
	for i := range l.shards {
		if s := &l.shards[i]; s.loads.each != 1 || s.skip != 1 {
			t.Errorf("shard %d counts one in %d, the next after %d", i, s.loads.each, s.skip)
		}
	}
}
