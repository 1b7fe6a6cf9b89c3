// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A trade's trace goes with it, in its value and in a header, which goes before the value. Of what is too long to be one no more is
// kept than shows that.
func TestTraceOfRecords(t *testing.T) {
	const tp, other = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-11111111111111111111111111111111-2222222222222222-00"
	table := newTable(t, 1)
	x := nth(table.Named("SIM:S0"), 1)
	for _, f := range []Format{Protobuf, JSON} {
		x.Trace = tp
		r := traced(newRecord("trades", "A", encodeTrade(nil, &x, f), f), x.Trace)
		if len(r.Headers) != 2 || r.Headers[1].Key != "traceparent" || string(r.Headers[1].Value) != tp {
			t.Errorf("%s: %v", f, r.Headers)
		}
		if plain := newRecord("trades", "A", nil, f); len(plain.Headers) != 1 || len(traced(plain, "").Headers) != 1 {
			t.Errorf("%s: a record without a trace has %v", f, plain.Headers)
		}
		long := strings.Repeat("x", 10_000)
		for _, c := range []struct{ value, header, want string }{
			{tp, tp, tp}, {tp, "", tp}, {"", tp, tp}, {tp, other, other}, {"", "", ""}, {"", long, long[:traceLen+1]}, {long, "", long[:traceLen+1]}, {long, tp, tp},
		} {
			x.Trace = c.value
			r := newRecord("trades", "A", encodeTrade(nil, &x, f), f)
			if c.header != "" {
				r.Headers = append([]kgo.RecordHeader{{Key: "traceparent", Value: []byte(c.header)}}, r.Headers...)
			}
			if got, err := decodeTrade(r, table, 1<<60); err != nil || got.Trace != c.want {
				t.Errorf("%s: %.60q with the header %.60q is %.60q, %v", f, c.value, c.header, got.Trace, err)
			}
		}
	}
}
