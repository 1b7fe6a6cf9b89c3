// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"encoding/hex"
	"math"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"

	"tickedge/internal/bars"
	"tickedge/internal/history"
	"tickedge/internal/history/historytest"
	"tickedge/internal/pgtest"
)

// Sums are read from binary as pgx writes them.
func TestSumOfBinary(t *testing.T) {
	sums := []bars.Sum{{}, {Lo: 1}, {Lo: 9999}, {Lo: 10_000}, {Lo: 10_001}, {Lo: 1_000_000_000_000}, {Lo: math.MaxUint64}, {Hi: 1},
		{Hi: 12_345, Lo: 67_890}, {Hi: math.MaxUint64, Lo: math.MaxUint64}}
	for shift := range 64 {
		sums = append(sums, bars.Sum{Lo: 3 << shift}, bars.Sum{Hi: 5 << shift, Lo: 7 << shift})
	}
	types := pgtype.NewMap()
	for _, want := range sums {
		raw, err := types.Encode(pgtype.NumericOID, pgtype.BinaryFormatCode, numericOf(want), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := sumOfBinary(raw); !ok || got != want {
			t.Errorf("%x: got %v, %v, want %v", raw, got, ok, want)
		}
	}
	for what, digits := range map[string]string{
		"nothing":              "",
		"no digits":            "0001000000000000",
		"too many digits":      "00010000000000000001" + "0001",
		"negative":             "00010000400000000001",
		"NaN":                  "00000000c0000000",
		"a fraction":           "0001ffff000000040001",
		"with a fraction":      "000200000000000400010001",
		"a digit too large":    "00010000000000002710",
		"2^128":                "000a000900000000" + "01540b071a2403aa121a18c111ff10dd1aa505b0",
		"above 2^128":          "00010009000000000155",
		"weight out of bounds": "00017fff000000000001",
	} {
		raw, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := sumOfBinary(raw); ok {
			t.Errorf("%s: got %v, want none", what, got)
		}
	}
}

// A row that comes in another form than a bar has is an error.
func TestReadBinaryMisfits(t *testing.T) {
	row := func(change func(raw [][]byte) [][]byte) error {
		raw := make([][]byte, columnsOf)
		for i := range 7 {
			raw[i] = make([]byte, 8)
		}
		raw[7], raw[8], raw[9], raw[10] = []byte{0, 2}, []byte{0, 8}, make([]byte, 8), make([]byte, 8)
		r := reader{name: "A"}
		return r.readBinary(change(raw), &bars.Bar{Interval: historytest.Interval("1s")})
	}
	if err := row(func(raw [][]byte) [][]byte { return raw }); err != nil {
		t.Error(err)
	}
	if row(func(raw [][]byte) [][]byte { return raw[:10] }) == nil {
		t.Error("a column too few is no error")
	}
	if row(func(raw [][]byte) [][]byte { raw[7] = []byte{0xff, 0xff}; return raw }) == nil {
		t.Error("a scale below 0 is no error")
	}
	for i := range columnsOf {
		if row(func(raw [][]byte) [][]byte { raw[i] = nil; return raw }) == nil {
			t.Errorf("column %d may be null", i)
		}
	}
}

// inBinaryOrText holds that rows come in binary, but for those behind a pooler.
func inBinaryOrText(t *testing.T, url string) {
	for _, mode := range []string{"", "&default_query_exec_mode=exec"} {
		s := opened(t, url+mode)
		rows, err := s.pool.Query(t.Context(), `SELECT `+columns+` FROM history_bars`)
		if err != nil {
			t.Fatal(err)
		}
		rows.Next()
		if got, want := inBinary(rows), mode == ""; got != want {
			t.Errorf("%q: in binary is %v, want %v", mode, got, want)
		}
		rows.Close()
	}
}

// BenchmarkPage reads 501 bars of a symbol, in binary and as rows were scanned before and still are behind a pooler.
func BenchmarkPage(b *testing.B) {
	s, tf := opened(b, pgtest.New(b).Database(b)), historytest.Interval("1s")
	all := historytest.Run(historytest.Symbol("EXCHANGE:SYM-USD", 2, 8), tf, 1_764_201_600_000, 1000)
	if err := s.Put(b.Context(), all); err != nil {
		b.Fatal(err)
	}
	b.Run("scanned", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			rows, err := s.pool.Query(b.Context(), `SELECT `+columns+` FROM history_bars WHERE tf = $1 AND symbol = $2 AND start >= $3
				AND start < $4 ORDER BY start DESC LIMIT $5`, "1s", 1, 0, int64(math.MaxInt64), 501)
			if err != nil {
				b.Fatal(err)
			}
			var found []bars.Bar
			row := reader{name: "EXCHANGE:SYM-USD"}
			for rows.Next() {
				bar := bars.Bar{Interval: tf}
				if err := row.read(rows, &bar); err != nil {
					b.Fatal(err)
				}
				found = append(found, bar)
			}
			if slices.Reverse(found); len(found) != 501 {
				b.Fatal(len(found), rows.Err())
			}
		}
	})
	b.Run("binary", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			got, err := s.Bars(b.Context(), history.Query{Symbol: "EXCHANGE:SYM-USD", Interval: "1s", To: math.MaxInt64, Limit: 501})
			if err != nil || len(got) != 501 {
				b.Fatal(len(got), err)
			}
		}
	})
}
