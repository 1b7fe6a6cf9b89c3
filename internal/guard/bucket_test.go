// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestRateValid(t *testing.T) {
	for _, tt := range []struct {
		rate Rate
		want bool
	}{
		{Rate{}, true}, {Rate{1, 1}, true}, {Rate{RateMax, RateMax}, true},
		{Rate{1, 0}, false}, {Rate{0, 1}, false}, {Rate{-1, 1}, false}, {Rate{1, -1}, false},
		{Rate{RateMax + 1, 1}, false}, {Rate{1, RateMax + 1}, false},
	} {
		if tt.rate.Valid() != tt.want {
			t.Errorf("%+v: valid is %v", tt.rate, !tt.want)
		}
	}
}

func wantPanic(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	f()
}

func TestOutOfRangePanics(t *testing.T) {
	wantPanic(t, func() { NewLimit(Rate{1, 0}, 0) })
	wantPanic(t, func() { NewLimit(Rate{1, 1}, -1) })
	wantPanic(t, func() { NewLimit(Rate{1, 1}, RateMax+1) })
	wantPanic(t, func() { New(Config{ConnsPerPrefix: -1}, epoch) })
	wantPanic(t, func() { New(Config{Total: Rate{0, 1}}, epoch) })
	wantPanic(t, func() { New(Config{PerPrefix: Rate{RateMax + 1, 1}}, epoch) })
}

// take wants the levels of as many single events, written as a string of w, o and a.
func take(t *testing.T, l *Limit, b *Bucket, at time.Duration, want string) {
	t.Helper()
	got := ""
	for range want {
		got += string("woa"[l.Take(b, 1, at)])
	}
	if got != want {
		t.Errorf("at %v: %s, want %s", at, got, want)
	}
}

func TestBucket(t *testing.T) {
	const ms = time.Millisecond
	l := NewLimit(Rate{PerSecond: 10, Burst: 3}, 2)
	var b Bucket
	take(t, &l, &b, 0, "wwwooaaaa")
	take(t, &l, &b, 99*ms, "a")
	take(t, &l, &b, 100*ms, "oa") // What is over was counted.
	take(t, &l, &b, 300*ms, "ooa")
	take(t, &l, &b, 600*ms, "wooa")
	take(t, &l, &b, 1100*ms, "wwwooa")
	take(t, &l, &b, time.Hour, "wwwooa") // Never more than the burst.
	b = 0
	for i := range 100 { // Forever at the rate.
		take(t, &l, &b, 2*time.Hour+time.Duration(i)*100*ms, "w")
	}
}

// Over any time, what is let through is what the rate allows and the burst, whatever
// the rate, and also where the clock of a limit begins anew.
func TestLimitIsExact(t *testing.T) {
	for _, rate := range []int{1, 3, 20, 333, 10_000} {
		l := NewLimit(Rate{rate, 5}, 0)
		wraps := time.Duration(float64(1<<32)/float64(rate*unit)*float64(time.Second)) - time.Second
		for _, start := range []time.Duration{0, time.Hour, wraps, 200 * 24 * time.Hour} {
			b, passed := l.Full(start), 0
			random := rand.New(rand.NewPCG(uint64(rate), 1))
			span := 20 * time.Second
			for at := start; at <= start+span; at += time.Duration(random.IntN(3)) * time.Millisecond {
				if l.Take(&b, 1, at) == Within {
					passed++
				}
			}
			tries := 20_000
			want := min(5+20*rate, tries)
			if math.Abs(float64(passed-want)) > 1+0.02*float64(want) {
				t.Errorf("%d a second from %v on: %d passed in %v, want %d", rate, start, passed, span, want)
			}
		}
	}
}

// A conn that was silent for any time has its whole burst, and no more.
func TestBucketAfterSilence(t *testing.T) {
	l := NewLimit(Rate{20, 40}, 80)
	for _, silence := range []time.Duration{2 * time.Second, 7 * time.Second, time.Hour, 100 * 24 * time.Hour} {
		b := l.Full(0)
		take(t, &l, &b, 0, strings.Repeat("w", 40))
		take(t, &l, &b, silence, strings.Repeat("w", 40)+strings.Repeat("o", 10))
	}
}

