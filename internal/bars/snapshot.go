// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"encoding/binary"
	"hash/crc32"

	"tickedge/internal/trade"
)

// A snapshot is these bytes, the body, and the CRC-32C of both. Whole numbers are varints, as in
// encoding/binary; what usually follows from something before it is the difference to that.
const (
	snapshotMagic   = "TEBARS"
	snapshotVersion = 2 // 1 had no Renumbered and no ids.since.
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshot appends all that an engine knows: what [Restore] makes of it goes on as if it were this one. A bar
// that is kept takes 30 to 50 bytes.
func (e *Engine) Snapshot(to []byte) []byte {
	from := len(to)
	w := &packer{append(append(to, snapshotMagic...), snapshotVersion)}
	w.size(len(e.cfg.Intervals))
	for _, i := range e.cfg.Intervals {
		w.text(i.Name)
	}
	w.int(e.wall)
	w.size(e.fills)
	w.size(e.turn)
	for _, n := range e.stats.counters() {
		w.uint(*n)
	}
	w.size(len(e.clockList))
	for _, c := range e.clockList {
		w.text(c.source)
		w.int(c.heard)
	}
	w.size(len(e.all))
	for _, b := range e.all {
		w.book(b)
	}
	return binary.LittleEndian.AppendUint32(w.b, crc32.Checksum(w.b[from:], castagnoli))
}

// counters are those that go on after a restart.
func (s *Stats) counters() []*uint64 {
	return []*uint64{
		&s.Trades, &s.Flawed, &s.Duplicates, &s.Late, &s.Forgotten, &s.Overflows, &s.Refused, &s.Closed, &s.Filled, &s.Revisions,
		&s.Renumbered,
	}
}

// packer appends values.
type packer struct{ b []byte }

func (w *packer) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *packer) int(v int64)   { w.b = binary.AppendVarint(w.b, v) }
func (w *packer) size(n int)    { w.uint(uint64(n)) }

func (w *packer) text(s string) {
	w.size(len(s))
	w.b = append(w.b, s...)
}

func (w *packer) flags(all ...bool) {
	var v uint64
	for i, f := range all {
		if f {
			v |= 1 << i
		}
	}
	w.uint(v)
}

func (w *packer) sum(s Sum) {
	w.uint(s.Lo)
	w.uint(s.Hi)
}

func (w *packer) key(k, base trade.Key) {
	w.int(k.Time - base.Time)
	w.int(k.ID - base.ID)
}

func (w *packer) book(b *book) {
	w.text(b.symbol.Name)
	w.text(b.symbol.Zone.String())
	w.uint(uint64(b.symbol.PriceScale))
	w.uint(uint64(b.symbol.SizeScale))
	w.flags(b.begun, b.filling)
	w.int(b.mark)
	n := &b.newest
	w.key(n.key, trade.Key{})
	for _, v := range []int64{n.price, n.size, n.bid, n.ask, int64(n.side), int64(n.dir)} {
		w.int(v)
	}
	w.text(n.source)
	w.flags(n.tell)
	w.size(len(b.sources))
	for i := range b.sources {
		s := &b.sources[i]
		w.size(s.clock.n)
		w.int(s.time)
		w.int(s.ids.floor)
		w.int(s.ids.since)
		w.size(len(s.ids.runs))
		var last run
		for _, r := range s.ids.runs {
			w.int(r.lo - last.hi)
			w.int(r.hi - r.lo)
			w.int(r.newest - last.newest)
			last = r
		}
	}
	if b.begun {
		for i := range b.series {
			w.series(&b.series[i])
		}
	}
}

func (w *packer) series(s *series) {
	w.int(s.closedTo)
	w.flags(s.based, s.tell)
	w.int(s.base)
	w.int(s.revs)
	w.size(len(s.old))
	for i := range s.old {
		w.size(len(s.old[i].packed))
		w.b = append(w.b, s.old[i].packed...)
	}
	w.size(len(s.live()))
	last := slot{close: s.base}
	for i := range s.live() {
		b := &s.live()[i]
		w.slot(b, &last, s.interval.unit())
		last = *b
	}
}

// unit divides the starts of all bars but the first in milliseconds.
func (i *Interval) unit() int64 {
	if i.Days != 0 {
		return 1000
	}
	return i.Millis
}

func (w *packer) slot(b, last *slot, unit int64) {
	w.int((b.start - last.start) / unit)
	w.flags(b.count == 0, b.dirty, b.rev != 0)
	if b.rev != 0 {
		w.int(int64(b.rev))
	}
	w.int(b.open - last.close)
	if b.count == 0 {
		return
	}
	w.int(b.close - b.open)
	w.int(b.high - max(b.open, b.close))
	w.int(min(b.open, b.close) - b.low)
	w.sum(b.volume)
	w.sum(b.turnover)
	w.int(b.count)
	w.key(b.first, trade.Key{Time: b.start * 1000, ID: last.last.ID})
	w.key(b.last, b.first)
}
