// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"

	"tickedge/internal/bars"
	"tickedge/internal/trade"
)

// A backup is lines of JSON, compressed by gzip. The first says what it is, then there is one for each bar, and the last has
// their number and the SHA-256 of all lines before it:
//
//	{"backup":"tickedge history","format":1}
//	{"s":"COINBASE:BTC-USD","tf":"1m","ps":2,"ss":8,"t":1764201600000,"o":95123.45,"h":…,"l":…,"c":…,"v":…,"q":…,"n":17}
//	{"bars":1,"sha256":"…"}
//
// ps and ss are the scales of prices and sizes; t is in Unix milliseconds; v is the volume and q the turnover. All are exact
// decimal numbers.
const (
	backupName   = "tickedge history"
	backupFormat = 1
	lineMax      = 4 << 10
	// restoreBatch is how many bars are put at a time.
	restoreBatch = 5_000
)

// Backup writes all bars of a store, as they were at one moment, and returns how many that were. Where it is a file, what
// was written is complete only if there is no error, of closing it too.
func Backup(ctx context.Context, s Store, to io.Writer) (n int64, err error) {
	packed := gzip.NewWriter(to)
	out := bufio.NewWriterSize(packed, 64<<10)
	sum := sha256.New()
	line := fmt.Appendf(nil, `{"backup":%q,"format":%d}`+"\n", backupName, backupFormat)
	write := func() error {
		_, _ = sum.Write(line) // It takes everything.
		_, err := out.Write(line)
		return err
	}
	if err := write(); err != nil {
		return 0, err
	}
	err = s.All(ctx, func(list []bars.Bar) error {
		for i := range list {
			line = append(appendBackup(line[:0], &list[i]), '\n')
			if err := write(); err != nil {
				return err
			}
			n++
		}
		return ctx.Err()
	})
	if err != nil {
		return n, err
	}
	if _, err = fmt.Fprintf(out, `{"bars":%d,"sha256":"%x"}`+"\n", n, sum.Sum(nil)); err == nil {
		err = errors.Join(out.Flush(), packed.Close())
	}
	return n, err
}

func appendBackup(to []byte, b *bars.Bar) []byte {
	// A name has neither a quote nor a backslash nor a control character, see topics.ValidName.
	to = append(append(append(to, `{"s":"`...), b.Symbol.Name...), `","tf":"`...)
	to = append(append(to, b.Interval.Name...), `","ps":`...)
	to = strconv.AppendUint(to, uint64(b.Symbol.PriceScale), 10)
	to = strconv.AppendUint(append(to, `,"ss":`...), uint64(b.Symbol.SizeScale), 10)
	begin := len(to)
	to = b.AppendJSON(to)
	to[begin] = ',' // In place of its brace.
	return to
}

// ErrNotEmpty is what Restore returns for a store that has bars already.
var ErrNotEmpty = errors.New("history: the store has bars already: want an empty one, or say that the backup is to be put over them")

