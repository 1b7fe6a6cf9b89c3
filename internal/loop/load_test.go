// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"testing"
	"time"

	"tickedge/internal/fanout"
	"tickedge/internal/topics"
)

func TestShareOfALoad(t *testing.T) {
	at := time.Unix(1_000_000, 0)
	before := Load{Busy: time.Minute, At: at}
	for name, c := range map[string]struct {
		before, l Load
		now       time.Duration // After before.
		want      float64
	}{
		"a half":                         {before, Load{Busy: time.Minute + time.Second, At: at.Add(2 * time.Second)}, 2 * time.Second, 0.5},
		"all":                            {before, Load{Busy: time.Minute + 2*time.Second, At: at.Add(2 * time.Second)}, 2 * time.Second, 1},
		"clocks of turns may overlap":    {before, Load{Busy: time.Minute + 3*time.Second, At: at.Add(2 * time.Second)}, 2 * time.Second, 1},
		"nothing new yet":                {before, before, 300 * time.Millisecond, 0},
		"a turn that does not end":       {before, before, 2 * time.Second, 1},
		"it was late, and is not":        {before, Load{Busy: time.Minute, At: at.Add(9 * time.Second)}, 9500 * time.Millisecond, 0},
		"no conns, and so nothing comes": {before, Load{Busy: time.Minute + time.Second, At: at.Add(time.Second), Idle: true}, time.Hour, 0},
		"it never turned":                {Load{}, Load{}, time.Hour, 0},
		"it has just begun":              {Load{}, Load{Busy: time.Second, At: at}, time.Second, 0},
	} {
		if got := c.l.Share(c.before, at.Add(c.now)); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// A turn counts from when it was called for: what kept it waiting is load too.
func TestSpend(t *testing.T) {
	at := time.Unix(1_000_000, 0)
	l := &loop{}
	l.shard = fanout.New(quick().Shard, topics.New(topics.Config{Max: 1, Start: at}), nil, at)
	for i, turn := range []struct {
		due, end int // Milliseconds.
		want     int
	}{
		{0, 3, 0},    // Of the first one it is not known what was before.
		{5, 9, 4},    // It waited, or took, for 4 ms.
		{8, 12, 7},   // It was called for while the one before it ran.
		{20, 20, 7},  // It took no time.
		{25, 95, 77}, // Something else had the loop.
	} {
		l.due = at.Add(time.Duration(turn.due) * time.Millisecond)
		end := at.Add(time.Duration(turn.end) * time.Millisecond)
		l.spend(end)
		if want := time.Duration(turn.want) * time.Millisecond; l.load.Busy != want || !l.load.At.Equal(end) || !l.load.Idle {
			t.Errorf("turn %d: %+v, want %v busy", i, l.load, want)
		}
	}
}

// Whatever keeps a loop from its turns is load, and so is a turn that does not end while it does not.
func TestLoadOfALoopThatIsHeldUp(t *testing.T) {
	e := serve(t, func(c *Config) { c.Loops = 1 })
	if got := e.Loads(); len(got) != 1 || got[0].Busy != 0 {
		t.Errorf("%+v before anybody has come", got)
	}
	dialRaw(t, e.Addr()).upgrade("?topics=A")
	until(t, func() bool { l := e.Loads()[0]; return !l.At.IsZero() && !l.Idle }, "the load to be published")
	before := e.Loads()[0]
	held, release := make(chan time.Time), make(chan struct{})
	e.loops[0].ask(func() {
		held <- time.Now()
		<-release
	})
	since := <-held
	// It may have published once more before.
	if l := e.Loads()[0]; l.Share(before, l.At.Add(stuckAfter+time.Millisecond)) != 1 {
		t.Errorf("%+v is no full load", l)
	}
	const hold = 50 * time.Millisecond
	until(t, func() bool { return time.Since(since) >= hold }, "time to pass")
	close(release)
	until(t, func() bool { return e.Loads()[0].At.After(since.Add(hold)) }, "the load to be published")
	if l := e.Loads()[0]; l.Busy-before.Busy < hold {
		t.Errorf("%v more in which the loop was busy, want %v at least", l.Busy-before.Busy, hold)
	}
}
