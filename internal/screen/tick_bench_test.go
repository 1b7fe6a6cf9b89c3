// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"fmt"
	"testing"

	"tickedge/internal/topics"
)

// BenchmarkTick is a tick of one of 1,000 topics that are covered: committed, and looked at by so many conditions that differ. Of these
// few are fulfilled. "none covered" is what a tick costs without.
func BenchmarkTick(b *testing.B) {
	for _, n := range []int{0, 1, 10, 50} {
		name := fmt.Sprint("conditions=", n)
		if n == 0 {
			name = "none covered"
		}
		b.Run(name, func(b *testing.B) { benchTick(b, n, 1) })
	}
	for _, holders := range []int{100, 10_000} {
		b.Run(fmt.Sprint("conditions=10,holders=", holders), func(b *testing.B) { benchTick(b, 10, holders) })
	}
}

func benchTick(b *testing.B, conditions, holders int) {
	table, r := testRegistry(10_000, func(c *Config) { c.MaxPerUser, c.MaxScreens = 1<<30, 1000 })
	for i := range conditions {
		spec, e := ParseSpec([][]byte{[]byte("*")}, fmt.Sprintf("chg_pct > %d && v > 1e6", 5+i), 0, "", nil)
		if e != nil {
			b.Fatal(e.Reason)
		}
		for range holders {
			if _, e := r.Attach(spec, "me", epoch); e != nil {
				b.Fatal(e.Reason)
			}
		}
	}
	names, values := make([]string, 1000), make([]string, 16)
	for i := range names {
		names[i] = fmt.Sprint("crypto:T", i)
		if _, err := table.Acquire([]byte(names[i]), 0); err != nil {
			b.Fatal(err)
		}
	}
	for i := range values {
		values[i] = fmt.Sprintf(`{"p":64123.%02d,"q":0.0125,"b":64123.10,"a":64123.20,"o":63000.00,"h":64999.99,"l":62500.00,"v":%d.5,"chg":1123.01,"chg_pct":%d.78,"ts":1732790000000,"ver":1732790000000123}`, i, 900_000+i*20_000, i-9)
	}
	for i := range names {
		table.Publish(names[i], values[i%16], topics.Meta{})
	}
	r.Turn(epoch)
	r.Turn(epoch)
	if s := r.Stats(); conditions > 0 && s.Covered != 1000 {
		b.Fatalf("%+v", s)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		table.Publish(names[i%1000], values[(i+i/1000)%16], topics.Meta{})
		i++
	}
}
