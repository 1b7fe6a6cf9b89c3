// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"tickedge/internal/topics"
)

func TestPatternsAllow(t *testing.T) {
	for _, c := range []struct {
		list     []string
		yes, not string
	}{
		{[]string{"AAPL", "FX:*"}, "AAPL FX: FX:EURUSD", "AAP AAPLX aapl FX fx:EURUSD MSFT A"},
		{[]string{}, "", "A AAPL"},
		{[]string{"A*"}, "A AA A:B", "B a"},
		{[]string{"*"}, "A anything", ""},
		{[]string{"^GSPC", "EURUSD=X", "M&M.*", "Ä*", "币*", "btcusdt@depth5"}, "^GSPC EURUSD=X M&M.NS Ä Äx 币安人生USDT btcusdt@depth5",
			"GSPC EURUSD=Y M&M A\u0308 Ã 帀 人 btcusdt@depth"},
		{[]string{"AAPL", "*"}, "A anything", ""},
		// Entries that others cover.
		{[]string{"FX:EUR*", "FX:*", "FX:EURUSD", "FX", "FX"}, "FX FX: FX:EURUSD FX:Z", "F FXX"},
		{[]string{"B*", "BA*", "A*", "C*"}, "A1 B1 BA1 BZ C1", "D1"},
		{[]string{strings.Repeat("A", topics.NameMax)}, strings.Repeat("A", topics.NameMax), "A"},
		{[]string{strings.Repeat("A", topics.NameMax) + "*"}, strings.Repeat("A", topics.NameMax), "A"},
	} {
		p, ok := newPatterns(c.list, nil)
		if !ok {
			t.Fatalf("%q is refused", c.list)
		}
		for topic := range strings.FieldsSeq(c.yes) {
			if !p.Allows([]byte(topic)) {
				t.Errorf("%q does not allow %s", c.list, topic)
			}
		}
		for topic := range strings.FieldsSeq(c.not) {
			if p.Allows([]byte(topic)) {
				t.Errorf("%q allows %s", c.list, topic)
			}
		}
	}
}

// Names are those that the set has whole.
func TestPatternsNames(t *testing.T) {
	p, _ := newPatterns([]string{"AAPL", "FX:*", "FX:EUR", "MSFT"}, nil)
	for topic, want := range map[string]bool{"AAPL": true, "MSFT": true, "FX:EUR": false, "FX:GBP": false, "A": false, "ZZ": false} {
		if p.Names([]byte(topic)) != want {
			t.Errorf("%s: %v", topic, !want)
		}
	}
	var all *Patterns
	if all.Names([]byte("AAPL")) {
		t.Error("the set of all topics names one")
	}
}

func TestParsePatterns(t *testing.T) {
	for list, c := range map[string]struct{ yes, not string }{
		"":                   {"", "A"},
		" AAPL, fx:* ,,":     {"AAPL fx: fx:EURUSD", "A fx"},
		"*":                  {"A anything", ""},
		"AAPL,crypto:*,AAPL": {"AAPL crypto:BTC", "crypto"},
	} {
		p, err := ParsePatterns(list)
		if err != nil {
			t.Fatalf("%q: %v", list, err)
		}
		for topic := range strings.FieldsSeq(c.yes) {
			if !p.Allows([]byte(topic)) {
				t.Errorf("%q does not allow %s", list, topic)
			}
		}
		for topic := range strings.FieldsSeq(c.not) {
			if p.Allows([]byte(topic)) {
				t.Errorf("%q allows %s", list, topic)
			}
		}
	}
	// The longest list fits.
	var all []string
	for i := range patternsMax {
		all = append(all, fmt.Sprintf("%0*d", topics.NameMax, i))
	}
	p, err := ParsePatterns(strings.Join(all, ","))
	if err != nil || !p.Names([]byte(all[patternsMax-1])) || p.Allows([]byte(all[0][1:])) {
		t.Errorf("the longest list: %v", err)
	}
	for list, want := range map[string]string{
		"A,B C":                               `"B C" is no topic`,
		"A,*B":                                `"*B" is no topic`,
		strings.Join(append(all, "one"), ","): "1001 patterns, want 1000 at most",
	} {
		if _, err := ParsePatterns(list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", list, err, want)
		}
	}
}

