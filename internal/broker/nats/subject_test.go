// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"strings"
	"testing"

	"tickedge/internal/topics"
)

func TestSubjects(t *testing.T) {
	for _, c := range []struct{ template, topic, subject string }{
		{"{topic}", "AAPL", "AAPL"},
		{"{topic}", "kline:1s:BTC-USD", "kline.1s.BTC-USD"},
		{"md.prod.eu.{topic}", "kline:1s:BTC-USD", "md.prod.eu.kline.1s.BTC-USD"},
		{"{topic}", "M&M.NS", "M&M%2ENS"},
		{"{topic}", "100%", "100%25"},
		{"{topic}", ">", "%3E"},
		{"{topic}", "$SYS:A", "%24SYS.A"},
		{"md.{topic}", "$SYS", "md.$SYS"},
		{"{topic}", "A$", "A$"},
		{"{topic}", ":", "%.%"},
		{"{topic}", "a::b", "a.%.b"},
		{"{topic}", ":a:", "%.a.%"},
		{"{topic}", "币安:1m", "币安.1m"},
	} {
		s, err := newSubjects(c.template)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.of(c.topic); got != c.subject {
			t.Errorf("%s in %s: %s, want %s", c.topic, c.template, got, c.subject)
		}
		if got, ok := s.topic(c.subject); !ok || got != c.topic {
			t.Errorf("%s by %s: %q, %v, want %s", c.subject, c.template, got, ok, c.topic)
		}
	}
}

// Each subject is that of one topic at most: a form that no topic has is none.
func TestForeignSubjects(t *testing.T) {
	s, _ := newSubjects("md.{topic}")
	for _, subject := range []string{"", "md", "md.", "AAPL", "md.%41", "md.a%2eb", "md.a%2", "md.%ZZ", "md.a:b", "md.a%b", "md.a.%%", "md.>"} {
		if topic, ok := s.topic(subject); ok {
			t.Errorf("%s is the topic %q", subject, topic)
		}
	}
}

func TestTemplates(t *testing.T) {
	for _, template := range []string{"", "AAPL", "{topic}{topic}", "md{topic}", "md.{topic}.x", "md..{topic}", "md.>.{topic}", "$JS.{topic}", "$KV.{topic}", "$KV..{topic}", "md.$KV.a.{topic}", "m d.{topic}", strings.Repeat("x", 300) + ".{topic}"} {
		if _, err := newSubjects(template); err == nil {
			t.Errorf("%s was taken", template)
		}
	}
	if s, err := newSubjects("$KV.prices.{topic}"); err != nil || s.of("kline:1s:BTC-USD") != "$KV.prices.kline.1s.BTC-USD" {
		t.Errorf("a bucket: %v, %v", s, err)
	}
}

func TestOverlaps(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"md.>", "md.>", true},
		{"md.eu.>", "md.>", true},
		{"md.*.x", "md.eu.>", true},
		{"*.eu", "md.*", true},
		{">", "md.>", true},
		{"md.AAPL", "md.>", true},
		{"md", "md.>", false},
		{"other.>", "md.>", false},
		{"*.eu.>", "md.us.>", false},
		{"md.a", "md.a.b", false},
	} {
		if overlaps(c.a, c.b) != c.want || overlaps(c.b, c.a) != c.want {
			t.Errorf("%s and %s: want %v", c.a, c.b, c.want)
		}
	}
}

// A topic has one subject, which is legal and no pattern, and the subject leads back to it.
func FuzzSubject(f *testing.F) {
	for _, name := range []string{"AAPL", "a:b", "::", ".", "%", ">", "$JS:API", "é", "EURUSD=X", "%2E", "a.%.b"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !topics.ValidName(name) {
			t.Skip()
		}
		for _, template := range []string{"{topic}", "md.prod.{topic}"} {
			s, _ := newSubjects(template)
			subject := s.of(name)
			for token := range strings.SplitSeq(subject, ".") {
				if token == "" || strings.ContainsAny(token, " \t\r\n*>") {
					t.Fatalf("%q has the subject %q", name, subject)
				}
			}
			if subject[0] == '$' {
				t.Fatalf("%q has the subject %q, which belongs to the server", name, subject)
			}
			if got, ok := s.topic(subject); !ok || got != name {
				t.Fatalf("%q has the subject %q, which leads to %q, %v", name, subject, got, ok)
			}
		}
	})
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		pattern, all string
		want         bool
	}{
		{"md.>", "md.>", true}, {"md.>", "md.prod.>", true}, {"md.*.>", "md.prod.>", true}, {">", "md.>", true}, {">", ">", true},
		{"md.prod.>", "md.>", false}, {"md.*", "md.>", false}, {"md", "md.>", false}, {"mdx.>", "md.>", false}, {"md.prod", "md.prod.>", false},
		{"*.>", ">", false}, {"orders.>", ">", false}, {"md.x.>", "md.prod.>", false},
	} {
		if got := covers(c.pattern, c.all); got != c.want {
			t.Errorf("%s covers %s: %v", c.pattern, c.all, got)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, subject string
		want             bool
	}{
		{">", "a", true}, {"a.>", "a.b.c", true}, {"a.>", "a", false}, {"a.*", "a.b", true}, {"a.*", "a.b.c", false}, {"a", "a", true},
		{"a", "a.b", false}, {"a.b", "a", false}, {"*.b", "a.b", true}, {"*.b", "a.c", false},
	} {
		if matches(c.pattern, c.subject) != c.want {
			t.Errorf("matches(%q, %q) is not %v", c.pattern, c.subject, c.want)
		}
	}
}
