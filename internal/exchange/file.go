// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tickedge/internal/trade"
)

// FileSource is the source of recorded trades that do not say where they are from.
const FileSource = "FILE"

// FileConfig describes recorded trades.
type FileConfig struct {
	Table *trade.Table
	Log   *slog.Logger
	// Path is a file of lines: NDJSON, or CSV if its name ends in .csv (or .csv.gz). It may be gzipped.
	Path string
	// Speed plays trades by their time, that many times as fast. 0: as fast as they are taken.
	Speed float64
	// Late is how much older than the position of its symbol a trade may be to be brought although its id is not above
	// that: recordings need not be in the order of ids. Who takes it knows the ids that it has. 0: none is.
	Late time.Duration
}

// lineMax bounds a line. A trade has some 200 bytes.
const lineMax = 64 << 10

// file brings recorded trades, one JSON object a line:
//
//	{"symbol":"COINBASE:BTC-USD","price":"95123.45","size":"0.01","time":1732181723411.25,"id":17,"side":"buy"}
//
// symbol is the name of an instrument in the table, or, with source, that at its exchange. price and size
// are exact, as strings or numbers. time is in Unix milliseconds, with up to three decimal digits, or a
// string of RFC 3339. id, side (buy or sell), bid, ask and source may be missing: the id is that of the line
// then, which is counted from 1. CSV has a first line with these names, in any order, and no JSON.
type file struct {
	c       FileConfig
	log     *slog.Logger
	running atomic.Bool
	trades  atomic.Uint64
	flawed  atomic.Uint64
	known   atomic.Uint64 // Skipped, as positions say that they came before.
	last    atomic.Pointer[string]
}

// NewFile returns an inlet of recorded trades. It is not live: a sink that is full holds it up. A trade
// whose id is not above that of its symbol's position is skipped, unless it is so young that it may have come late. Lines that are flawed are counted and
// skipped. Run returns nil at the end of the file.
func NewFile(c FileConfig) (Inlet, error) {
	if c.Table == nil || c.Path == "" {
		return nil, errors.New("file: want a table of symbols and the path of a file")
	}
	if !(c.Speed >= 0 && c.Speed <= 1e6) {
		return nil, fmt.Errorf("file: speed is %v, want 0 (as fast as possible) to 1000000", c.Speed)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if s, err := os.Stat(c.Path); err != nil {
		return nil, fmt.Errorf("file: %w", err)
	} else if s.IsDir() {
		return nil, fmt.Errorf("file: %s is a directory", c.Path)
	}
	return &file{c: c, log: c.Log.With("source", FileSource)}, nil
}

func (f *file) Live() bool { return false }

func (f *file) Stats() Stats {
	s := Stats{Wanted: 1, Trades: f.trades.Load(), Flawed: f.flawed.Load(), Repeated: f.known.Load(), Connects: 1}
	if f.running.Load() {
		s.Connected = 1
	}
	if e := f.last.Load(); e != nil {
		s.LastError = *e
	}
	return s
}

func (f *file) flaw(line int64, err error) {
	f.flawed.Add(1)
	text := fmt.Sprintf("line %d: %v", line, err)
	f.last.Store(&text)
	f.log.Warn("a line of a file was skipped", "file", f.c.Path, "line", line, "error", err)
}

// Run implements Inlet.
func (f *file) Run(ctx context.Context, to Sink, from func(*trade.Symbol) Position) error {
	opened, err := os.Open(f.c.Path)
	if err != nil {
		return err // Who runs inlets says which one it is.
	}
	defer opened.Close()
	f.running.Store(true)
	defer f.running.Store(false)
	r := bufio.NewReaderSize(opened, lineMax)
	if magic, _ := r.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(r)
		if err != nil {
			return fmt.Errorf("%s: %w", f.c.Path, err)
		}
		defer z.Close()
		r = bufio.NewReaderSize(z, lineMax)
	}
	p := &player{f: f, to: to, from: make(map[*trade.Symbol]Position)}
	for _, s := range f.c.Table.All() {
		if !s.Alias() {
			p.from[s] = from(s)
		}
	}
	parse := parseJSON
	if strings.HasSuffix(strings.TrimSuffix(f.c.Path, ".gz"), ".csv") {
		parse = nil // Until its first line is read.
	}
	for n := int64(1); ctx.Err() == nil; n++ {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = r.ReadSlice('\n')
			}
			f.flaw(n, fmt.Errorf("it is longer than %d bytes", lineMax))
			line = nil
		case err != nil && err != io.EOF:
			return fmt.Errorf("%s: line %d: %w", f.c.Path, n, err)
		}
		if text := bytes.TrimSpace(line); len(text) > 0 {
			if parse == nil {
				if parse, err = csvOf(string(text)); err != nil {
					return fmt.Errorf("%s: %w", f.c.Path, err)
				}
			} else {
				p.play(ctx, n, text, parse)
			}
		}
		if err == io.EOF {
			f.read()
			return nil
		}
	}
	return nil
}