func TestPatternsRefused(t *testing.T) {
	for _, list := range [][]string{
		{""}, {"AAPL", ""}, {"**"}, {"A*B"}, {"*A"}, {"A**"}, {"AAPL,MSFT"}, {"AAPL MSFT"}, {"Ä *"}, {"A\x00"}, {"\xc3*"}, {`A"`}, {"A{"}, {"A\u200b"},
		{"*", "bad name"},
		{strings.Repeat("A", topics.NameMax+1)},
		{strings.Repeat("A", topics.NameMax+1) + "*"},
		make([]string, patternsMax+1),
	} {
		if _, ok := newPatterns(list, nil); ok {
			t.Errorf("%.100q is taken", list)
		}
	}
}

func TestPatternsMax(t *testing.T) {
	list := make([]string, patternsMax)
	for i := range list {
		list[i] = fmt.Sprintf("T%d", i)
	}
	p, ok := newPatterns(list, nil)
	if !ok {
		t.Fatal("refused")
	}
	for _, s := range list {
		if !p.Allows([]byte(s)) {
			t.Errorf("%s is not allowed", s)
		}
	}
	if _, ok := newPatterns(append(list, "X"), nil); ok {
		t.Error("one more is taken")
	}
}

// Random sets over two letters, where nearly everything covers something, against the
// plain way.
func TestPatternsAgainstThePlainWay(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	word := func(least int) string {
		b := make([]byte, least+r.IntN(6))
		for i := range b {
			b[i] = "AB"[r.IntN(2)]
		}
		return string(b)
	}
	allowed, refused := 0, 0
	for range 5000 {
		list := make([]string, r.IntN(8))
		for i := range list {
			list[i] = word(1)
			if r.IntN(2) == 0 {
				list[i] += "*"
			}
		}
		p, ok := newPatterns(list, nil)
		if !ok {
			t.Fatalf("%q is refused", list)
		}
		for range 20 {
			topic := word(1)
			want := false
			for _, s := range list {
				prefix, starred := strings.CutSuffix(s, "*")
				want = want || starred && strings.HasPrefix(topic, prefix) || s == topic
			}
			if got := p.Allows([]byte(topic)); got != want {
				t.Fatalf("%q, topic %s: %v", list, topic, got)
			}
			if want {
				allowed++
			} else {
				refused++
			}
		}
	}
	if allowed < 1000 || refused < 1000 {
		t.Errorf("%d allowed, %d refused: the test looks at one side only", allowed, refused)
	}
}

func TestPatternsAllocateNothing(t *testing.T) {
	long := strings.Repeat("A", topics.NameMax-1)
	p, _ := newPatterns([]string{long + "B", long + "C", "B*", "C*"}, nil)
	topic := []byte(long + "C")
	if n := testing.AllocsPerRun(100, func() {
		if !p.Allows(topic) {
			t.Fatal("not allowed")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// From a name that is not in the set, the next one is never behind a name that is.
func TestPatternsNext(t *testing.T) {
	for _, c := range []struct {
		list        []string
		after, want string // No want is none.
	}{
		{[]string{"B", "FX:*", "Z"}, "A", "B"}, {[]string{"B", "FX:*", "Z"}, "C", "FX:"}, {[]string{"B", "FX:*", "Z"}, "FY", "Z"}, {[]string{"B", "FX:*", "Z"}, "ZZ", ""},
		{[]string{"FX:*"}, "A", "FX:"}, {[]string{"A"}, "B", ""}, {[]string{}, "A", ""},
	} {
		p, ok := newPatterns(c.list, nil)
		if !ok {
			t.Fatalf("%q is refused", c.list)
		}
		if next, ok := p.Next(c.after); next != c.want || ok != (c.want != "") {
			t.Errorf("%q after %s: %q, %v; want %q", c.list, c.after, next, ok, c.want)
		}
	}
}