// What is not let through may cost less than what is, so that one who tries again what
// costs much gets it in the end.
func TestTakeOr(t *testing.T) {
	l := NewLimit(Rate{PerSecond: 10, Burst: 30}, 20)
	b := l.Full(0)
	for i, c := range []struct {
		at         time.Duration
		n, instead int
		want       Level
	}{
		{0, 25, 4, Within}, {0, 25, 4, Over}, {0, 1, 1, Within}, // 30 are used.
		{0, 25, 4, Over}, {time.Second, 25, 4, Over}, {2 * time.Second, 25, 4, Over}, // 22.
		{4 * time.Second, 25, 4, Within}, // 27.
		{4 * time.Second, 31, 23, Over},  // 50, all of the patience.
		{4 * time.Second, 31, 1, Abuse},
		{6 * time.Second, 31, 0, Over}, // 30.
		{6 * time.Second, 1, 1, Over},
		{6200 * time.Millisecond, 1, 1, Within},
	} {
		if got := l.TakeOr(&b, c.n, c.instead, c.at); got != c.want {
			t.Errorf("%d: %d or %d at %v: %d, want %d", i, c.n, c.instead, c.at, got, c.want)
		}
	}
}

func TestExcessIsForgiven(t *testing.T) {
	l := NewLimit(Rate{10, 3}, 6)
	b := l.Full(0)
	take(t, &l, &b, 0, "wwwooooooaa")
	take(t, &l, &b, 100*time.Millisecond, "oa")    // What is over counts, up to the end.
	take(t, &l, &b, 800*time.Millisecond, "woo")   // Seven of nine are forgiven.
	take(t, &l, &b, 1900*time.Millisecond, "wwwo") // All of them.
	take(t, &l, &b, 10*24*time.Hour, "wwwo")       // No more than the burst.
}

func TestBucketWithoutExcess(t *testing.T) {
	l := NewLimit(Rate{PerSecond: 1, Burst: 1}, 0)
	var b Bucket
	take(t, &l, &b, 0, "waaa")
	take(t, &l, &b, time.Second, "wa")
}

