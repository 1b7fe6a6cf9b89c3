// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestNewPrefixes(t *testing.T) {
	for _, c := range []struct{ of, want []string }{
		{nil, nil},
		{[]string{"b:", "a:b", "a:", "a:c:", "b"}, []string{"a:", "b"}},
		{[]string{"a", "", "b"}, []string{""}},
		{[]string{"a b", "a\r\nSUB x", "a*", strings.Repeat("x", 65), "a"}, []string{"a"}},
		{[]string{"a", "a"}, []string{"a"}},
	} {
		if got := NewPrefixes(c.of); !slices.Equal(got, c.want) {
			t.Errorf("of %q there are %q, want %q", c.of, []string(got), c.want)
		}
	}
}

// Cover is what a look at each prefix finds.
func TestPrefixesCover(t *testing.T) {
	name := func() string {
		b := make([]byte, rand.N(5))
		for i := range b {
			b[i] = "a:b"[rand.N(3)]
		}
		return string(b)
	}
	covered := 0
	for range 20_000 {
		of := make([]string, rand.N(4))
		for i := range of {
			of[i] = name()
		}
		topic := name() + "a"
		want := slices.ContainsFunc(of, func(p string) bool { return strings.HasPrefix(topic, p) })
		if got := NewPrefixes(of).Cover(topic); got != want {
			t.Fatalf("%q cover %q: %v", of, topic, got)
		}
		if want {
			covered++
		}
	}
	if covered < 1000 {
		t.Errorf("only %d were covered", covered)
	}
}
