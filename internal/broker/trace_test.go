// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"strings"
	"testing"
)

func TestParent(t *testing.T) {
	const tp = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for value, want := range map[string]string{
		`{"p":1,"tp":"` + tp + `"}`:         tp,
		`{"p":1,"tp":"` + tp + `","ver":7}`: tp,
		`{"tp":"a","tp" : "b"}`:             "b",
		`{"p":1}`:                           "",
		`{"p":1,"tp":7}`:                    "", // Somebody's own.
		`{"p":1,"tp":null}`:                 "",
		`{"p":1,"tp":{"tp":"x"}}`:           "",
		`{"m":{"tp":"x"}}`:                  "",
		`["tp","x"]`:                        "",
		`"tp"`:                              "",
		`{"p":"\"tp\":\"x\""}`:              "",
		`{"tp":""}`:                         "",
		`{"tp":"` + strings.Repeat("x", 4000) + `"}`: strings.Repeat("x", parentMost),
	} {
		if f := Inspect(value); f != Flawless {
			t.Fatalf("%s is %v", value, f)
		}
		if got := Parent(value); got != want {
			t.Errorf("%.80s has %q, want %q", value, got, want)
		}
	}
	if got := string(WithParent([]byte(`{"p":1}`), tp)); got != `{"p":1,"tp":"`+tp+`"}` || Parent(got) != tp {
		t.Errorf("%s", got)
	}
	if n := testing.AllocsPerRun(100, func() { Parent(`{"p":1,"tp":"` + tp + `"}`) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Of a price as marketdata has them.
func BenchmarkParentNone(b *testing.B) {
	const value = `{"p":95123.45,"q":0.01,"side":"buy","id":812345678,"x":"COINBASE","b":95123.4,"a":95123.6,"ts":1772409780000,` +
		`"o":94110,"h":96120.5,"l":94110,"v":2123.51234567,"chg":1013.45,"chg_pct":1.08,"dir":1,"chg_5m_pct":0.55,"ver":1772409780000123}`
	for b.Loop() {
		if Parent(value) != "" {
			b.Fatal("it has one")
		}
	}
}