func TestBucketTakesMany(t *testing.T) {
	l := NewLimit(Rate{PerSecond: 50, Burst: 256}, 256)
	var b Bucket
	for i, step := range []struct {
		n    int
		at   time.Duration
		want Level
	}{
		{256, 0, Within}, {0, 0, Within}, {1, 0, Over}, {255, 0, Over}, {1, 0, Abuse},
		{50, time.Second, Over},
		{256, 10*time.Second + 240*time.Millisecond, Over}, {0, 15*time.Second + 360*time.Millisecond, Within},
		{257, time.Hour, Over}, {513, 2 * time.Hour, Abuse}, {4096, 3 * time.Hour, Abuse}, {256, 3 * time.Hour, Within},
	} {
		if got := l.Take(&b, step.n, step.at); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
}

func TestNoLimit(t *testing.T) {
	var none Limit
	for _, l := range []Limit{none, NewLimit(Rate{}, 0)} {
		var b Bucket
		for range 1000 {
			if l.Take(&b, RateMax, 0) != Within || b != 0 {
				t.Fatal("it is a limit")
			}
		}
	}
}

// Rates that do not divide a second, over a year.
func TestRatesAreExact(t *testing.T) {
	for _, perSecond := range []int{1, 3, 7, 299, 4097, 999_983, RateMax} {
		m := newMeter(Rate{perSecond, 1})
		for _, at := range []time.Duration{1, time.Millisecond, time.Second, 24 * 365 * time.Hour, math.MaxInt64} {
			want := float64(at) * float64(perSecond) / 1e9
			if got := float64(m.clock(at)) / unit; math.Abs(got-want) > 1.0/unit+want*1e-12 {
				t.Errorf("%d per second: %v events in %v, want %v", perSecond, got, at, want)
			}
		}
		if m.clock(-time.Hour) != 0 {
			t.Error("time before the beginning")
		}
	}
}

// The clock of a bucket wraps each 2^28 events. Wherever it stands, a client gets its
// burst and its rate, and not more.
func TestBucketWraps(t *testing.T) {
	const perSecond, burst = 1000, 20
	l := NewLimit(Rate{perSecond, burst}, 5)
	wrap := time.Duration(1<<32/unit) * time.Second / perSecond
	for _, begin := range []time.Duration{wrap, 7 * wrap} {
		for before := range time.Duration(2 * burst) {
			at := begin - before*time.Second/perSecond
			var b Bucket
			l.Take(&b, 0, at-time.Second) // So that 0 is not what a busy bucket left.
			take(t, &l, &b, at, "wwwwwwwwwwwwwwwwwwwwoooooa")
			for i := range time.Duration(3 * burst) {
				at += 10 * time.Second / perSecond
				take(t, &l, &b, at, "wwwww")
				if i == 2*burst {
					at += 3 * wrap / 8
				}
			}
		}
	}
}

// The one thing that a wrap does: after a silence of its very length a part of the burst
// is missing. It comes back at the rate.
func TestBucketAfterSilenceOfOneWrap(t *testing.T) {
	const perSecond, burst = 1000, 20
	l := NewLimit(Rate{perSecond, burst}, 5)
	wrap := time.Duration(1<<32/unit) * time.Second / perSecond
	var b Bucket
	take(t, &l, &b, time.Hour, "wwwwwwwwwwwwwwwwwwww")
	take(t, &l, &b, time.Hour+wrap, "o")
	take(t, &l, &b, time.Hour+wrap+21*time.Second/perSecond, "wwwwwwwwwwwwwwwwwwwwo")
}

// bucketModel is a bucket in floating point, of unlimited range.
type bucketModel struct {
	rate, burst, excess float64
	used                float64
	at                  time.Duration
}

// slack is how far apart the model and the buckets may be, in events: two readings of
// the clock, each rounded by less than a unit.
const slack = 2.0/unit + 1e-6

// want returns the levels that are right, the second one if it is a close thing.
func (m *bucketModel) want(n int, at time.Duration) (Level, Level) {
	m.used = max(0, m.used-(at-m.at).Seconds()*m.rate)
	m.at = at
	level := func(used float64) Level {
		switch {
		case used > m.burst+m.excess:
			return Abuse
		case used > m.burst:
			return Over
		}
		return Within
	}
	return level(m.used + float64(n) - slack), level(m.used + float64(n) + slack)
}

// FuzzBucket plays a program of pauses and events and compares with the model.
func FuzzBucket(f *testing.F) {
	f.Add(uint32(10), uint32(20), uint32(5), uint64(0), []byte("\x01\x01\x01\xff\x02\x03\x80\x10\x01\x01"))
	f.Add(uint32(1000), uint32(1), uint32(0), uint64(1)<<48, []byte("\x01\x81\x01\xff\x01"))
	f.Add(uint32(RateMax), uint32(RateMax), uint32(RateMax), uint64(1)<<62, []byte("\x7f\x7f\x7f\xfe\x01"))
	f.Fuzz(func(t *testing.T, rate, burst, excess uint32, begin uint64, code []byte) {
		r := Rate{int(rate%RateMax) + 1, int(burst%RateMax) + 1}
		l := NewLimit(r, int(excess%RateMax))
		m := bucketModel{rate: float64(r.PerSecond), burst: float64(r.Burst), excess: float64(excess % RateMax)}
		at := time.Duration(begin % (1 << 62))
		m.at = at
		b := l.Full(at)
		spoke := at
		wrap := time.Duration(float64(1<<32/unit) / float64(r.PerSecond) * 1e9)
		for _, c := range code {
			if c >= 0x80 { // A pause: up to a quarter of a wrap, the short ones finer.
				pause := time.Duration(math.Pow(float64(c-0x80)/0x7f, 8) * float64(wrap/4))
				if at-spoke <= wrap/2 && at <= math.MaxInt64-pause {
					at += pause
				}
				continue
			}
			n := int(c)
			if c > 0x70 {
				n *= 1000
			}
			low, high := m.want(n, at)
			got := l.Take(&b, n, at)
			if got != low && got != high {
				t.Fatalf("%d at %v with %v used: %v, want %v or %v", n, at, m.used, got, low, high)
			}
			if got != Abuse {
				m.used += float64(n)
				spoke = at
			}
		}
	})
}
