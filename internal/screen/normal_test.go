// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func mustParse(t testing.TB, src string) *Expr {
	t.Helper()
	e, err := Parse(src, Limits{})
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	return e
}

// verdict evaluates a condition on one value.
func verdict(root *node, value string) bool {
	var members []string
	root.walk(func(n *node) {
		if n.kind == isMember {
			members = append(members, n.text)
		}
	})
	p := NewPaths(members)
	var v Values
	p.Extract(value, &v)
	return bind(root, p).Eval("crypto:BTC", &v)
}

func TestSpellingsAreOneText(t *testing.T) {
	for want, spellings := range map[string][]string{
		"1000000 < v && 5 < chg_pct": {"chg_pct > 5 && v > 1e6", "v>1000000.0&&chg_pct>5", "((5 < chg_pct)) && (v > 1e6)",
			"!!(v > 0.1e7) && 5.00 < chg_pct && v > 1e6", "value.v > 500 * 2000 && (true && value[\"chg_pct\"] > --5)"},
		"!(5 < x)":                     {"!(x > 5)", "!!!(x > 5)", "!(!(!(5 < x)))"},
		"!x":                           {"!(x == true)", "!(x != false)", "!(x in [true])"},
		"x == false":                   {"x != true", "false == x", "true != x"},
		"x in [1, 2, 'a', 'b']":        {"x in ['b', 2.0, \"a\", 1, 2, 'a']", "x in [1,2,'\\x61','\\142']"},
		"x == 'a\\'b'":                 {`x == "a'b"`, `'a\'b' == x`, `x in ["a\u0027b"]`},
		"a || b || c && d":             {"(b || a) || (d && c)", "d && c || a || b || a", "a || (b || (c && d)) || false"},
		"(a || b) && c":                {"c && (b || a)", "(a || b) && c && (b || a)"},
		"0 < ask - (1 + bid)":          {"ask - (bid + 1) > 0"},
		"x == y":                       {"y == x", "y == x && x == y"},
		"x < y":                        {"y > x"},
		"a * b + c < -d":               {"c + b * a < -d", "(c + (b * a)) < -(d)"},
		"a - b - c == 1":               {"(a - b) - c == 1", "1 == a - b - c"},
		"b + c + a == 1":               {"1 == (c + b) + a"},
		"a - (b - c) == 1":             {"a - (b - c) == 1"},
		"a / (b * c) == -1":            {"a / (c * b) == -1"},
		"value['odd name'].px != 5":    {"value[\"odd name\"]['px'] != 5", "5 != value['odd\\u0020name'].px"},
		"value == 5":                   {"value.value == 5", "value['value'] == 5"},
		"topic == value.topic":         {"topic == value['topic']", "value.topic == topic"},
		"value.in == value['24h']":     {"value['24h'] == value.in"},
		"topic.startsWith('crypto:')":  {"topic . startsWith ( \"crypto:\" )"},
		"bid.px < 1e22 && has(bid.px)": {"1e22 > bid.px && has ( bid.px )", "bid['px'] < 10000000000000000000000 && has(bid.px)"},
		"false": {"1 > 2", "false || a == 1 && 0.1 + 0.2 != 0.3", "x in []", "null != null",
			"!true", "'a' in ['b']"},
		"": {"true", " ", "1 == 1.0", "a || true", "0.1 + 0.2 == 0.3", "!(2 < 1)",
			"'b' > 'a'", "1 in [1]", "7 % 4 == 3"},
		"1 / 0 == x": {"x == 1 / 0"},
		"0.25 < x":   {"x > 1 / 4"},
	} {
		for _, s := range append(spellings, want) {
			if got := mustParse(t, s).String(); got != want {
				t.Errorf("%s is normalised to %q, want %q", s, got, want)
			}
		}
	}
	texts := make(map[string]string)
	for _, s := range []string{"x <= 5", "!(x > 5)", "x != 5", "!(x == 5)", "x + 1 > 6", "5 < x", "x == true",
		"x != false && has(x)", "!x", "x == false",
		"x == '5'", "x == 5", "a - b == c", "b - a == c", "a - (b - c) == 1", "a - b - c == 1", "a || b && c", "(a || b) && c"} {
		text := mustParse(t, s).String()
		if other, is := texts[text]; is {
			t.Errorf("%s and %s are one text: %s", s, other, text)
		}
		texts[text] = s
	}
}

// writer makes conditions up.
type writer struct{ *rand.Rand }

func (w writer) of(all ...string) string { return all[w.IntN(len(all))] }

