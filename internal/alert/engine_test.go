// SPDX-License-Identifier: Apache-2.0

package alert

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestScenarios plays testdata/*.txt. A line is a command, or what must have come of the one before, behind ">". Times are seconds.
//
//	put 1 AAPL ABOVE 150 [repeat] [hysteresis 1] [expires 9] [arm 2] [armed 3] [waiting] [under|over] [window 5m] [average 1m 10]
//	remove 1 AAPL
//	price 3 AAPL 150.1     at a time
//	bar 3 AAPL 1 2 0.5 1.5 open high low close of the second that begins then
//	minute 60 AAPL 7       the close of the minute that begins then
//	prime AAPL             with nothing
func TestScenarios(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	if len(files) < 3 {
		t.Fatalf("there are %d scenarios", len(files))
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			p := player{t: t, e: NewEngine(), name: name}
			for lines := bufio.NewScanner(f); lines.Scan(); {
				p.number++
				p.line(strings.TrimSpace(lines.Text()))
			}
			p.none()
		})
	}
}

type player struct {
	t      *testing.T
	e      *Engine
	name   string
	number int
	out    []Effect
}

func (p *player) fail(format string, args ...any) {
	p.t.Helper()
	p.t.Errorf("%s:%d: %s", p.name, p.number, fmt.Sprintf(format, args...))
}

func (p *player) none() {
	for _, f := range p.out {
		p.fail("there is also %q", effectText(f))
	}
	p.out = nil
}

func (p *player) line(text string) {
	if want, ok := strings.CutPrefix(text, ">"); ok {
		for i, f := range p.out {
			if effectText(f) == strings.TrimSpace(want) {
				p.out = slices.Delete(p.out, i, i+1)
				return
			}
		}
		p.fail("want %q", want)
		return
	}
	p.none()
	words := strings.Fields(text)
	if len(words) == 0 || words[0] == "#" {
		return
	}
	seconds := func(s string) int64 {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			p.fail("%v", err)
		}
		return int64(f*1000 + 0.5)
	}
	switch words[0] {
	case "put":
		p.e.Put(p.alert(words[1:], seconds))
	case "remove":
		id, _ := strconv.ParseInt(words[1], 10, 64)
		p.e.Remove(words[2], id)
	case "price":
		p.out = p.e.Price(words[2], seconds(words[1]), num(p.t, words[3]), nil)
	case "bar":
		at := seconds(words[1])
		p.out = p.e.Bar(words[2], Bar{"1s", at, at + 1000, num(p.t, words[3]), num(p.t, words[4]), num(p.t, words[5]), num(p.t, words[6])}, nil)
	case "minute":
		at, c := seconds(words[1]), num(p.t, words[3])
		p.out = p.e.Bar(words[2], Bar{"1m", at, at + 60_000, c, c, c, c}, nil)
	case "prime":
		for _, a := range p.e.Unprimed(words[1]) {
			p.e.Prime(words[1], a, nil)
		}
	case "held":
		if n := strconv.Itoa(p.e.Len()); n != words[1] {
			p.fail("%s alerts are held", n)
		}
	default:
		p.fail("%q is no command", words[0])
	}
}

func (p *player) alert(words []string, seconds func(string) int64) (a Alert) {
	a.ID, _ = strconv.ParseInt(words[0], 10, 64)
	a.State, a.Arm = Active, 1
	a.Symbol, a.Condition = words[1], Condition(words[2])
	n := num(p.t, words[3])
	switch a.Condition {
	case Above, Below, Crosses:
		a.Target = n
	default:
		a.Percent = n
	}
	for i := 4; i < len(words); i++ {
		next := func() string { i++; return words[i] }
		switch words[i] {
		case "repeat":
			a.Repeat = true
		case "hysteresis":
			a.Hysteresis = num(p.t, next())
		case "expires":
			a.Expires = seconds(next())
		case "arm":
			a.Arm, _ = strconv.ParseInt(next(), 10, 64)
		case "armed":
			a.Armed = seconds(next())
		case "waiting":
			a.State = Waiting
		case "fired":
			a.State = Fired
		case "under":
			a.Side = UnderTarget
		case "over":
			a.Side = OverTarget
		case "window":
			a.Window, _ = ParseWindow(next())
		case "average":
			a.Interval = next()
			a.Bars, _ = strconv.Atoi(next())
		default:
			p.fail("%q is nothing of an alert", words[i])
		}
	}
	return a
}

func effectText(f Effect) string {
	if f.Fires {
		g := f.Firing
		return fmt.Sprintf("fire %d arm %d at %g price %v by %s", g.Alert, g.Arm, float64(g.At)/1000, g.Price, g.By)
	}
	a := f.Arming
	side := map[Side]string{UnderTarget: " under", OverTarget: " over"}[a.Side]
	return fmt.Sprintf("arm %d of %d at %g%s", a.Alert, a.Arm, float64(a.At)/1000, side)
}

// plain is what the engine must do, written as simply as possible: every alert looks at every value.
type plain struct {
	alerts map[int64]*plainAlert
	lastAt int64
	barAt  int64
	mins   []Bar
}

type plainAlert struct {
	Alert
	since int64
	told  Alert // As it was put.
	armed int64 // Of Arm.
}

func (m *plain) put(a Alert) {
	old := m.alerts[a.ID]
	live := a.State == Active || a.State == Waiting
	switch {
	case old != nil && a.Arm > old.told.Arm && a.Arm == old.Arm && a.Armed != old.armed: // A change of its user.
	case old != nil && a.Arm > old.told.Arm && a.Arm < old.Arm && (a.Armed > old.armed || !sameCondition(a.Spec, old.Spec)):
	case old != nil && old.Arm > a.Arm:
		return
	case old != nil && old.Arm == a.Arm && live && (old.State == Waiting || a.State == Active):
		if old.Condition == Crosses && old.Side == Unknown {
			old.Side = a.Side
		}
		old.told = a
		return
	}
	delete(m.alerts, a.ID)
	if live {
		n := &plainAlert{a, a.Armed, a, a.Armed}
		if a.State == Waiting {
			n.since = max(n.since, a.Last.At)
		}
		m.alerts[a.ID] = n
	}
}

func sameCondition(a, b Spec) bool {
	a.Expires, b.Expires, a.Note, b.Note = 0, 0, "", ""
	return a == b
}

// value is that of an alert's axis at a price.
func (m *plain) value(a *plainAlert, p Num) (Num, bool) {
	if a.Interval == "" {
		return p, true
	}
	if len(m.mins) < a.Bars {
		return Num{}, false
	}
	var sum Num
	for _, b := range m.mins[len(m.mins)-a.Bars:] {
		sum = sum.Add(b.Close)
	}
	return p.Percent(Mean(sum, a.Bars))
}

func (m *plain) take(at, since int64, high, low, last Num, by By) (out []Effect) {
	for _, a := range m.alerts {
		hi, known := m.value(a, high)
		lo, _ := m.value(a, low)
		c, _ := m.value(a, last)
		if !known || a.since > since {
			continue
		}
		t, up := a.Target, a.Condition == Above || a.Condition == AboveAverage
		if a.Interval != "" {
			t = a.Percent
			if !up {
				t = t.Neg()
			}
		}
		under, over := t.Scale(a.Hysteresis.Neg()), t.Scale(a.Hysteresis)
		if a.Interval != "" {
			under, over = t.Sub(a.Hysteresis), t.Add(a.Hysteresis)
		}
		over1, under1 := !hi.Less(t), !t.Less(lo)
		fires, back, concerned := false, false, false
		price := high
		switch {
		case a.Condition == Crosses:
			fires = a.Side == UnderTarget && over1 || a.Side == OverTarget && under1
			if a.Side == OverTarget {
				price = low
			}
			back = c.Less(under) || over.Less(c)
			concerned = over.Less(hi) || lo.Less(under)
		case up:
			fires, back, concerned = over1, c.Less(under), lo.Less(under)
		default:
			fires, back, price, concerned = under1, over.Less(c), low, over.Less(hi)
		}
		if a.State == Active {
			concerned = fires || a.Condition == Crosses && a.Side == Unknown
		}
		switch {
		case a.Expires != 0 && a.Expires <= at:
			if concerned {
				delete(m.alerts, a.ID)
			}
		case a.State == Waiting && back:
			if a.Condition == Crosses {
				a.Side = Side(c.Compare(t))
			}
			out = append(out, Effect{Arming: Arming{a.ID, a.Arm, at, a.Side}})
			a.State, a.Arm, a.since, a.armed = Active, a.Arm+1, at, at
		case a.State == Waiting:
		case a.Condition == Crosses && a.Side == Unknown:
			if d := c.Compare(t); d != 0 {
				a.Side = Side(d)
				out = append(out, Effect{Arming: Arming{a.ID, a.Arm, at, a.Side}})
			}
		case fires:
			out = append(out, Effect{Fires: true, Firing: Firing{Alert: a.ID, Arm: a.Arm, At: at, Price: price, By: by}})
			if a.State, a.since, a.Side = Waiting, at, Unknown; !a.Repeat {
				delete(m.alerts, a.ID)
			}
		}
	}
	return out
}

// TestEngineIsPlain compares the engine with a plain one.
func TestEngineIsPlain(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 7))
		e, m := NewEngine(), &plain{alerts: make(map[int64]*plainAlert)}
		at, minute := int64(1000), int64(0)
		price := func() Num { return Whole(int64(90 + r.IntN(20))) }
		fired := 0
		for step := range 400 {
			var got, want []Effect
			switch r.IntN(10) {
			case 0, 1, 2:
				a := randomAlert(r, at)
				e.Put(a)
				m.put(a)
			case 3:
				id := int64(r.IntN(20))
				e.Remove("S", id)
				delete(m.alerts, id)
			case 4, 5, 6:
				p := price()
				when := at - int64(r.IntN(3)*r.IntN(300))
				got = e.Price("S", when, p, nil)
				if when >= m.lastAt && len(m.alerts) > 0 {
					m.lastAt = when
					want = m.take(when, when, p, p, p, ByPrice)
				}
			case 7, 8:
				start := at / 1000 * 1000
				low := price()
				high, last := low.Add(Whole(int64(r.IntN(8)))), low
				if r.IntN(2) == 0 {
					last = high
				}
				got = e.Bar("S", Bar{"1s", start, start + 1000, low, high, low, last}, nil)
				if start > m.barAt && len(m.alerts) > 0 {
					m.barAt = start
					want = m.take(start+1000, start, high, low, last, ByBar)
				}
			case 9:
				c := price()
				minute += 60_000
				got = e.Bar("S", Bar{"1m", minute, minute + 60_000, c, c, c, c}, nil)
				if len(m.alerts) > 0 {
					m.mins = append(m.mins, Bar{Close: c})
				}
			}
			if len(m.alerts) == 0 { // Nothing is kept of a symbol without alerts.
				m.lastAt, m.barAt, m.mins = 0, 0, nil
			}
			if !slices.ContainsFunc(mapValues(m.alerts), func(a *plainAlert) bool { return a.Interval != "" }) {
				m.mins = nil
			}
			fired += len(got)
			if g, w := texts(got), texts(want); !slices.Equal(g, w) {
				t.Fatalf("seed %d, step %d: got %v, want %v", seed, step, g, w)
			}
			if e.Len() != len(m.alerts) {
				t.Fatalf("seed %d, step %d: %d alerts are held, want %d", seed, step, e.Len(), len(m.alerts))
			}
			at += int64(r.IntN(900))
		}
		if fired == 0 {
			t.Fatalf("seed %d: nothing has fired", seed)
		}
	}
}

func mapValues(m map[int64]*plainAlert) (all []*plainAlert) {
	for _, a := range m {
		all = append(all, a)
	}
	return all
}

func texts(of []Effect) (all []string) {
	for _, f := range of {
		all = append(all, effectText(f))
	}
	slices.Sort(all)
	return all
}

func randomAlert(r *rand.Rand, at int64) (a Alert) {
	a.ID, a.Arm, a.Symbol = int64(r.IntN(20)), int64(1+r.IntN(3)), "S"
	a.State = []State{Active, Active, Active, Waiting, Fired}[r.IntN(5)]
	a.Armed = at - int64(r.IntN(4000)) + 1000
	// An alert is always the same thing, but for what a change would change.
	own := rand.New(rand.NewPCG(uint64(a.ID), uint64(a.Arm)))
	a.Condition = []Condition{Above, Below, Crosses, AboveAverage, BelowAverage}[own.IntN(5)]
	switch a.Condition {
	case AboveAverage, BelowAverage:
		a.Percent, a.Interval, a.Bars = Whole(int64(own.IntN(6))), "1m", 10
	default:
		a.Target = Whole(int64(92 + own.IntN(16)))
	}
	if a.Repeat = own.IntN(3) > 0; a.Repeat {
		a.Hysteresis = Whole(int64(own.IntN(3)))
	}
	if !a.Repeat && a.State == Waiting {
		a.State = Active
	}
	if own.IntN(5) == 0 {
		a.Expires = 30_000
	}
	if a.Condition == Crosses && a.State == Active {
		a.Side = Side(own.IntN(3) - 1)
	}
	return a
}

// BenchmarkPrice has a million alerts of 1,000 symbols, of which hardly any fires, but for those that fire again and again.
func BenchmarkPrice(b *testing.B) {
	const symbols, each = 1000, 1000
	e := NewEngine()
	r := rand.New(rand.NewPCG(1, 1))
	names := make([]string, symbols)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for s := range names {
		names[s] = fmt.Sprintf("SYM%d", s)
		for i := range each {
			a := Alert{ID: int64(s*each + i + 1), State: Active, Arm: 1}
			a.Symbol, a.Repeat, a.Hysteresis = names[s], true, Whole(1)
			a.Condition = []Condition{Above, Below, Crosses}[i%3]
			a.Target = Whole(int64(r.IntN(20000) + 1))
			if i%10 == 9 {
				a.Condition, a.Target, a.Percent, a.Window = Rises, Num{}, Whole(int64(1+i%20)), 5*time.Minute
			}
			e.Put(a)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	prices := make([]Num, symbols)
	for i := range prices {
		prices[i] = Whole(10000)
	}
	var out []Effect
	fired, n := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		s := r.IntN(symbols)
		prices[s] = prices[s].Scale(Num{lo: uint64(r.IntN(unit / 5))}.Sub(Num{lo: unit / 10}).rounded())
		out = e.Price(names[s], int64(1000+n/20), prices[s], out[:0])
		fired += len(out)
		n++
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(symbols*each), "B/alert")
	b.ReportMetric(float64(fired)/float64(n), "effects/op")
}

// rounded has 6 digits behind the point.
func (a Num) rounded() Num {
	if a.Sign() < 0 {
		return a.Neg().rounded().Neg()
	}
	return Num{lo: a.lo / 1_000_000 * 1_000_000}
}

// TestPriceAllocatesNothing holds that for prices that fire nothing.
func TestPriceAllocatesNothing(t *testing.T) {
	e := NewEngine()
	for i := range 1000 {
		a := Alert{ID: int64(i + 1), State: Active, Arm: 1}
		a.Symbol, a.Condition, a.Target = "S", Above, Whole(int64(1000+i))
		e.Put(a)
	}
	at, out := int64(0), make([]Effect, 0, 1)
	if n := testing.AllocsPerRun(1000, func() { at++; out = e.Price("S", at, Whole(999), out[:0]) }); n != 0 {
		t.Errorf("a price allocates %v times", n)
	}
}
