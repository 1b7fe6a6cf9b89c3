// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
	"time"
)

// stamped is a table with a source that is up, and its two clocks.
type stamped struct {
	*Table
	t            *testing.T
	wall, steady int64
}

const testTolerance = 2000

func newStamped(t *testing.T) *stamped {
	s := &stamped{t: t, wall: 1_700_000_000_000, steady: 5_000_000}
	s.Table = New(Config{Max: 100, Linger: linger, ResumeTolerance: testTolerance * time.Millisecond})
	s.SetSourceState(0, true, 1)
	s.stamp(0)
	return s
}

// stamp lets some time pass and takes a stamp. The source was heard just now.
func (s *stamped) stamp(ms int64) *Offer {
	s.wall += ms
	s.steady += ms
	s.Heard(0, s.steady)
	s.Stamp(func() (int64, int64) { return s.wall, s.steady })
	return s.Offer()
}

func (s *stamped) wantOffer() string {
	s.t.Helper()
	o := s.Offer()
	if o == nil {
		s.t.Fatal("there is no token")
	}
	return o.Token
}

// want fails if a token is redeemed, or not.
func (s *stamped) want(token string, ok bool) Since {
	s.t.Helper()
	since, got := s.Redeem([]byte(token))
	if got != ok {
		s.t.Fatalf("%q is redeemed: %v, want %v", token, got, ok)
	}
	return since
}

func (s *stamped) wantHas(id ID, since Since, want bool) {
	s.t.Helper()
	if got := s.Has(id, since); got != want {
		s.t.Fatalf("who resumes has the row: %v, want %v", got, want)
	}
}

// topic is one whose value was fetched.
func (s *stamped) topic(name, value string) ID {
	s.t.Helper()
	id := acquire(s.t, s.Table, name)
	s.repair(name, value)
	return id
}

func (s *stamped) repair(name, value string) Outcome {
	mark, _ := s.Mark(name)
	return s.Repair(name, value, mark, Meta{})
}

func TestTokensAreSmallAndSafe(t *testing.T) {
	s := newStamped(t)
	if token := s.wantOffer(); len(token) > TokenMax || !regexp.MustCompile(`^[A-Za-z0-9_-]+$`).MatchString(token) {
		t.Errorf("token %q", token)
	}
}

func TestResumeAtTheSameTable(t *testing.T) {
	s := newStamped(t)
	a, b := s.topic("A", "1"), s.topic("B", "1")
	s.stamp(1000)
	token := s.wantOffer()
	since := s.want(token, true)
	s.wantHas(a, since, true)
	publish(t, s.Table, "A", "2")
	s.wantHas(a, since, false)
	s.wantHas(b, since, true)
	for range stampsKept - 1 {
		s.stamp(1000)
	}
	s.wantHas(b, s.want(token, true), true)
	s.stamp(1000)
	s.want(token, false) // Too old.
}

// The time of a token is when the source was heard, by the clock of the host.
func TestResumeAtAnotherTable(t *testing.T) {
	one, two := newStamped(t), newStamped(t)
	a := two.topic("A", "1")
	b := two.topic("B", "1")
	for range 10 {
		one.stamp(1000)
		two.stamp(1000)
	}
	publish(t, two.Table, "A", "2") // Behind the stamp of the tenth second.
	for range 2 {
		one.stamp(1000)
		two.stamp(1000)
	}
	since := two.want(one.wantOffer(), true)
	two.wantHas(a, since, false) // Within the tolerance.
	two.wantHas(b, since, true)
	for range 3 {
		one.stamp(1000)
		two.stamp(1000)
	}
	two.wantHas(a, two.want(one.wantOffer(), true), true)
	one.steady += 5000 // The source was heard a while ago.
	one.wall += 5000
	one.Heard(0, one.steady-60_000)
	one.Stamp(func() (int64, int64) { return one.wall, one.steady })
	two.want(one.wantOffer(), false) // Before the ring began.
}

