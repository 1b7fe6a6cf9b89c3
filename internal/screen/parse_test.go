// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// many joins n texts, in which %d is their number.
func many(n int, f, sep string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = f
		if strings.Contains(f, "%d") {
			all[i] = fmt.Sprintf(f, i)
		}
	}
	return strings.Join(all, sep)
}

// mistaken are conditions with a mistake, hostile ones too: where it is, and what is said of it.
var mistaken = []struct {
	src    string
	at     int
	reason string
}{
	{"p = 5", 2, "write == to compare"},
	{"p === 5", 2, "write == to compare"},
	{"p <> 5", 2, "write != to compare"},
	{"p ≥ 5", 2, "write >= to compare"},
	{"p => 5", 2, "write >= to compare"},
	{"p > 5 and v > 1", 6, "write && for and"},
	{"p > 5 OR v > 1", 6, "write || for or"},
	{"p > 5 & v > 1", 6, "write && between"},
	{"p > 5 | v > 1", 6, "write || between"},
	{"not p", 0, "write ! for not"},
	{"not (p > 5)", 0, "write ! for not"},
	{"p not in [1]", 2, "write !(x in"},
	{"active == True", 10, "write true"},
	{"p == nil", 5, "write null"},
	{"p is 5", 2, "write == for is"},
	{"s like 'a'", 2, "startsWith"},
	{"p between 1", 2, "1 <= x && x <= 5"},
	{"p > 5 ? a : b", 6, "a && b || !a && c"},
	{"s == 'abc", 5, "the string has no end"},
	{"s == \"abc'", 5, "the string has no end"},
	{"s == 'a\nb'", 5, "\\n"},
	{"s == 'a\\", 7, "the string has no end"},
	{`s == 'a\q'`, 7, "write \\\\ for a backslash"},
	{`s == '\ud800'`, 6, "write \\\\ for a backslash"},
	{`s == '\x4'`, 6, "write \\\\ for a backslash"},
	{"s == ‘a’", 5, "'text'"},
	{"s == `a`", 5, "'text'"},
	{"abs(p) > 5", 0, `no function "abs"; there are has(x), x.startsWith('a'), x.endsWith('a'), x.contains('a')`},
	{"5 > abs(p)", 4, "write x > 5 || x < -5 for abs(x) > 5"},
	{"p > now() - 5", 4, "with ticks only"},
	{"size(p) > 5", 0, "lengths are not known"},
	{"s.matches('a')", 2, `no function "matches"`},
	{"startsWith(s, 'a')", 0, "write x.startsWith('a')"},
	{"'abc'.startsWith('a')", 5, "with the member or topic first"},
	{"s.startsWith(5)", 13, "takes a string"},
	{"s.startsWith('a'", 16, "a ) is expected"},
	{"has(5)", 4, "has takes a member"},
	{"has(topic)", 4, "has takes a member"},
	{"has(p", 5, "a ) is expected"},
	{"'a' > 5", 4, "a string is never compared with a number"},
	{"topic > 5", 6, "topic is the topic's name"},
	{"topic == null", 6, "a string is never compared with null"},
	{"p > true", 2, "compares numbers or strings"},
	{"p >= null", 2, "compares numbers or strings"},
	{"p + 'a' == 5", 2, "takes numbers, not a string"},
	{"-topic > 5", 0, "takes numbers, not a string"},
	{"topic in [1]", 10, "never compared"},
	{"1 < p < 5", 6, "1 < x && x < 5"},
	{"a == b == c", 7, "1 < x && x < 5"},
	{"(p > 5) == true", 8, "true or false already"},
	{"!p == true", 3, "true or false already"},
	{"p + 5", 2, "a condition is expected, and this is a number"},
	{"'a' && p", 0, "a condition is expected, and this is a string"},
	{"topic", 0, "a condition is expected"},
	{"p in (1, 2)", 5, "a list is expected behind in"},
	{"p in [1 2]", 8, "a , or ] is expected"},
	{"p in [q]", 6, "a list has numbers"},
	{"p in [1,", 8, "is expected here"},
	{"[1] == p", 0, "only behind in"},
	{"p[0] > 5", 2, "elements of lists"},
	{"p[q] > 5", 2, "a name in quotes"},
	{"p['a' > 5", 6, "a ] is expected"},
	{"p. > 5", 3, "a name is expected behind the point"},
	{"topic.x > 5", 6, "written value.topic"},
	{"24h_change > 5", 0, "value['24h_change']"},
	{"p > 10k", 4, "no number"},
	{"p > 0x1F", 4, "no number"},
	{"p > .5", 4, "write 0.5"},
	{"p > 5.", 6, "a digit is expected"},
	{"p > 5%", 6, "is expected here"},
	{"p > 1e400", 4, "does not fit"},
	{"p > 1" + strings.Repeat("0", 900), 4, "does not fit"},
	{"p > " + strings.Repeat("7", 38), 4, "does not fit"},
	{"p$ > 5", 1, "'$' has no meaning"},
	{"é > 5", 0, "value['odd name']"},
	{"p > 5 v > 1", 6, "an operator such as && or < is expected"},
	{"(p > 5", 6, "or ) is expected, not the end"},
	{"p > 5)", 5, "no ( to this )"},
	{"p > 5 &&", 8, "is expected here"},
	{"&& p", 0, "not \"&&\""},
	{"!-p > 5", 1, "write ( )"},
	{"p == \xff", 5, "not UTF-8"},
	{"p == {}", 5, "no maps"},
	{"x\x00", 1, "has no meaning"},
	{strings.Repeat("(", 17) + "p", 16, "more than 16 parentheses"},
	{strings.Repeat("(", 1000), 16, "more than 16 parentheses"},
	{strings.Repeat("has(", 256), 64, "more than 16 parentheses"},
	{strings.Repeat("!(", 500), 33, "more than 16 parentheses"},
	{strings.Repeat("!", 1023), 1023, "is expected here"},
	{strings.Repeat("a.b(", 200), 2, "no function"},
	{"p" + strings.Repeat(" ", 1024), 1024, "1025 bytes, of at most 1024"},
	{many(17, "m%d", "||"), 10*4 + 6*5, "more than 16 members"},
	{many(65, "a", "+") + " > 1", 127, "more than 128"},
	{"p in [" + many(65, "%d", ","), 6 + 10*2 + 54*3, "more than 64 elements"},
	{"p" + many(16, ".a", ""), 32, "more than 16 names"},
	{"s == '" + strings.Repeat("x", 257) + "'", 5, "more than 256 bytes"},
	{many(100, "a>b", "||"), -1, "more than 128"},
	{"s == '" + strings.Repeat("\x01", 250) + "' || s == '" + strings.Repeat("\x01", 100) + "'", 0, "when it is normalised"},
}

