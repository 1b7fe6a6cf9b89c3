// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tickedge/internal/logtest"
	"tickedge/internal/trade"
)

const recorded = `{"symbol":"COINBASE:BTC-USD","price":"95123.45","size":"0.01","time":1732181723411.25,"id":17,"side":"buy"}
{"symbol":"BTC-USD","source":"coinbase","price":95123.4,"size":1e-2,"time":"2024-11-21T09:35:24.5Z","id":18,"bid":"95123.3","ask":"95123.5"}
{"symbol":"NOPE","price":1,"size":1,"time":1732181723411}
{"symbol":"COINBASE:BTC-USD","price":"95123.456","size":"0.01","time":1732181723411}
{"symbol":"COINBASE:BTC-USD"

{"symbol":"COINBASE:BTC-USD","price":"1","size":"0.01","time":1732181723411,"side":"both"}
{"symbol":"COINBASE:BTC-USD","price":"1","size":"0","time":1732181723411,"trace":"x"}
`

// played is what an inlet of a file brings.
func played(t *testing.T, c FileConfig, from Position) (*sink, Inlet, error) {
	t.Helper()
	c.Log, _ = logtest.New(t)
	if c.Table == nil {
		c.Table = table(t, "COINBASE", "BTC-USD")
	}
	in, err := NewFile(c)
	if err != nil {
		return nil, nil, err
	}
	s := newSink(t)
	err = in.Run(t.Context(), s, func(*trade.Symbol) Position { return from })
	return s, in, err
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(text))
	z.Close()
	return b.String()
}

func TestFile(t *testing.T) {
	long := strings.Repeat("x", 3*lineMax)
	csv := "symbol,price,size,time,id,side\nCOINBASE:BTC-USD,95123.45,0.01,1732181723411.25,17,buy\nCOINBASE:BTC-USD,1\n\nCOINBASE:BTC-USD,\"1.5\",2,2024-11-21T09:35:24.5Z,18,\n"
	for _, c := range []struct {
		name, text string
		want       []string
		flawed     uint64
		last       string
	}{
		{"a.ndjson", recorded, []string{"17 9512345/10000 at 1732181723411250 buy", "18 9512340/10000 at 1732181724500000 ", "8 100/0 at 1732181723411000 "}, 4, "line 7: side"},
		{"a.ndjson", zipped(recorded), []string{"17 9512345/10000 at 1732181723411250 buy", "18 9512340/10000 at 1732181724500000 ", "8 100/0 at 1732181723411000 "}, 4, "line 7: side"},
		{"a.csv", csv, []string{"17 9512345/10000 at 1732181723411250 buy", "18 150/2000000 at 1732181724500000 "}, 1, "line 3: it has 2 fields, want 6"},
		{"a.csv.gz", zipped(csv), []string{"17 9512345/10000 at 1732181723411250 buy", "18 150/2000000 at 1732181724500000 "}, 1, "line 3"},
		{"long", long + "\n" + `{"symbol":"COINBASE:BTC-USD","price":1,"size":1,"time":1732181723411}`, []string{"2 100/1000000 at 1732181723411000 "}, 1, "line 1: it is longer than 65536 bytes"},
		{"empty", "", nil, 0, ""},
	} {
		s, in, err := played(t, FileConfig{Path: write(t, c.name, c.text)}, Position{})
		if err != nil {
			t.Fatal(err)
		}
		var have []string
		for _, tr := range s.trades["COINBASE:BTC-USD"] {
			have = append(have, text(tr))
		}
		if st := in.Stats(); !slices.Equal(have, c.want) || st.Flawed != c.flawed || !strings.Contains(st.LastError, c.last) || in.Live() {
			t.Errorf("%s: %q, want %q\n%+v", c.name, have, c.want, st)
		}
	}
}