func TestTokensThatAreNoGood(t *testing.T) {
	s, other := newStamped(t), newStamped(t)
	early := other.wantOffer()
	for range 5 {
		s.stamp(1000)
		other.stamp(1000)
	}
	token, foreign := s.wantOffer(), other.wantOffer()
	change := func(token string, i int, to byte) string {
		b, _ := base64.RawURLEncoding.DecodeString(token)
		b[i] = to
		return base64.RawURLEncoding.EncodeToString(b)
	}
	for _, bad := range []string{
		"", "x", token + "A", token[1:], strings.Repeat("*", len(token)), strings.Repeat("_", len(token)), strings.Repeat("A", len(token)),
		change(token, 0, 2),              // Another version.
		change(token, tokenSize-1, 0),    // A stamp that never was.
		change(token, tokenSize-1, 0xff), // One that is to come.
		change(token, tokenSize-5, 0x3f), // A watermark that is not that of its stamp.
		change(foreign, 0, 2),
		change(foreign, 0, tokenVersion|tokenLocal), // Good for its own table alone.
		change(foreign, 9, 0x7f),                    // Of the far future.
		change(foreign, 9, 0x80),                    // Before there was time.
		early,                                       // The ring does not go back so far.
	} {
		s.want(bad, false)
	}
	s.want(foreign, true)
	s.want(change(foreign, tokenSize-1, 0xff), true) // Which is of no concern to another table.
	for range 3 {
		other.stamp(1000)
	}
	s.want(other.wantOffer(), false) // Of the future.
	s.want(token, true)
}

func TestTheOfferStandsStill(t *testing.T) {
	s := newStamped(t)
	before := s.stamp(1000)
	s.SetSourceState(0, false, 1)
	if s.stamp(1000) != before {
		t.Error("it moves while the source is down")
	}
	s.want(before.Token, false) // Nor is any taken then.
	s.SetSourceState(0, true, 2)
	s.Heard(0, 0)
	s.Stamp(func() (int64, int64) { return s.wall, s.steady })
	if s.Offer() != before {
		t.Error("it moves while it is not known up to when the source was heard")
	}
	if o := s.stamp(1000); o == before || o.ID == before.ID {
		t.Error("it stands still for ever")
	}
	s.want(before.Token, true)
}

func TestSourcesThatAreBehind(t *testing.T) {
	s := &stamped{t: t, wall: 1_700_000_000_000, steady: 5_000_000}
	s.Table = New(Config{Max: 100, Linger: linger})
	s.SetSources([]string{"a*", ""})
	s.SetSourceState(0, true, 1)
	s.Heard(1, s.steady-500)
	if s.stamp(0) != nil {
		t.Fatal("there is a token while a source is down")
	}
	s.SetSourceState(1, true, 1)
	s.stamp(0)
	b, _ := base64.RawURLEncoding.DecodeString(s.wantOffer())
	if at := s.wall - 501; string(b[9:17]) != string([]byte{0, 0, byte(at >> 40), byte(at >> 32), byte(at >> 24), byte(at >> 16), byte(at >> 8), byte(at)}) {
		t.Errorf("the time is not that of the source that is behind: %x, want %x", b[9:17], at)
	}
}

// After a step nothing of before is taken, and for a while nothing of others, nor by others.
func TestStepsOfTheClock(t *testing.T) {
	for _, step := range []int64{-60_000, -stepMin - 1, stepMin + 1, 60_000} {
		s, other := newStamped(t), newStamped(t)
		both := func(seconds int) {
			for range seconds {
				s.stamp(1000)
				other.stamp(1000)
			}
		}
		both(10)
		own, of := s.wantOffer(), other.wantOffer()
		s.want(of, true)
		s.wall += step
		both(1)
		s.want(own, false)
		s.want(of, false)
		both(30)
		s.want(s.wantOffer(), true)
		s.want(other.wantOffer(), false)
		other.want(s.wantOffer(), false)
		s.wall -= step // Which is another step.
		both(distrust/1000 - 1)
		s.want(other.wantOffer(), false)
		both(3)
		s.want(other.wantOffer(), true)
		other.want(s.wantOffer(), true)
	}
	s := newStamped(t)
	s.stamp(1000)
	own := s.wantOffer()
	s.wall += stepMin // A clock that is made to go faster.
	s.stamp(1000)
	s.want(own, true)
}

// A topic is settled when its value was read. What was missed before may have been what the client has.
func TestATopicThatWasReadLater(t *testing.T) {
	s := newStamped(t)
	a := s.topic("A", "1")
	before := s.stamp(1000)
	s.stamp(1000)
	if !s.Settled(a, before) {
		t.Error("a topic that was read before a stamp is not settled by it")
	}
	s.wantHas(a, s.want(before.Token, true), true)
	s.Doubt("A")
	if s.wantHas(a, s.want(before.Token, true), false); s.Settled(a, s.Offer()) {
		t.Error("a topic in doubt is settled")
	}
	if got := s.repair("A", "1"); got != Committed {
		t.Errorf("what a client who has resumed may lack is %v", got)
	}
	s.stamp(1000)
	s.stamp(1000)
	before = s.Offer()
	s.Doubt("A")
	if got := s.repair("A", "1"); got != Unchanged {
		t.Errorf("what nobody lacks is %v", got)
	}
	if s.Settled(a, before) || s.Settled(a, s.Offer()) {
		t.Error("it is settled by a stamp of before")
	}
	s.wantHas(a, s.want(before.Token, true), false)
	if o := s.stamp(1000); !s.Settled(a, o) {
		t.Error("it is not settled by the stamp behind that")
	}
}

