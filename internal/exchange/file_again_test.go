// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"tickedge/internal/trade"
)

// ids collects the ids of trades.
type ids struct {
	Sink
	all map[int64]bool
}

func (s ids) Trade(t trade.Trade) { s.all[t.ID] = true }

// A recording that is not in the order of its ids goes on from a position without losing the low ids behind it.
func TestFileOutOfOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trades.csv")
	if err := os.WriteFile(path, []byte(`symbol,price,size,time,id
A,1,1,1600000001000,1
A,1,1,1600000100000,3
A,1,1,1600000099000,2
`), 0o600); err != nil {
		t.Fatal(err)
	}
	table, err := trade.NewTable([]trade.Entry{{Symbol: "A", Source: "file", Vendor: "A"}}, Numbered)
	if err != nil {
		t.Fatal(err)
	}
	for late, want := range map[time.Duration]int{0: 0, 10 * time.Second: 2, time.Hour: 3} {
		f, err := NewFile(FileConfig{Table: table, Path: path, Late: late})
		if err != nil {
			t.Fatal(err)
		}
		got := ids{all: make(map[int64]bool)}
		if err := f.Run(t.Context(), got, func(*trade.Symbol) Position { return Position{ID: 3, Time: 1_600_000_100_000_000} }); err != nil {
			t.Fatal(err)
		}
		if len(got.all) != want {
			t.Errorf("Late %v: ids %v, want %d", late, got.all, want)
		}
	}
}