func TestFileGoesOn(t *testing.T) {
	s, in, err := played(t, FileConfig{Path: write(t, "a", recorded)}, Position{ID: 17})
	if err != nil || len(s.trades["COINBASE:BTC-USD"]) != 1 || s.trades["COINBASE:BTC-USD"][0].ID != 18 {
		t.Errorf("%v %v %v", err, s.trades, in.Stats())
	}
	if n := in.Stats().Repeated; n != 2 { // 17, and one that has the number of its line.
		t.Errorf("%d trades were known, want 2", n)
	}
}

// What is recorded is read as it was.
func TestRecords(t *testing.T) {
	table := table(t, "COINBASE", "BTC-USD")
	symbol := table.All()[0]
	for _, tr := range []trade.Trade{
		{Symbol: symbol, Source: "COINBASE", Price: 9512345, Size: 1, Time: 1732181723411001, ID: 5, Side: trade.Sell, Bid: 1, Ask: 9512346},
		{Symbol: symbol, Source: "FILE", Price: 1, Size: 0, Time: 1732181723411000},
	} {
		line := AppendRecord(nil, &tr)
		rec, err := parseJSON(line)
		if err != nil {
			t.Fatal(err)
		}
		if have, err := rec.trade(table); err != nil || have != tr {
			t.Errorf("%s: %+v, want %+v: %v", line, have, tr, err)
		}
	}
}

// A sink that is full holds a file up, and the end of ctx ends it.
func TestFilePace(t *testing.T) {
	var b []byte
	table := table(t, "COINBASE", "BTC-USD")
	for i := range int64(3) {
		b = AppendRecord(b, &trade.Trade{Symbol: table.All()[0], Source: "X", Price: 1, Time: 1732181723411000 + i*3_600_000_000, ID: i + 1})
	}
	path := write(t, "a", string(b))
	began := time.Now()
	s, _, err := played(t, FileConfig{Table: table, Path: path, Speed: 36_000}, Position{})
	if took := time.Since(began); err != nil || len(s.trades["COINBASE:BTC-USD"]) != 3 || took < 200*time.Millisecond {
		t.Errorf("two hours at 36000 took %v: %v", took, err)
	}
	in, err := NewFile(FileConfig{Table: table, Path: path, Speed: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s = newSink(t)
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx, s, func(*trade.Symbol) Position { return Position{} }) }()
	s.await("the first", func() bool { return len(s.trades["COINBASE:BTC-USD"]) == 1 })
	cancel()
	if err := <-ended; err != nil || len(s.trades["COINBASE:BTC-USD"]) != 1 {
		t.Errorf("%v, %v", err, s.trades)
	}
}

func TestFileErrors(t *testing.T) {
	for _, c := range []struct {
		c    FileConfig
		want string
	}{
		{FileConfig{Path: "/nowhere/a"}, "no such file"},
		{FileConfig{Path: t.TempDir()}, "is a directory"},
		{FileConfig{}, "the path of a file"},
		{FileConfig{Path: write(t, "a", ""), Speed: -1}, "speed is -1"},
		{FileConfig{Path: write(t, "a.csv", "symbol,price,volume\n")}, `"volume", want names of symbol,`},
		{FileConfig{Path: write(t, "a.csv", "symbol,price,size\n")}, "no time"},
		{FileConfig{Path: write(t, "a.gz", zipped(recorded)[:60])}, "unexpected EOF"},
	} {
		if _, _, err := played(t, c.c, Position{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.c, err, c.want)
		}
	}
}

func FuzzRecord(f *testing.F) {
	for line := range strings.Lines(recorded) {
		f.Add([]byte(line))
	}
	table := table(f, "COINBASE", "BTC-USD")
	f.Fuzz(func(t *testing.T, line []byte) {
		rec, err := parseJSON(line)
		if err != nil {
			return
		}
		tr, err := rec.trade(table)
		if err != nil || tr.Check(micros()) != nil {
			return
		}
		again, err := parseJSON(AppendRecord(nil, &tr))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if have, err := again.trade(table); err != nil || have != tr {
			t.Fatalf("%q: %+v, then %+v: %v", line, tr, have, err)
		}
	})
}
