// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/rand/v2"
	"testing"
)

// FuzzAgainstCEL lets the fuzzer choose what is made up.
func FuzzAgainstCEL(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	o, err := newOracle()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, a, b uint64) {
		g := generator{rand.New(rand.NewPCG(a, b))}
		src := g.condition(4)
		program, err := o.compile(src)
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		for range 8 {
			value := g.value()
			want, ok := eval(program, value)
			if !ok {
				continue
			}
			if got, err := ours(src, value); err == nil && got != want { // Of what is beyond our limits cel-go has no opinion.
				t.Errorf("%s is %v of %s, and with cel-go %v", src, got, value, want)
			}
		}
	})
}