func TestErrors(t *testing.T) {
	for _, c := range mistaken {
		_, err := Parse(c.src, Limits{})
		if err == nil {
			t.Errorf("%.40q is taken", c.src)
			continue
		}
		at := err.At == c.at || c.at < 0
		if !at || !strings.Contains(err.Reason, c.reason) || len(err.Reason) > 250 {
			t.Errorf("%.60q: %v; want byte %d: %s", c.src, err, c.at, c.reason)
		}
		if want := fmt.Sprintf("at byte %d: %s", err.At, err.Reason); err.Error() != want {
			t.Errorf("the error is %q, want %q", err.Error(), want)
		}
	}
}

func TestParseBy(t *testing.T) {
	for src, want := range map[string]By{
		"-chg_pct": {"chg_pct", true}, " bid . px ": {"bid.px", false}, "-value[\"24h\"]": {"value['24h']", true},
		"value.p": {"p", false},
	} {
		if by, err := ParseBy(src); err != nil || by != want {
			t.Errorf("%s is %+v: %v", src, by, err)
		}
	}
	for src, at := range map[string]int{"": 0, "-": 1, "5": 0, "topic": 0, "p, q": 1, "p desc": 2, "--p": 1,
		"p > 5": 2, "+p": 0, "has(p)": 0} {
		if by, err := ParseBy(src); err == nil || err.At != at {
			t.Errorf("%q is %+v: %v, want an error at %d", src, by, err, at)
		}
	}
}

func TestMembersAndAlways(t *testing.T) {
	e := mustParse(t, "b.c > 1 && value['a'] < 2 || a == value['x y'] || topic == 'a'")
	if got := e.Members(); !slices.Equal(got, []string{"a", "b.c", "value['x y']"}) || e.Always() {
		t.Errorf("members: %q", got)
	}
	if e = mustParse(t, "a > 5 || true"); len(e.Members()) != 0 || !e.Always() || !verdict(e.root, `{}`) {
		t.Errorf("%q is not always true", e)
	}
}

// Who has ten thousand conditions that are nearly the same pays for each; nothing in here is kept of them.
func TestManyConditions(t *testing.T) {
	texts := make(map[string]bool)
	for i := range 10_000 {
		texts[mustParse(t, fmt.Sprintf("p > %d && (v > 1e6 || s in ['a', 'b']) && !(q + %d < 5)", i, i)).String()] = true
	}
	if len(texts) != 10_000 {
		t.Errorf("%d texts", len(texts))
	}
	long := strings.Repeat("(a.b.c + 1) * -2 >= 1e-9 || ", 11) + "x in ['a', 'b']"
	if n := testing.AllocsPerRun(10, func() { mustParse(t, long) }); n > 2000 {
		t.Errorf("a long condition takes %v allocations", n)
	}
}

