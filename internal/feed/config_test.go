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
