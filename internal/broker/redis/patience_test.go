// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"slices"
	"testing"

	"tickedge/internal/broker"
)

// crowd is a desk with so many topics, T0 and on. A check of its invariants would take minutes.
func crowd(t *testing.T, n int) *desk {
	t.Helper()
	d := newDesk(t, 2*n)
	for i := range n {
		name := fmt.Sprint("T", i)
		id, err := d.table.Acquire([]byte(name), uint64(i%1000))
		if err != nil {
			t.Fatal(err)
		}
		d.ids[name] = id
	}
	d.apply(d.table.Changes(0, nil, n))
	return d
}

// talk has Redis answer all that it is asked for, and refuse each command with a topic that is not
// permitted. It returns how many commands that were, and how often each topic was asked for.
func (d *desk) talk(most int, permitted func(topic string) bool) (commands int, times map[string]int) {
	times = make(map[string]int)
	for {
		c := d.next(most)
		if len(c.topics) == 0 {
			return commands, times
		}
		commands++
		for _, topic := range c.topics {
			times[topic]++
		}
		if slices.ContainsFunc(c.topics, func(topic string) bool { return !permitted(topic) }) {
			d.refused(broker.NotPermitted)
			continue
		}
		for _, topic := range c.topics {
			d.answer(c.name, topic)
			d.confirm(topic)
		}
	}
}

func none(string) bool { return false }
func all(string) bool  { return true }

// A topic that was refused is asked for again, soon at first and each 8 beats in the end.
func TestRefusedAreAskedForAgain(t *testing.T) {
	d := newDesk(t, 10)
	d.want("A")
	if n, _ := d.talk(commandMax, none); n != 1 || !d.isStale("A") {
		t.Fatalf("%d commands, stale: %v", n, d.isStale("A"))
	}
	var at []int
	for i := range 100 {
		d.beat()
		if n, _ := d.talk(commandMax, none); n > 0 {
			at = append(at, i)
		}
		d.check()
	}
	if len(at) < 12 || at[0] != 0 || at[1] > 2 {
		t.Errorf("asked for at the beats %v", at)
	}
	for i := range at[1:] {
		if at[i+1]-at[i] > 8 {
			t.Errorf("asked for at the beats %v", at)
		}
	}
	d.reset() // The next link asks at once.
	d.ends(true, "what is refused is stale")
	if n, _ := d.talk(commandMax, all); n != 1 {
		t.Fatalf("%d commands", n)
	}
	d.check()
	if d.repairs(d.fetchOf("A"), "1"); d.isStale("A") || d.refusedNow() != [broker.Causes]int64{} {
		t.Errorf("stale: %v, refused: %v", d.isStale("A"), d.refusedNow())
	}
	d.leave("A")
	d.want("A") // As a new one.
	d.expect(subscribe, "A")
}

// Who is given up while it is refused costs Redis no UNSUBSCRIBE.
func TestRefusedAreForgotten(t *testing.T) {
	d := newDesk(t, 10)
	d.want("A")
	d.talk(commandMax, none)
	d.leave("A")
	if d.beat(); d.len() != 0 {
		t.Errorf("%d topics are left", d.len())
	}
	d.expect("")
	if n := d.refusedNow(); n != [broker.Causes]int64{} {
		t.Errorf("refused: %v", n)
	}
}

// Many topics that are refused are all asked for within 8 beats, and cost no more than some
// hundred commands in each. Nobody else waits for them, and each has its turn
// alone, so that one that is permitted does not suffer for ever from those beside it.
func TestManyRefusedCostLittle(t *testing.T) {
	const many = 20_000
	d := crowd(t, many)
	d.talk(commandMax, none)
	if n := d.refusedNow()[broker.NotPermitted]; n != many {
		t.Fatalf("%d are refused", n)
	}
	seen := make(map[string]bool)
	spread := func(beats int) {
		t.Helper()
		for range beats {
			d.beat()
			n, times := d.talk(commandMax, none)
			if n > trialsMax+groupsMax {
				t.Fatalf("%d commands in a beat", n)
			}
			for topic, n := range times {
				if seen[topic] = true; n > 2 { // In company, and alone.
					t.Fatalf("%s was asked for %d times in a beat", topic, n)
				}
			}
		}
	}
	spread(16) // Some have just been asked for when they come to a slower list.
	clear(seen)
	spread(8)
	if len(seen) != many {
		t.Errorf("%d of %d topics were asked for in 8 beats", len(seen), many)
	}

	// New ones go first.
	d.beat()
	d.next(commandMax) // One command in each beat is not for new ones.
	id, _ := d.table.Acquire([]byte("NEW"), 7)
	d.ids["NEW"] = id
	d.apply(d.table.Changes(0, nil, 1))
	if c := d.next(commandMax); len(c.topics) != 1 || c.topics[0] != "NEW" {
		t.Fatalf("%d topics are asked for before a new one", len(c.topics))
	}
	d.refused(broker.NotPermitted)
	d.answer(subscribe, "NEW")
	d.confirm("NEW")
	d.talk(commandMax, none)

	// One that is permitted is served in time, though all the others are not.
	const one = "T7777"
	beats := 0
	for ; d.topics[one].ask != asked; beats++ {
		if d.beat(); beats > 2*many/trialsMax {
			t.Fatalf("%s is not served after %d beats: %+v", one, beats, *d.topics[one])
		}
		d.talk(commandMax, func(topic string) bool { return topic == one })
	}

	// All are, when all may be had.
	commands := 0
	for range 8 {
		d.beat()
		n, _ := d.talk(commandMax, all)
		commands += n
	}
	if n := d.refusedNow(); n != [broker.Causes]int64{} || commands > 8*(trialsMax+groupsMax) {
		t.Errorf("refused: %v, after %d commands", n, commands)
	}
}

