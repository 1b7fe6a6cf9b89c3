// SPDX-License-Identifier: Apache-2.0

package broker

import "testing"

// BenchmarkInspectVersion is what each tick costs before it is looked up.
func BenchmarkInspectVersion(b *testing.B) {
	const short, wide = `{"p":189.87,"ts":1732181723411}`,
		`{"e":"trade","E":1732181723412,"s":"BTCUSDT","t":4182736455,"p":"97012.34000000","q":"0.00213000","T":1732181723411,"m":true,"M":true,"ts":1732181723411}`
	for _, c := range []struct{ name, value, path string }{
		{"short", short, ""}, {"wide", wide, ""},
		{"short, version", short, "ts"}, {"wide, version first", wide, "E"}, {"wide, version last", wide, "ts"},
		{"nested", `{"p":189.87,"meta":{"x":1,"ts":1732181723411000001}}`, "meta.ts"},
		{"decimal", `{"p":189.87,"ts":1732181723.411}`, "ts"},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, f := InspectVersion(c.value, c.path); f != Flawless {
					b.Fatal(f)
				}
			}
		})
	}
}
