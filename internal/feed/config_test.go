// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"slices"
	"strings"
	"testing"
)

func TestParseSource(t *testing.T) {
	for text, want := range map[string]struct {
		patterns []string
		url      string
	}{
		"redis://h":                        {url: "redis://h"},
		"fx:*=redis://h":                   {patterns: []string{"fx:*"}, url: "redis://h"},
		"fx:*,a/b=unix://u:p@/r?db=1":      {patterns: []string{"fx:*", "a/b"}, url: "unix://u:p@/r?db=1"},
		"redis://h?db=1":                   {url: "redis://h?db=1"},
		"redis://u:p=w@h":                  {url: "redis://u:p=w@h"}, // No pattern redis://u:p.
		"EURUSD=X=redis://h":               {patterns: []string{"EURUSD=X"}, url: "redis://h"},
		"EURUSD=X,*=F,^GSPC=redis://h":     {patterns: []string{"EURUSD=X", "*=F", "^GSPC"}, url: "redis://h"},
		"a==redis://u:p==w@h?db=1":         {patterns: []string{"a="}, url: "redis://u:p==w@h?db=1"},
		"币安人生USDT,M&M.NS=unix:///r":        {patterns: []string{"币安人生USDT", "M&M.NS"}, url: "unix:///r"},
		"a@b,c?d#e/f=redis-sentinel://h/m": {patterns: []string{"a@b", "c?d#e/f"}, url: "redis-sentinel://h/m"},
		"fx:*=reddis://u:p=redis://w@h":    {patterns: []string{"fx:*"}, url: "reddis://u:p=redis://w@h"}, // Refused, and no pattern has a password.
		"fx:*=u:p=w@h":                     {url: "fx:*=u:p=w@h"},
		"redis:/u:p=w@h":                   {url: "redis:/u:p=w@h"},
		"a=":                               {patterns: []string{"a"}},
		"=redis://h":                       {patterns: []string{""}, url: "redis://h"},
		"fx:*,=redis-cluster://a:1,b:2":    {patterns: []string{"fx:*", ""}, url: "redis-cluster://a:1,b:2"},
	} {
		if patterns, url := ParseSource(text); url != want.url || !slices.Equal(patterns, want.patterns) {
			t.Errorf("%s = %q, %s", text, patterns, url)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no string
	}{
		{"fx:*", "fx: fx:EUR-USD fx:*", "fx FX:EUR xfx:A"},
		{"*:1m", ":1m a:1m", "1m a:1m2 a:1"},
		{"a*b*c", "abc aXbYc abbc abcbc", "ac acb abcd ab bc"},
		{"a*a", "aa aba", "a"},
		{"AAPL", "AAPL", "AAPL2 AAP aapl"},
		{"a.c", "a.c", "abc"},
		{"*a*", "a ba ab xay", "b"},
		{"^*", "^GSPC", "GSPC"},
		{"币*USDT", "币安人生USDT 币USDT", "帀USDT 币安人生"},
	} {
		for _, topic := range strings.Fields(c.yes) {
			if !match(c.pattern, topic) {
				t.Errorf("%s does not match %s", c.pattern, topic)
			}
		}
		for _, topic := range strings.Fields(c.no) {
			if match(c.pattern, topic) {
				t.Errorf("%s matches %s", c.pattern, topic)
			}
		}
	}
}

// Patterns are made of what names are, and of stars. None is repeated, as it may be a part of a
// URL with a password.
func TestCheckPattern(t *testing.T) {
	for _, p := range []string{"fx:*", "*:1m", "^GSPC", "M&M.*", "ES1!", "*@depth5", "币*", "*人*USDT", strings.Repeat("x", 64) + "*"} {
		if err := checkPattern(p); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
	for _, p := range []string{"", "*", "**", "a b", "a,b", `a"`, `a\`, "{a}", "a\u00a0*", "a\xe5*\xb8\x81", "\xff", strings.Repeat("x", 65)} {
		if err := checkPattern(p); err == nil || len(p) > 2 && strings.Contains(err.Error(), p) {
			t.Errorf("%q: %v", p, err)
		}
	}
}