var memberNames = []string{"p", "v", "bid", "bid.px", "s", "ok", "value['odd name']", "value"}

func (w writer) literal() string {
	return w.of("5", "5.0", "0", "1e6", "-2.5", "0.1", "0.3", "1e300", "12345678901234567890123456789", "'a'",
		"'ab'", "\"b\"", "''", "true", "false", "null")
}

func (w writer) operand(depth int) string {
	switch n := w.IntN(10); {
	case n < 5 || depth == 0:
		return w.of(memberNames...)
	case n < 7:
		return w.literal()
	case n < 8:
		return w.of("topic", "-p", "- v")
	}
	s := w.operand(depth-1) + w.of(" + ", "-", "*", " / ", " % ") + w.operand(depth-1)
	if w.IntN(2) == 0 {
		return w.of("", "-") + "(" + s + ")"
	}
	return s
}

func (w writer) condition(depth int) string {
	if depth > 0 && w.IntN(3) > 0 {
		n := 1 + w.IntN(3)
		all := make([]string, n)
		for i := range all {
			all[i] = w.condition(depth - 1)
		}
		return w.of("", "!", "!!") + "(" + strings.Join(all, w.of(" && ", "||")) + ")"
	}
	switch w.IntN(8) {
	case 0:
		return w.of("", "!") + "has(" + w.of(memberNames...) + ")"
	case 1:
		list := make([]string, w.IntN(4))
		for i := range list {
			list[i] = w.literal()
		}
		return w.operand(1) + " in [" + strings.Join(list, ", ") + "]"
	case 2:
		return w.of("topic", "s", "p") + w.of(".startsWith(", ".endsWith(", ".contains(") + w.of("'a'", "''",
			"'crypto:'", "s", "topic") + ")"
	case 3:
		return w.of("", "!", "!!") + w.of("ok", "p", "true", "false", "value")
	}
	return w.operand(2) + w.of(" == ", "!=", " < ", "<=", ">", " >= ") + w.operand(2)
}

// value makes a value up, in which members are missing, there twice, or of any type.
func (w writer) value(depth int) string {
	switch n := w.IntN(12); {
	case n < 5:
		return w.of("5", "5.0", "50e-1", "0", "-0.0", "1000000", "-2.5", "0.1", "0.2", "1e400", "1e-400", "3", "7",
			"123456789012345678901234567890")
	case n < 7:
		return w.of(`"a"`, `"ab"`, `"\u0061"`, `"\u0061b\n"`, `""`, `"crypto:BTC"`, `"\ud83d\ude00"`, `"\ud83d\u0061"`)
	case n < 9 || depth == 0:
		return w.of("true", "false", "null", "[]", `[1,{"p":[5]}]`)
	}
	return w.object(depth - 1)
}

func (w writer) object(depth int) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range w.IntN(7) {
		if i > 0 {
			b.WriteString(w.of(",", " , "))
		}
		b.WriteString(w.of(`"p"`, `"v"`, `"bid"`, `"px"`, `"s"`, `"ok"`, `"odd name"`, `"odd\u0020name"`, `"value"`,
			`"x"`) + w.of(":", " : ") + w.value(depth))
	}
	b.WriteByte('}')
	return b.String()
}

// same reports what a condition's normalised tree does other than the plain one.
func same(t *testing.T, src string, values []string) (taken bool) {
	t.Helper()
	e, err := Parse(src, Limits{})
	if err != nil {
		return false
	}
	text := e.String()
	again, err := Parse(text, Limits{})
	if err != nil || again.String() != text || !slices.Equal(again.Members(), e.Members()) {
		t.Fatalf("%s: its text %q is no fixed point: %v", src, text, err)
	}
	plain, _ := parse(src, Limits{}.filled())
	for _, value := range values {
		if want, got, third := verdict(plain, value), verdict(e.root, value), verdict(again.root, value); got != want || third != want {
			t.Fatalf("%s is %v of %s, and normalised (%s) %v", src, want, value, text, got)
		}
	}
	return true
}

func TestNormalisedHasTheSameVerdicts(t *testing.T) {
	w := writer{rand.New(rand.NewPCG(3, 4))}
	taken, inside, all := 0, 0, 0
	for range 5000 {
		src := w.condition(3)
		values := []string{w.value(0)}
		for range 8 {
			values = append(values, w.object(2))
		}
		if !same(t, src, values) {
			continue
		}
		taken++
		for _, value := range values {
			all++
			if verdict(mustParse(t, src).root, value) {
				inside++
			}
		}
	}
	if taken < 1500 || inside < all/10 || inside > all*9/10 {
		t.Errorf("the test sees little: %d conditions, %d of %d inside", taken, inside, all)
	}
}