// Whoever has resumed before a gap was noticed is sent the value that was there all the time.
func TestAGapThatNobodyHasNoticed(t *testing.T) {
	for _, c := range []struct {
		name   string
		resume bool
		stamps int
		want   Outcome
	}{
		{"nobody has resumed", false, 0, Unchanged},
		{"resumed within the second", true, 0, Committed},
		{"resumed, and the source was heard since", true, 1, Unchanged},
	} {
		s := newStamped(t)
		s.topic("A", "1")
		token := s.stamp(1000).Token
		if c.resume {
			s.want(token, true)
		}
		for range c.stamps {
			s.stamp(1000)
			s.Heard(0, s.steady+1)
		}
		s.SetSourceState(0, false, 1)
		if got := s.repair("A", "1"); got != c.want {
			t.Errorf("%s: the value that was there is %v, want %v", c.name, got, c.want)
		}
		s.SetSourceState(0, true, 1)
		if got := s.repair("A", "1"); got != Unchanged {
			t.Errorf("%s: behind the gap it is %v", c.name, got)
		}
	}
}

// Where there is no value to read, nobody knows what was missed until the next tick.
func TestATopicWithoutAValueToRead(t *testing.T) {
	s := newStamped(t)
	a := acquire(t, s.Table, "A")
	s.Absent("A")
	if o := s.stamp(1000); !s.Settled(a, o) {
		t.Error("a topic that has no value is not settled")
	}
	publish(t, s.Table, "A", "1")
	s.Absent("A") // After a gap.
	if o := s.stamp(1000); s.Settled(a, o) {
		t.Error("what was missed of it is not known")
	}
	publish(t, s.Table, "A", "1")
	if o := s.stamp(1000); !s.Settled(a, o) {
		t.Error("its row is current")
	}
}

// A topic that its source can't serve is not what clients have.
func TestARefusedTopicIsNotSettled(t *testing.T) {
	s := newStamped(t)
	a := s.topic("A", "1")
	mark, _ := s.Mark("A")
	s.GoStale("A", mark, NotPermitted)
	if o := s.stamp(1000); s.Settled(a, o) {
		t.Error("it is settled")
	}
	s.repair("A", "1")
	if o := s.stamp(1000); !s.Settled(a, o) {
		t.Error("it is served again, and not settled")
	}
}

// An id that is used again has nothing of the topic before.
func TestATopicThatWasGivenUp(t *testing.T) {
	s := newStamped(t)
	a := s.topic("A", "1")
	token := s.stamp(1000).Token
	release(t, s.Table, a, at(0))
	sweep(t, s.Table, at(2*linger))
	a = acquire(t, s.Table, "A")
	s.wantHas(a, s.want(token, true), false)
	s.repair("A", "1")
	s.wantHas(a, s.want(token, true), false)
}

func TestResumeToleranceIsChecked(t *testing.T) {
	for _, d := range []time.Duration{-1, ResumeToleranceMax + 1} {
		if err := (Config{ResumeTolerance: d}).Validate(); err == nil || !strings.HasPrefix(err.Error(), "ResumeTolerance is ") {
			t.Errorf("%v: %v", d, err)
		}
	}
}

// Clients compare when the newest tick came in with their time and that of messages, which are by the clock of the host.
func TestTickByTheHostsClock(t *testing.T) {
	s := newStamped(t)
	want := func(tick int64) {
		t.Helper()
		s.Watch(s.steady)
		if got := s.Health().Tick; got != tick {
			t.Errorf("tick is %d, want %d", got, tick)
		}
	}
	want(0)
	if _, err := s.Acquire([]byte("A"), 0); err != nil {
		t.Fatal(err)
	}
	s.Publish("A", "1", Meta{At: s.steady})
	want(s.wall)
	s.wall += time.Hour.Milliseconds()
	s.stamp(1000)
	want(s.wall - 1000)
}