// TestVerdicts says what missing members, other types and numbers that do not fit mean.
func TestVerdicts(t *testing.T) {
	for value, conditions := range map[string]map[string]bool{
		`{"x":6,"s":"abc","ok":true,"no":false,"z":null,"o":{"p":1},"l":[1],"huge":1e400,"long":12345678901234567890123456789012345678}`: {
			"x > 5": true, "x >= 6 && x <= 6 && x == 6.0 && 7 > x && x != 5": true, "y > 5": false, "y <= 5": false,
			"!(y > 5)": true, "y != 5": false,
			"!(y != 5)": true, "y == null": false, "y != null": false, "z == null": true, "z != null": false,
			"x != null": true, "o != null": true,
			"has(y)": false, "has(z)": true, "has(o.p)": true, "has(o.q)": false, "o.p == 1": true, "x.p == 1": false,
			"has(huge)": true, "has(l)": true,
			"x == '6'": false, "x != '6'": false, "s == 6": false, "s != 6": false, "s > 'abb'": true,
			"s.startsWith('ab')": true, "s.endsWith('bc')": true,
			"s.contains('b')": true, "s.contains('x')": false, "x.startsWith('6')": false, "!x.startsWith('6')": true,
			"ok": true, "!ok": false, "no": false,
			"!no": true, "!y": true, "y": false, "x": false, "!x": true, "ok == true": true, "no == false": true,
			"y == false": false, "x == false": false,
			"ok != no": true, "ok == no": false, "x == s": false, "x != s": false, "x < s": false, "x in [5, 6]": true,
			"x in ['6']": false, "y in [null]": false,
			"z in [null, 5]": true, "s in ['abc', 1]": true, "ok in [true]": true, "o == o": false, "o != o": false, "l == l": false,
			"huge > 5": false, "huge <= 5": false, "!(huge > 5)": true, "huge == huge": false, "long > 5": false,
			"x / 0 > 1": false, "x / 0 < 1": false,
			"x % 4 == 2": true, "-x % 4 == -2": true, "x / 4 == 1.5": true, "x * 0.1 + 0.1 == 0.7": true,
			"x - y < 5": false, "-(x) < -5": true,
			"x * 1e308 > 0": true, "x * 1e307 * 1e10 > 0": false, "topic == 'crypto:BTC'": true, "topic in ['a', 'crypto:BTC']": true,
			"topic.startsWith('crypto:') && x > 5": true, "topic.contains(s)": false, "value.x == 6": true, "value == 6": false,
		},
		`123.45`: {"value > 123": true, "has(value)": true, "has(x)": false,
			"value.x > 1": false, "value == 123.450": true},
		` "abc" `:                   {"value == 'abc'": true, "value.startsWith('a')": true},
		`null`:                      {"value == null": true, "has(value)": true},
		`{"x":1,"x":2}`:             {"x == 2": true, "x == 1": false},
		`{"o":{"p":1},"o":{"q":1}}`: {"has(o.p)": false, "o.q == 1": true},
		`{"o":{"p":1},"o":5}`:       {"has(o.p)": false, "o == 5": true},
		`{"o":5,"o":{"p":1}}`:       {"o.p == 1": true, "o == 5": false},
		`{"\u0078":"\u0061\"b\\c"}`: {`x == 'a"b\\c'`: true, "x.startsWith('a')": true, "x.contains('u')": false},
		`{"s":"\uD83D\u0061"}`:      {"s == '\uFFFDa'": true},
		`{"s":"\uD83D\uDE00é"}`:     {"s == '😀é'": true, `s == '\U0001F600\u00e9'`: true},
		`{"value":{"p":1},"topic":2}`: {"value.p == 1": false, "value.value.p == 1": true, "value.topic == 2": true,
			"topic == 'crypto:BTC'": true},
	} {
		for src, want := range conditions {
			if got := verdict(mustParse(t, src).root, value); got != want {
				t.Errorf("%s is %v of %s", src, got, value)
			}
			plain, _ := parse(src, Limits{}.filled())
			if got := verdict(plain, value); got != want {
				t.Errorf("%s, as it is written, is %v of %s", src, got, value)
			}
		}
	}
}

func TestManyGoroutinesEvaluateOneProgram(t *testing.T) {
	e := mustParse(t, "p > 5 && (s == 'a' || q.r * 2 in [4, 6])")
	p := NewPaths(e.Members())
	g := e.Bind(p)
	done := make(chan bool)
	for i := range 4 {
		go func() {
			var v Values
			ok := true
			for range 1000 {
				p.Extract(fmt.Sprintf(`{"p":%d,"s":"\u0062","q":{"r":3}}`, 4+i), &v)
				ok = ok && g.Eval("x", &v) == (4+i > 5)
			}
			done <- ok
		}()
	}
	for range 4 {
		if !<-done {
			t.Error("a verdict is wrong")
		}
	}
}