func FuzzCondition(f *testing.F) {
	w := writer{rand.New(rand.NewPCG(5, 6))}
	for range 50 {
		f.Add(w.condition(2), w.object(2))
	}
	f.Add("a && (b || !has(c.d)) || x in [1, 'a', null]", `{"a":true}`)
	f.Fuzz(func(t *testing.T, src, value string) {
		same(t, src, []string{value, `{"p":5}`})
		if _, err := ParseBy(src); err == nil {
			by, _ := ParseBy(src)
			if again, err := ParseBy(by.String()); err != nil || again != by {
				t.Errorf("%s: its text %q is no fixed point: %v", src, by, err)
			}
		}
	})
}

// FuzzExtract holds members against what encoding/json makes of a value.
func FuzzExtract(f *testing.F) {
	w := writer{rand.New(rand.NewPCG(7, 8))}
	for range 200 {
		f.Add(w.object(3))
	}
	f.Add("5")
	p := NewPaths(append(memberNames, "bid.px.p", "bid.bid.px", "x.value.p"))
	f.Fuzz(func(t *testing.T, value string) {
		var v Values
		p.Extract(value, &v) // It does not fail either if the value is no JSON.
		agree(t, p, &v, value)
	})
}

func TestExtract(t *testing.T) {
	w := writer{rand.New(rand.NewPCG(9, 10))}
	few, many := NewPaths(append(memberNames, "bid.px.p", "x.value.p")), NewPaths(append(memberNames, "bid.bid.px",
		"a", "b", "c", "d", "e", "f", "g", "h", "i", "not a path", "value['a'].b.c", "x"))
	var v Values
	for range 2000 {
		for _, p := range []*Paths{few, many} {
			value := w.value(4)
			p.Extract(value, &v)
			agree(t, p, &v, value)
		}
	}
}

// agree holds what was found in a value against encoding/json.
func agree(t *testing.T, p *Paths, v *Values, value string) {
	t.Helper()
	if !json.Valid([]byte(value)) || !utf8.ValidString(value) {
		return
	}
	d := json.NewDecoder(strings.NewReader(value))
	d.UseNumber()
	whole, ok := decodeLast(d)
	if !ok {
		return
	}
	if _, object := whole.(map[string]any); !object {
		whole = map[string]any{"value": whole}
	}
	for member, i := range p.index {
		names, _ := namesOf(member)
		want, found := whole, true
		for _, name := range names {
			in, _ := want.(map[string]any)
			if want, found = in[name]; !found {
				break
			}
		}
		s := v.at(i)
		if (s != nil) != found {
			t.Fatalf("%s: %s is there: %v", value, member, s != nil)
		}
		if !found {
			continue
		}
		num, isNum := v.Number(i)
		str, isStr := v.text(i)
		switch want := want.(type) {
		case json.Number:
			if n, ok := parseNumber(want.String()); isNum != ok || num != n || s.sort != aNumber {
				t.Fatalf("%s: %s is the number %s (%v)", value, member, num.append(nil), isNum)
			}
		case string:
			if !isStr || str != want || isNum {
				t.Fatalf("%s: %s is the string %q (%v)", value, member, str, isStr)
			}
		case bool:
			if (s.sort == yes) != want || !want && s.sort != no {
				t.Fatalf("%s: %s is of sort %d", value, member, s.sort)
			}
		case nil:
			if s.sort != null {
				t.Fatalf("%s: %s is of sort %d", value, member, s.sort)
			}
		default:
			if s.sort != other || isNum || isStr {
				t.Fatalf("%s: %s is of sort %d", value, member, s.sort)
			}
		}
	}
}

// decodeLast decodes as JSON.parse does: of a name that is there twice the last counts. The maps of encoding/json put objects together.
func decodeLast(d *json.Decoder) (any, bool) {
	tok, err := d.Token()
	if err != nil {
		return nil, false
	}
	switch tok {
	case json.Delim('{'):
		all := make(map[string]any)
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, false
			}
			value, ok := decodeLast(d)
			if !ok {
				return nil, false
			}
			all[name.(string)] = value
		}
		_, err = d.Token()
		return all, err == nil
	case json.Delim('['):
		var all []any
		for d.More() {
			value, ok := decodeLast(d)
			if !ok {
				return nil, false
			}
			all = append(all, value)
		}
		_, err = d.Token()
		return all, err == nil
	}
	return tok, true
}