// In a cluster each topic has a command of its own.
func TestManyRefusedOneByOne(t *testing.T) {
	const many = 20_000
	d := crowd(t, many)
	d.talk(1, none)
	for range 16 {
		d.beat()
		if n, _ := d.talk(1, none); n > trialsMax {
			t.Fatalf("%d commands in a beat", n)
		}
	}
	for beats := 0; d.refusedNow()[broker.NotPermitted] > 0; beats++ {
		if d.beat(); beats > 8 {
			t.Fatalf("%v are refused after 8 beats", d.refusedNow())
		}
		d.talk(1, all)
	}
}

// The same for values, which are read one by one.
func TestManyRefusedReadsCostLittle(t *testing.T) {
	const many = 20_000
	d := crowd(t, many)
	d.talk(commandMax, all)
	read := func(refuse bool) (n int) {
		for {
			batch := d.fetches(nil, fetchMax)
			if len(batch) == 0 {
				return n
			}
			n += len(batch)
			for _, f := range batch {
				if refuse {
					d.forbidden(f, broker.WrongType)
				} else {
					d.unrepaired(f)
				}
			}
		}
	}
	if n := read(true); n != many {
		t.Fatalf("%d are read at first", n)
	}
	if n := read(true); n != 0 {
		t.Fatalf("%d are read again at once", n)
	}
	for range 20 {
		d.beat()
		if n := read(true); n > trialsMax {
			t.Fatalf("%d are read again in a beat", n)
		}
	}
	// A new one does not wait for them.
	for range 8 {
		d.beat()
	}
	id, _ := d.table.Acquire([]byte("NEW"), 7)
	d.ids["NEW"] = id
	d.apply(d.table.Changes(0, nil, 1))
	d.talk(commandMax, all)
	if first := d.fetches(nil, fetchMax); !slices.ContainsFunc(first, func(f fetch) bool { return f.topic == "NEW" }) {
		t.Error("a new topic is not in the next pipeline")
	} else {
		for _, f := range first {
			d.forbidden(f, broker.WrongType)
		}
	}
	for beats := 0; d.refusedNow()[broker.WrongType] > 0; beats++ {
		if d.beat(); beats > 8 {
			t.Fatalf("%v are refused after 8 beats", d.refusedNow())
		}
		read(false)
	}
}

// When Redis as a whole refuses to be read, it is asked once and not for each topic; those that
// are new are stale at once, and those of a gap keep the feed down, which says it all.
func TestWholeRedisRefuses(t *testing.T) {
	for cause, want := range map[broker.Cause]struct{ behind, stale bool }{
		broker.Loading:     {true, true},
		broker.Down:        {true, true},
		broker.Busy:        {true, true},
		broker.NotLetIn:    {false, true},
		broker.Unreachable: {true, false},
	} {
		t.Run(cause.Label(), func(t *testing.T) {
			d := newDesk(t, 10)
			d.want("OLD")
			d.ends(true, "nothing was wanted at the beginning")
			d.serve("OLD", "1")
			d.reset()
			d.want("NEW0")
			d.want("NEW1")
			d.talk(commandMax, all)
			batch := d.fetches(nil, 2)
			d.fail(batch, cause)
			d.failAll(cause)
			d.check()
			if left := d.fetches(nil, fetchMax); len(left) > 0 {
				t.Errorf("%v are to be fetched", left)
			}
			if d.isStale("NEW0") != want.stale || d.isStale("NEW1") != want.stale || d.isStale("OLD") == want.behind {
				t.Errorf("stale: %v, %v, and %v of the gap", d.isStale("NEW0"), d.isStale("NEW1"), d.isStale("OLD"))
			}
			d.ends(!want.behind, "OLD was not read")
			for range failsMax {
				d.refetch()
				d.fail(d.fetches(nil, 1), cause)
				d.failAll(cause)
			}
			if !d.isStale("NEW0") || !d.isStale("NEW1") {
				t.Error("after many attempts, nobody is told")
			}
			d.refetch()
			for _, f := range d.fetches(nil, fetchMax) {
				d.repairs(f, "2")
			}
			if d.check(); d.isStale("NEW0") || d.isStale("NEW1") || d.isStale("OLD") || d.refusedNow() != [broker.Causes]int64{} {
				t.Errorf("refused: %v", d.refusedNow())
			}
		})
	}
}

// UNSUBSCRIBE may be refused too. What Redis keeps is counted.
func TestUnsubscribeIsRefused(t *testing.T) {
	d := newDesk(t, 10)
	d.want("A")
	d.want("B")
	d.talk(commandMax, all)
	if n := d.keep(); n != 0 {
		t.Errorf("%d are kept", n)
	}
	d.leave("A")
	d.leave("B")
	d.expect(unsubscribe, "A", "B")
	if n := d.keep(); n != 2 {
		t.Errorf("%d are kept, want 2", n)
	}
	d.check()
	if d.reset(); d.kept != 0 || d.len() != 0 {
		t.Errorf("%d are kept over the next link, %d topics", d.kept, d.len())
	}
}