// Restore puts the bars of a backup into a store, and returns how many that were. The whole backup is read and verified
// before the first bar is put. A store that has bars is refused with [ErrNotEmpty] unless over is true: then a bar that
// it has in a newer state stays. If it ends early it may be called again, with over.
func Restore(ctx context.Context, s Store, from io.ReadSeeker, over bool) (n int64, err error) {
	if !over {
		some := errors.New("some")
		err := s.All(ctx, func([]bars.Bar) error { return some })
		if errors.Is(err, some) {
			return 0, ErrNotEmpty
		}
		if err != nil {
			return 0, err
		}
	}
	want, err := Verify(ctx, from)
	if err != nil {
		return 0, err
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	batch := make([]bars.Bar, 0, restoreBatch)
	put := func() error {
		err := s.Put(ctx, batch)
		if err == nil {
			n += int64(len(batch))
			batch = batch[:0]
		}
		return err
	}
	_, err = readBackup(ctx, from, func(b *bars.Bar) error {
		if batch = append(batch, *b); len(batch) == restoreBatch {
			return put()
		}
		return nil
	})
	if err == nil && len(batch) > 0 {
		err = put()
	}
	if err == nil && n != want {
		err = fmt.Errorf("history: %d bars were put, and the backup had %d: it has changed meanwhile", n, want)
	}
	return n, err
}

// Verify reads a backup, and returns how many bars it has, or what is wrong with it.
func Verify(ctx context.Context, from io.Reader) (n int64, err error) {
	return readBackup(ctx, from, func(*bars.Bar) error { return nil })
}

// readBackup calls f with each bar, of which all but the strings are used again. The error says which line is wrong.
func readBackup(ctx context.Context, from io.Reader, f func(*bars.Bar) error) (n int64, err error) {
	packed, err := gzip.NewReader(from)
	if err != nil {
		return 0, fmt.Errorf("history: it is no backup: %w", err)
	}
	lines := bufio.NewScanner(packed)
	lines.Buffer(make([]byte, 0, lineMax), lineMax)
	r := backupReader{sum: sha256.New(), intervals: make(map[string]*bars.Interval)}
	for at := int64(1); lines.Scan(); at++ {
		if at%1000 == 0 && ctx.Err() != nil {
			return n, ctx.Err()
		}
		line := lines.Bytes()
		b, err := r.line(line, at == 1)
		if err == nil && b != nil {
			n++
			err = f(b)
		}
		if err != nil {
			return n, fmt.Errorf("history: line %d of the backup: %w", at, err)
		}
	}
	if err := lines.Err(); err != nil {
		return n, fmt.Errorf("history: the backup behind bar %d: %w", n, err)
	}
	if !r.ended {
		return n, errors.New("history: the backup has no end: it is not complete")
	}
	return n, nil
}

type backupReader struct {
	sum       hash.Hash
	bars      int64
	ended     bool
	symbol    *trade.Symbol
	intervals map[string]*bars.Interval
	bar       bars.Bar
}

// backupLine has the members of all kinds of lines.
type backupLine struct {
	Backup string `json:"backup"`
	Format int    `json:"format"`
	SHA256 string `json:"sha256"`
	Bars   int64  `json:"bars"`

	Symbol     string      `json:"s"`
	Interval   string      `json:"tf"`
	PriceScale *uint8      `json:"ps"`
	SizeScale  *uint8      `json:"ss"`
	Start      int64       `json:"t"`
	Open       json.Number `json:"o"`
	High       json.Number `json:"h"`
	Low        json.Number `json:"l"`
	Close      json.Number `json:"c"`
	Volume     json.Number `json:"v"`
	Turnover   json.Number `json:"q"`
	Count      int64       `json:"n"`
	Rev        int64       `json:"rev"`
}

// line reads one line, and returns its bar if it has one.
func (r *backupReader) line(text []byte, first bool) (*bars.Bar, error) {
	var l backupLine
	if r.ended {
		return nil, errors.New("it stands behind the end")
	}
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, err
	}
	switch {
	case first && l.Backup != backupName:
		return nil, errors.New("it does not say that this is a backup of bars")
	case first && l.Format != backupFormat:
		return nil, fmt.Errorf("its format is %d, want %d: %w", l.Format, backupFormat, ErrNewer)
	case l.SHA256 != "":
		r.ended = true
		if l.Bars != r.bars || l.SHA256 != fmt.Sprintf("%x", r.sum.Sum(nil)) {
			return nil, errors.New("the number or the sum of its bars is another one: it is damaged")
		}
		return nil, nil
	}
	_, _ = r.sum.Write(text) // It takes everything.
	_, _ = r.sum.Write([]byte{'\n'})
	if first {
		return nil, nil
	}
	r.bars++
	return &r.bar, r.read(&l)
}

func (r *backupReader) read(l *backupLine) (err error) {
	if l.PriceScale == nil || l.SizeScale == nil || *l.PriceScale > trade.ScaleMax || *l.SizeScale > trade.ScaleMax {
		return errors.New("the scales of a bar are wrong")
	}
	if s := r.symbol; s == nil || s.Name != l.Symbol || s.PriceScale != *l.PriceScale || s.SizeScale != *l.SizeScale {
		r.symbol = &trade.Symbol{Name: l.Symbol, PriceScale: *l.PriceScale, SizeScale: *l.SizeScale}
	}
	if r.intervals[l.Interval] == nil {
		if r.intervals[l.Interval], err = bars.ParseInterval(l.Interval); err != nil {
			return err
		}
	}
	r.bar = bars.Bar{Symbol: r.symbol, Interval: r.intervals[l.Interval], Start: l.Start, Count: l.Count, Rev: l.Rev, Closed: true}
	for _, p := range []struct {
		from json.Number
		to   *int64
	}{{l.Open, &r.bar.Open}, {l.High, &r.bar.High}, {l.Low, &r.bar.Low}, {l.Close, &r.bar.Close}} {
		if *p.to, err = trade.ParseDecimal(string(p.from), *l.PriceScale); err != nil {
			return err
		}
	}
	if r.bar.Volume, err = parseSum(string(l.Volume), *l.SizeScale); err != nil {
		return err
	}
	if r.bar.Turnover, err = parseSum(string(l.Turnover), *l.PriceScale+*l.SizeScale); err != nil {
		return err
	}
	return Check(&r.bar)
}
