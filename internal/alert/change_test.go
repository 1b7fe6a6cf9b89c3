// SPDX-License-Identifier: Apache-2.0

package alert

import "testing"

// TestChangeWhileFiring has a user change an alert before what the engine made of it is stored: it has generations of its own by then, with
// numbers that are the user's in the store.
func TestChangeWhileFiring(t *testing.T) {
	for name, armings := range map[string]int{"as often": 1, "once": 2} {
		t.Run(name, func(t *testing.T) {
			e := NewEngine()
			a := Alert{ID: 1, Spec: Spec{Symbol: "A", Condition: Above, Target: Whole(100), Repeat: true}, State: Active, Arm: 1, Armed: 1}
			e.Put(a)
			at := int64(10)
			for range armings {
				e.Price("A", at, Whole(101), nil)
				e.Price("A", at+1, Whole(99), nil)
				at += 2
			}
			changed := a
			changed.Arm, changed.Armed, changed.Target = 2, at, Whole(200)
			e.Put(changed)
			e.Put(a) // Late.
			if out := e.Price("A", at+1, Whole(150), nil); len(out) != 0 {
				t.Errorf("what it was fires yet: %+v", out)
			}
			if out := e.Price("A", at+2, Whole(201), nil); len(out) != 1 || out[0].Firing.Arm != 2 {
				t.Errorf("what it is has done %+v, want a firing of generation 2", out)
			}
		})
	}
}

// TestStoreIsBehind has the store tell, one by one, what the engine did: nothing of that is a change.
func TestStoreIsBehind(t *testing.T) {
	e := NewEngine()
	a := Alert{ID: 1, Spec: Spec{Symbol: "A", Condition: Above, Target: Whole(100), Repeat: true}, State: Active, Arm: 1, Armed: 1}
	e.Put(a)
	var told []Alert
	for at := int64(10); at < 16; at += 2 {
		e.Price("A", at, Whole(101), nil)
		a.State, a.Last.At = Waiting, at
		told = append(told, a)
		e.Price("A", at+1, Whole(99), nil)
		a.State, a.Arm, a.Armed = Active, a.Arm+1, at+1
		told = append(told, a)
	}
	for _, a := range told {
		e.Put(a)
	}
	if out := e.Price("A", 20, Whole(101), nil); len(out) != 1 || out[0].Firing.Arm != 4 {
		t.Errorf("it does %+v, want a firing of generation 4", out)
	}
}
