// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"tickedge/internal/trade"
)

// Errors of [Restore]. Others say what of a snapshot contradicts itself.
var (
	ErrNotSnapshot = errors.New("these bytes are no snapshot of bars")
	ErrCorrupt     = errors.New("the snapshot is damaged: its checksum is another")
	ErrNewer       = errors.New("the snapshot was made by a newer version of this program")
)

var errSnapshot = errors.New("the snapshot contradicts itself")

// Restore returns the engine of a snapshot. named returns the symbol of a name, or nil. Symbols are left out, and
// returned as dropped, if there is none of their name now, or it has other scales or another zone. Series of
// intervals that the config has not are left out; those that are new begin with the next bar that is not there.
func Restore(cfg Config, snapshot []byte, named func(string) *trade.Symbol) (e *Engine, dropped []string, err error) {
	head := len(snapshotMagic) + 1
	if len(snapshot) < head+4 || string(snapshot[:head-1]) != snapshotMagic {
		return nil, nil, ErrNotSnapshot
	}
	body := snapshot[:len(snapshot)-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(snapshot[len(body):]) {
		return nil, nil, ErrCorrupt
	}
	if v := snapshot[head-1]; v > snapshotVersion {
		return nil, nil, fmt.Errorf("%w: its format is %d, want at most %d", ErrNewer, v, snapshotVersion)
	} else if v == 0 {
		return nil, nil, ErrNotSnapshot
	}
	e = New(cfg)
	r := &unpacker{b: body[head:], version: snapshot[head-1], e: e, named: named}
	r.engine()
	if !r.bad && len(r.b) != 0 {
		r.bad = true
	}
	if r.bad {
		return nil, nil, errSnapshot
	}
	if r.err != nil {
		return nil, nil, r.err
	}
	return e, r.dropped, nil
}

// unpacker reads what packer has written. After the first flaw it reads zeros.
type unpacker struct {
	b         []byte
	version   byte // Of the format.
	bad       bool
	err       error
	e         *Engine
	named     func(string) *trade.Symbol
	intervals []*Interval // Of the snapshot.
	places    []int       // Where they are in the engine's, or -1.
	clocks    []*clock
	dropped   []string
	aside     bool // What is read is of a symbol that is dropped.
}

func (r *unpacker) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || r.bad {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *unpacker) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 || r.bad {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// size reads how many things follow, of at least so many bytes each.
func (r *unpacker) size(least int) int {
	n := r.uint()
	if n > uint64(len(r.b)/least) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *unpacker) text() string {
	n := r.size(1)
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *unpacker) flags(all ...*bool) {
	v := r.uint()
	for i, f := range all {
		*f = v&(1<<i) != 0
	}
	r.fail(v >= 1<<len(all))
}

// time reads Unix microseconds.
func (r *unpacker) time() int64 {
	v := r.int()
	r.fail(v < -farthest*1000 || v > farthest*1000)
	return v
}

func (r *unpacker) fail(bad bool) { r.bad = r.bad || bad }

func (r *unpacker) sum() (s Sum) {
	s.Lo = r.uint()
	s.Hi = r.uint()
	return s
}

func (r *unpacker) key(base trade.Key) (k trade.Key) {
	k.Time = base.Time + r.int()
	k.ID = base.ID + r.int()
	return k
}

func (r *unpacker) engine() {
	for range r.size(1) {
		i, err := ParseInterval(r.text())
		if r.fail(err != nil); r.bad {
			return
		}
		r.intervals = append(r.intervals, i)
		r.places = append(r.places, slices.IndexFunc(r.e.cfg.Intervals, func(has *Interval) bool { return has.Name == i.Name }))
	}
	r.fail(len(r.intervals) > IntervalsMax)
	r.e.wall = r.time()
	fills, turn := r.uint(), r.uint()
	r.fail(fills > FillsMax || turn > trade.SymbolsMax)
	r.e.fills = int(fills)
	for _, n := range r.e.stats.counters() {
		if n != &r.e.stats.Renumbered || r.version > 1 {
			*n = r.uint()
		}
	}
	for range r.size(2) {
		c, err := r.e.clock(r.text())
		if r.fail(err != nil || c != nil && c.n < len(r.clocks)); r.bad {
			return
		}
		c.heard = r.time()
		r.clocks = append(r.clocks, c)
	}
	for range r.size(10) {
		if r.book(); r.bad || r.err != nil {
			return
		}
	}
	if int(turn) < len(r.e.all) {
		r.e.turn = int(turn)
	}
}

// book reads a symbol. One that is dropped is read too, into an engine of its own.
func (r *unpacker) book() {
	name, zone := r.text(), r.text()
	price, size := r.uint(), r.uint()
	symbol, e := r.named(name), r.e
	if symbol == nil || symbol.Zone.String() != zone || uint64(symbol.PriceScale) != price || uint64(symbol.SizeScale) != size {
		r.dropped = append(r.dropped, name)
		e = New(r.e.cfg)
		symbol = &trade.Symbol{Name: name, Zone: time.UTC}
		r.aside = true
		defer func() { r.aside = false }()
	} else if e.books[symbol] != nil {
		r.bad = true
		return
	}
	b, err := e.book(symbol)
	if err != nil {
		r.err = fmt.Errorf("the snapshot has more than the %d symbols that there may be", e.cfg.Symbols)
		return
	}
	r.flags(&b.begun, &b.filling)
	b.mark = r.time()
	n := &b.newest
	n.key = r.key(trade.Key{})
	var side, dir int64
	for _, v := range []*int64{&n.price, &n.size, &n.bid, &n.ask, &side, &dir} {
		*v = r.int()
	}
	n.side, n.dir = trade.Side(side), int8(dir)
	r.fail(n.key.Time < 0 || n.key.Time > farthest*1000)
	n.source = r.text()
	r.flags(&n.tell)
	r.fail(n.source != "" && !trade.ValidSource(n.source) || side < 0 || side > int64(trade.Sell) || dir < -1 || dir > 1)
	for range r.size(4) {
		if r.source(b); r.bad {
			return
		}
	}
	if b.begun {
		r.allSeries(b)
	}
	e.stats.Waiting = waiting(e.stats.Waiting, b)
	e.queue(b)
}

func waiting(n int, b *book) int {
	for i := range b.series {
		n += b.series[i].pending
	}
	return n
}

func (r *unpacker) source(b *book) {
	n := r.uint()
	if r.fail(n >= uint64(len(r.clocks)) || len(b.sources) >= SourcesMax); r.bad {
		return
	}
	s := source{clock: r.clocks[n], time: r.time()}
	s.ids.floor = r.int()
	if r.version > 1 {
		s.ids.since = r.time()
	}
	runs := r.size(3)
	r.fail(runs > IDRunsMax)
	var last run
	for range runs {
		lo := last.hi + r.int()
		next := run{lo: lo, hi: lo + r.int(), newest: last.newest + r.int()}
		if r.fail(next.lo <= last.hi || next.hi < next.lo); r.bad {
			return
		}
		s.ids.runs = append(s.ids.runs, next)
		last = next
	}
	b.sources = append(b.sources, s)
}

func (r *unpacker) allSeries(b *book) {
	read := make([]bool, len(b.series))
	for n, interval := range r.intervals {
		into := &series{interval: interval, symbol: b.symbol, dirtyFrom: maxTime}
		if at := r.places[n]; at >= 0 {
			into = &b.series[at]
			r.fail(read[at])
			read[at] = true
		}
		if r.series(into); r.bad {
			return
		}
	}
	b.due = maxTime
	for i := range b.series {
		s := &b.series[i]
		if !read[i] {
			s.closedTo = s.interval.Start(max(b.mark, 0)/1000, b.symbol.Zone)
		}
		s.nextClose = s.next(s.closedTo)
		b.due = min(b.due, s.nextClose)
	}
}

func (r *unpacker) series(s *series) {
	s.closedTo = r.int()
	r.flags(&s.based, &s.tell)
	s.base = r.int()
	s.revs = r.int()
	r.fail(s.closedTo < 0 || s.closedTo > farthest || !r.begins(s, s.closedTo))
	end := int64(-1)
	for range r.size(chunkBars) {
		size := r.size(1)
		packed := unpacker{b: r.b[:size], bad: r.bad, aside: r.aside}
		c := chunk{packed: slices.Clone(packed.b)}
		var last slot
		for i := range chunkBars {
			b := packed.slot(&last, s.interval.unit())
			packed.check(s, &b, end)
			r.fail(b.dirty || b.start >= s.closedTo)
			if last, end = b, b.start; i == 0 {
				c.first = b.start
			}
		}
		if r.fail(packed.bad || len(packed.b) != 0); r.bad {
			return
		}
		r.b = r.b[size:]
		c.last, c.end, c.close = last.start, s.next(last.start), last.close
		s.old = append(s.old, c)
	}
	last := slot{close: s.base}
	for range r.size(3) {
		b := r.slot(&last, s.interval.unit())
		if r.check(s, &b, end); r.bad {
			return
		}
		s.slots = append(s.slots, b)
		if b.dirty {
			s.pending++
			s.dirtyFrom = min(s.dirtyFrom, b.start)
		}
		last, end = b, b.start
	}
}

// check fails if a bar can't stand behind one that began at a time.
func (r *unpacker) check(s *series, b *slot, after int64) {
	r.fail(b.start < 0 || b.start > farthest || b.start <= after || b.count < 0)
	r.fail(!r.begins(s, b.start))
}

// begins reports whether a bar begins at a time.
func (r *unpacker) begins(s *series, start int64) bool {
	return r.bad || r.aside || s.interval.Start(start, s.symbol.Zone) == start
}

// farthest bounds starts, so that arithmetic with them can't overflow: the year 5138.
const farthest = 100_000_000_000_000

func (r *unpacker) slot(last *slot, unit int64) (b slot) {
	step := r.int()
	if r.fail(step < 0 || step > farthest/unit); r.bad {
		return b
	}
	b.start = last.start + step*unit
	var filled, revised bool
	r.flags(&filled, &b.dirty, &revised)
	if revised {
		b.rev = int32(r.int())
	}
	b.open = last.close + r.int()
	if filled {
		b.fill(b.open)
		return b
	}
	b.close = b.open + r.int()
	b.high = max(b.open, b.close) + r.int()
	b.low = min(b.open, b.close) - r.int()
	b.volume, b.turnover = r.sum(), r.sum()
	b.count = r.int()
	b.first = r.key(trade.Key{Time: b.start * 1000, ID: last.last.ID})
	b.last = r.key(b.first)
	return b
}
