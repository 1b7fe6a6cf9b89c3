// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"testing"
	"time"

	"tickedge/internal/fanout"
	"tickedge/internal/topics"
)

func TestSharesOfALoad(t *testing.T) {
	at := time.Unix(1_000_000, 0)
	before := Load{Busy: time.Minute, Late: time.Second, At: at}
	after := func(passed, busy, late time.Duration) Load {
		return Load{Busy: time.Minute + busy, Late: time.Second + late, At: at.Add(passed)}
	}
	idle := after(time.Second, time.Second, time.Second)
	idle.Idle = true
	for name, c := range map[string]struct {
		before, l  Load
		now        time.Duration // After before.
		busy, late float64
	}{
		"a half":                         {before, after(2*time.Second, time.Second, 0), 2 * time.Second, 0.5, 0},
		"a half, and a quarter late":     {before, after(2*time.Second, time.Second, time.Second/2), 2 * time.Second, 0.5, 0.25},
		"all":                            {before, after(2*time.Second, 2*time.Second, 2*time.Second), 2 * time.Second, 1, 1},
		"it catches up":                  {before, after(2*time.Second, 2*time.Second, 3*time.Second), 2 * time.Second, 1, 1},
		"nothing new yet":                {before, before, 300 * time.Millisecond, 0, 0},
		"a turn that does not end":       {before, before, 2 * time.Second, 1, 1},
		"it was late, and is not":        {before, after(9*time.Second, 0, 0), 9500 * time.Millisecond, 0, 0},
		"no conns, and so nothing comes": {before, idle, time.Hour, 0, 0},
		"it never turned":                {Load{}, Load{}, time.Hour, 0, 0},
		"it has just begun":              {Load{}, before, time.Second, 0, 0},
	} {
		if busy, late := c.l.Shares(c.before, at.Add(c.now)); busy != c.busy || late != c.late {
			t.Errorf("%s: %v and %v, want %v and %v", name, busy, late, c.busy, c.late)
		}
	}
}

// A turn counts from when it was called for: what kept it waiting is load too.
func TestSpend(t *testing.T) {
	at := time.Unix(1_000_000, 0)
	l := &loop{}
	l.server = &Server{cfg: quick()}
	l.shard = fanout.New(quick().Shard, topics.New(topics.Config{Max: 1, Start: at}), nil, at)
	for i, turn := range []struct {
		due, end, behind int // Milliseconds.
		busy, late       int
	}{
		{0, 3, 0, 0, 0},      // Of the first one it is not known what was before.
		{5, 9, 5, 4, 0},      // It waited, or took, for 4 ms.
		{8, 12, 10, 7, 0},    // It was called for while the one before it ran. A tenth of a window is not late.
		{20, 20, 10, 7, 0},   // It took no time.
		{25, 95, 70, 77, 18}, // Something else had the loop.
	} {
		l.due = at.Add(time.Duration(turn.due) * time.Millisecond)
		end := at.Add(time.Duration(turn.end) * time.Millisecond)
		l.spend(end, time.Duration(turn.behind)*time.Millisecond)
		busy, late := time.Duration(turn.busy)*time.Millisecond, time.Duration(turn.late)*time.Millisecond
		if l.load != (Load{Busy: busy, Late: late, At: end, Idle: true}) {
			t.Errorf("turn %d: %+v, want %v and %v", i, l.load, busy, late)
		}
	}
}

// What a turn has not come to is late when another one has.
func TestSpendOfATurnThatIsNotThrough(t *testing.T) {
	at := time.Unix(1_000_000, 0)
	l := &loop{}
	l.server = &Server{cfg: quick()}
	l.shard = fanout.New(quick().Shard, topics.New(topics.Config{Max: 1, Start: at}), nil, at)
	l.shard.At(at.Add(time.Second))
	behind := l.shard.Lag()
	if l.spend(at.Add(time.Second), behind); behind < 900*time.Millisecond || l.load.Late != 0 {
		t.Errorf("%v behind: %+v", behind, l.load)
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
	l := e.Loads()[0]
	if busy, late := l.Shares(before, l.At.Add(stuckAfter+time.Millisecond)); busy != 1 || late != 1 {
		t.Errorf("%+v is no full load", l)
	}
	const hold = 100 * time.Millisecond
	until(t, func() bool { return time.Since(since) >= hold }, "time to pass")
	close(release)
	until(t, func() bool { return e.Loads()[0].At.After(since.Add(hold)) }, "the load to be published")
	// The wheel knows no better than two slots how far it is behind.
	late := tooOld(hold-10*time.Millisecond, e.cfg.Shard.Interval)
	if l := e.Loads()[0]; l.Busy-before.Busy < hold || l.Late-before.Late < late {
		t.Errorf("%+v after %+v: want %v more, and %v of it late", l, before, hold, late)
	}
}

// Of rows whose ages are those of a window, and more by what a flush is late, some are older than a window and a tenth.
func TestTooOld(t *testing.T) {
	const window = 500 * time.Millisecond
	for behind, want := range map[time.Duration]time.Duration{
		0: 0, 50 * time.Millisecond: 0, -time.Second: 0,
		150 * time.Millisecond:  10 * time.Millisecond,  // None of the first 50 ms, to a fifth of the last.
		550 * time.Millisecond:  250 * time.Millisecond, // All in the end.
		1550 * time.Millisecond: 1250 * time.Millisecond,
		1000 * time.Hour:        1000*time.Hour - 300*time.Millisecond,
	} {
		if got := tooOld(behind, window); got != want {
			t.Errorf("%v behind: %v, want %v", behind, got, want)
		}
	}
}
