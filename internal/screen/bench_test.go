// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"fmt"
	"strings"
	"testing"
)

// A quote of 150 bytes.
const quote = `{"sym":"BTCUSDT","ts":1732790000123,"p":67123.45,"bid":{"px":67123.4,"q":1.25},"ask":{"px":67123.5,"q":0.75},` +
	`"v":12345678.9,"chg_pct":5.31,"ok":true}`

func BenchmarkExtract(b *testing.B) {
	for _, n := range []int{1, 5, 300} {
		members := []string{"chg_pct", "v", "p", "bid.px", "sym"}
		for i := range 300 {
			members = append(members, fmt.Sprintf("m%d", i))
		}
		p := NewPaths(members[:n])
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var v Values
			b.ReportAllocs()
			for b.Loop() {
				p.Extract(quote, &v)
			}
		})
		b.Run(fmt.Sprint(n, "numbers"), func(b *testing.B) {
			var v Values
			b.ReportAllocs()
			for b.Loop() {
				p.Extract(quote, &v)
				for i := range min(n, 4) {
					v.Number(p.Index(members[i]))
				}
			}
		})
	}
}

func BenchmarkEval(b *testing.B) {
	for name, src := range map[string]string{
		"1":       "chg_pct > 5",
		"movers":  "chg_pct > 5 && v > 1e6",
		"5":       "chg_pct > 5 && v > 1e6 && p < 1e5 && bid.px > 1 && sym == 'BTCUSDT'",
		"20":      strings.Repeat("chg_pct == 5 || (v < 1e6 || p > 1e5) && bid.px > 1 || ", 5) + "ok",
		"spread":  "(ask.px - bid.px) / bid.px < 0.001",
		"strings": "topic.startsWith('crypto:') && sym in ['ETHUSDT', 'BTCUSDT']",
	} {
		e := mustParse(b, src)
		p := NewPaths(e.Members())
		g := e.Bind(p)
		b.Run(name, func(b *testing.B) {
			var v Values
			p.Extract(quote, &v)
			if !g.Eval("crypto:BTC", &v) {
				b.Fatalf("%s is false", src)
			}
			b.ReportAllocs()
			for b.Loop() {
				g.Eval("crypto:BTC", &v)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		mustParse(b, "chg_pct > 5 && v > 1e6")
	}
}

// In steady state nothing is allocated, whatever a value has.
func TestExtractAndEvalDoNotAllocate(t *testing.T) {
	e := mustParse(t, "chg_pct > 5 && v / 3 > 1e5 && sym in ['a', 'BTC'] && has(bid.px) && topic.contains(sym)")
	p := NewPaths(e.Members())
	g := e.Bind(p)
	var v Values
	value := `{"sym":"\u0042TC","\u0076":12345678.9,"chg_pct":5.31234567890123456789,"bid":{"px":67123.4}}`
	if n := testing.AllocsPerRun(100, func() {
		p.Extract(value, &v)
		if !g.Eval("crypto:BTC", &v) {
			t.Fatal("it is false")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