// read says what became of the lines.
func (f *file) read() {
	known := f.known.Load()
	f.log.Info("a file was read", "file", f.c.Path, "trades", f.trades.Load(), "flawed", f.flawed.Load(), "known", known)
	if known > 0 {
		f.log.Warn("trades of a file were skipped, as their ids are not above those that came before", "file", f.c.Path, "trades", known,
			"hint", "that is right where a file is read again; want ids that rise from file to file, or a folder for each")
	}
}

// player hands the lines of a file on.
type player struct {
	f     *file
	to    Sink
	from  map[*trade.Symbol]Position
	began time.Time
	first int64 // Time of the first trade, in Unix microseconds.
}

func (p *player) play(ctx context.Context, n int64, line []byte, parse parser) {
	rec, err := parse(line)
	if err != nil {
		p.f.flaw(n, err)
		return
	}
	tr, err := rec.trade(p.f.c.Table)
	if err == nil {
		if tr.ID == 0 {
			tr.ID = n
		}
		tr.Received = micros()
		err = tr.Check(tr.Received)
	}
	if err != nil {
		p.f.flaw(n, err)
		return
	}
	if from := p.from[tr.Symbol]; tr.ID <= from.ID && (p.f.c.Late == 0 || tr.Time < from.Time-p.f.c.Late.Microseconds()) {
		p.f.known.Add(1)
		return
	}
	if p.f.c.Speed > 0 {
		if p.first == 0 {
			p.first, p.began = tr.Time, time.Now()
		}
		due := p.began.Add(time.Duration(float64(tr.Time-p.first) / p.f.c.Speed * float64(time.Microsecond)))
		if !sleep(ctx, time.Until(due)) {
			return
		}
	}
	p.f.trades.Add(1)
	p.to.Trade(tr)
}

// csvOf returns the parser of lines below a head.
func csvOf(head string) (parser, error) {
	names := strings.Split(strings.TrimPrefix(head, "\ufeff"), ",")
	for i := range names {
		names[i] = strings.ToLower(strings.Trim(strings.TrimSpace(names[i]), `"`))
		if !slices.Contains(recordNames, names[i]) {
			return nil, fmt.Errorf("the first line has %q, want names of %s", names[i][:min(len(names[i]), 64)], strings.Join(recordNames, ","))
		}
	}
	for _, want := range []string{"symbol", "price", "size", "time"} {
		if !slices.Contains(names, want) {
			return nil, fmt.Errorf("the first line has no %s, want for example symbol,price,size,time,id,side", want)
		}
	}
	return func(line []byte) (record, error) {
		var r record
		fields := strings.Split(string(line), ",")
		if len(fields) != len(names) {
			return r, fmt.Errorf("it has %d fields, want %d", len(fields), len(names))
		}
		for i, v := range fields {
			*r.field(names[i]) = strings.Trim(strings.TrimSpace(v), `"`)
		}
		return r, nil
	}, nil
}
