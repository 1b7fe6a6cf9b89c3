// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"strings"
	"testing"
)

func TestInspect(t *testing.T) {
	for value, want := range map[string]Flaw{
		`1`:                        Flawless,
		` {"a":[null]} `:           Flawless,
		`"` + "é" + `"`:            Flawless,
		`"\ud800"`:                 LoneSurrogate,
		``:                         NotJSON,
		`1 2`:                      NotJSON,
		`{"a":1}x`:                 NotJSON,
		`NaN`:                      NotJSON,
		`"` + "\xff" + `"`:         NotUTF8,
		`"` + "\xed\xa0\x80" + `"`: NotUTF8, // A surrogate.
		`"` + strings.Repeat("x", ValueMax-2) + `"`: Flawless,
		`"` + strings.Repeat("x", ValueMax-1) + `"`: TooBig,
		strings.Repeat("[", ValueMax):               TooDeep,
	} {
		if got := Inspect(value); got != want {
			t.Errorf("Inspect(%.20q…) = %q, want %q", value, got, want)
		}
	}
}

// benchValue is as long as most.
const benchValue = `{"p":189.87,"b":189.86,"a":189.88,"ts":1732181723411}`

func BenchmarkInspect(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Inspect(benchValue)
	}
}
