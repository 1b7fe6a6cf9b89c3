// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// modelSources are eight prefixes, each with two addresses. Eight never push each other
// out of the table.
var modelSources = [8][2]string{
	{"192.0.2.1", "::ffff:192.0.2.1"}, {"192.0.2.2", "::ffff:192.0.2.2"}, {"0.0.0.0", "::ffff:0.0.0.0"}, {"255.1.2.3", "255.1.2.3"},
	{"2001:db8::1", "2001:db8::ffff"}, {"2001:db8:0:1::", "2001:db8:0:1::2"}, {"::1", "::2"}, {"fe80::1", "fe80::2%eth0"},
}

var modelRates = [8]Rate{{}, {}, {1, 1}, {3, 2}, {7, 10}, {50, 7}, {1000, 50}, {RateMax, RateMax}}

// guardModel is the naive guard: a map, floating point, and nothing shared.
type guardModel struct {
	limit   int
	total   tokens
	held    map[int]int // Connections by prefix.
	buckets [8]tokens
	refused [Outcomes]uint64
}

// tokens is a bucket that fills up as time goes by.
type tokens struct {
	rate Rate
	left float64
	at   time.Time
}

// has says whether there is certainly a token, and whether there may be one.
func (b *tokens) has(now time.Time) (sure, maybe bool) {
	if b.rate == (Rate{}) {
		return true, true
	}
	b.left = min(float64(b.rate.Burst), b.left+now.Sub(b.at).Seconds()*float64(b.rate.PerSecond))
	b.at = now
	return b.left >= 1+slack, b.left >= 1-slack
}

// FuzzGuard reads its input as limits and a program of entering, leaving and waiting,
// and compares each step with the model.
func FuzzGuard(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 1, 0, 9, 0, 1, 0, 1, 2, 1, 0, 1})
	f.Add([]byte{0, 3, 4, 0, 0, 0, 0, 0, 0, 3, 20, 0, 0, 0, 4, 3, 90, 0, 0})
	f.Add([]byte{3, 4, 5, 0, 1, 0, 1, 0, 1, 0, 1, 0, 2, 0, 2, 3, 60, 0, 3, 2, 1, 0, 1, 3, 255, 0, 4, 0, 4, 0, 4, 0, 4})
	f.Fuzz(func(t *testing.T, code []byte) {
		if len(code) < 3 {
			return
		}
		cfg := Config{ConnsPerPrefix: int(code[0] % 5), Total: modelRates[code[1]%8], PerPrefix: modelRates[code[2]%8]}
		g := New(cfg, epoch)
		now := epoch
		full := func(r Rate) tokens { return tokens{r, float64(r.Burst), epoch} }
		m := guardModel{limit: cfg.ConnsPerPrefix, total: full(cfg.Total), held: map[int]int{}}
		for i := range m.buckets {
			m.buckets[i] = full(cfg.PerPrefix)
		}
		for code = code[3:]; len(code) >= 2; code = code[2:] {
			op, arg := code[0]%4, code[1]
			i := int(arg % 8)
			switch op {
			case 0, 1:
				v := g.Enter(src(modelSources[i][arg/8%2]), now)
				checkAdvice(t, v)
				if want := m.enter(i, now, v.Outcome); !slices.Contains(want, v.Outcome) {
					t.Fatalf("%+v: source %d at %v: %v, want one of %v", cfg, i, now.Sub(epoch), v.Outcome, want)
				}
			case 2:
				if m.held[i] > 0 {
					m.held[i]--
					g.Leave(PrefixOf(netip.MustParseAddr(modelSources[i][arg/8%2])))
				}
			case 3:
				now = now.Add(time.Duration(arg) * time.Duration(arg) * time.Duration(arg) * 300 * time.Microsecond) // Up to 83 minutes.
			}
			m.check(t, g)
		}
		check(t, g)
	})
}

// enter returns the outcomes that are right, and takes over the one that it was.
func (m *guardModel) enter(i int, now time.Time, was Outcome) (want []Outcome) {
	sureMine, maybeMine := m.buckets[i].has(now)
	sureTotal, maybeTotal := m.total.has(now)
	if !sureMine {
		want = append(want, TooFast)
	}
	if maybeMine {
		switch full := m.limit > 0 && m.held[i] == m.limit; {
		case full:
			want = append(want, TooManyConns)
		case sureTotal:
			want = append(want, OK)
		case maybeTotal:
			want = append(want, OK, Overloaded)
		default:
			want = append(want, Overloaded)
		}
	}
	if was == OK {
		m.held[i]++
		m.buckets[i].left--
		m.total.left--
	} else {
		m.refused[was]++
	}
	return want
}

func (m *guardModel) check(t *testing.T, g *Guard) {
	t.Helper()
	sources := 0
	for _, n := range m.held {
		if n > 0 && m.limit > 0 {
			sources++
		}
	}
	if st := g.Stats(); st.Prefixes != sources || st.Refused != m.refused || st.Forgotten != 0 {
		t.Fatalf("%+v, want %d sources, %v refused", st, sources, m.refused)
	}
}
