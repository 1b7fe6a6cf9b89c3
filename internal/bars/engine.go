// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"strings"

	"tickedge/internal/trade"
)

// Engine makes the bars of a shard's symbols. It has no clock: time is passed in, in Unix microseconds. One
// goroutine uses it.
//
// Each trade is merged into the bars of all intervals at once, or, if it is refused, into none. Bars close by
// the mark of their symbol: how far the slowest of its sources has come, by its trades and by
// [Engine.Heard], less [Config.Window]. A source that is silent, or behind others, for [Config.Silence] does
// not hold the mark up. A trade for a bar that is closed revises it, until the mark is [Config.Limit] ahead
// of the trade.
//
// What changed is taken by [Engine.DrainClosed], [Engine.DrainKlines] and [Engine.DrainPrices]. It is state:
// several changes of the same are told as one. Between two drains a series keeps every bar that was closed, so
// drain at least every few thousand trades.
type Engine struct {
	cfg                    Config
	window, silence, limit int64 // Of cfg, in microseconds.
	day, fine              int   // Which intervals are 1d, and the finest of at most a minute; -1: none.

	books     map[*trade.Symbol]*book
	all       []*book
	clocks    map[string]*clock
	clockList []*clock
	wall      int64 // The mark of all symbols is at least here.
	fills     int   // How many bars may still be filled in this turn.
	turn      int   // Whose turn it is to be filled first.
	stats     Stats

	closed, klines, prices []*book // Of which something is to be told.
	places                 []place
	bar                    Bar // That is being told.
	packed                 []byte
}

// clock is how far a source has come with all its symbols.
type clock struct {
	source string
	n      int // Its place in clockList.
	heard  int64
}

// place is where a trade goes in one series.
type place struct {
	start            int64
	at               int
	ok               bool
	volume, turnover Sum
}

// New returns an engine without trades. The config has to be valid.
func New(cfg Config) *Engine {
	e := &Engine{
		cfg: cfg, window: cfg.Window.Microseconds(), silence: cfg.Silence.Microseconds(), limit: cfg.Limit.Microseconds(),
		day: -1, fine: -1, books: make(map[*trade.Symbol]*book), clocks: make(map[string]*clock), fills: cfg.Fills,
		places: make([]place, len(cfg.Intervals)),
	}
	for n, i := range cfg.Intervals {
		if i.Days != 0 {
			e.day = n
		}
		if i.Millis <= 60_000 && (e.fine < 0 || i.Millis < cfg.Intervals[e.fine].Millis) {
			e.fine = n
		}
	}
	return e
}

// Add takes a trade, of which it keeps nothing. The error says why it was not merged into any bar; it was counted.
func (e *Engine) Add(t *trade.Trade, now int64) error {
	err := e.add(t, now)
	switch err {
	case nil:
		e.stats.Trades++
	case ErrDuplicate:
		e.stats.Duplicates++
	case ErrLate:
		e.stats.Late++
	case ErrForgotten:
		e.stats.Forgotten++
	case ErrOverflow:
		e.stats.Overflows++
	case ErrFull, ErrSymbols, ErrSources:
		e.stats.Refused++
	default:
		e.stats.Flawed++
	}
	return err
}

func (e *Engine) add(t *trade.Trade, now int64) error {
	if err := t.Check(now); err != nil {
		return err
	}
	b, err := e.book(t.Symbol)
	if err != nil {
		return err
	}
	src, err := e.source(b, t.Source)
	if err != nil {
		return err
	}
	b.begin(e, t.Time)
	if t.Time < b.mark-e.limit {
		return ErrLate
	}
	if t.ID != 0 && src.ids.renumber(t.ID, t.Time) {
		e.stats.Renumbered++
	}
	at, known := src.ids.find(t.ID)
	if t.ID != 0 {
		if known {
			return ErrDuplicate
		}
		if t.ID <= src.ids.floor || t.Time <= src.ids.since {
			return ErrForgotten
		}
	}
	if err := e.merge(b, t); err != nil {
		return err
	}
	if t.ID != 0 {
		src.ids.put(at, t.ID, t.Time, e.cfg.IDRuns, b.mark-e.limit-idsMargin)
	}
	src.time = max(src.time, t.Time)
	b.newest.take(t, src.clock.source)
	e.queue(b)
	b.raise(e)
	if b.mark/1000 >= b.due {
		e.advance(b)
	}
	return nil
}

// idsMargin is how much longer than trades may be late ids are known, in microseconds: sources may give the same
// trade times that are rounded in different ways.
const idsMargin = 60_000_000

// merge puts a trade into a bar of each interval, or into none.
func (e *Engine) merge(b *book, t *trade.Trade) error {
	size, turnover := Sum{0, uint64(t.Size)}, Product(t.Price, t.Size)
	for i := range b.series {
		s, p := &b.series[i], &e.places[i]
		p.start, _ = s.bounds(t.Time / 1000)
		s.thaw(p.start)
		if p.at, p.ok = s.find(p.start); !p.ok {
			if len(s.live())+len(s.old)*chunkBars >= s.most(e) {
				return ErrFull
			}
			p.volume, p.turnover = size, turnover
			continue
		}
		has := &s.live()[p.at]
		var fits, fits2 bool
		p.volume, fits = has.volume.Add(size)
		p.turnover, fits2 = has.turnover.Add(turnover)
		if !fits || !fits2 {
			return ErrOverflow
		}
	}
	for i := range b.series {
		s, p := &b.series[i], &e.places[i]
		revs, waiting := s.revs, s.pending
		s.add(t, p.start, p.at, p.ok, p.volume, p.turnover)
		e.stats.Revisions += uint64(s.revs - revs)
		e.stats.Waiting += s.pending - waiting
	}
	return nil
}

// Heard notes that a source has nothing older than a time on its way: of a symbol, or without one of all.
// What is further ahead than a trade may be counts as if it were not.
func (e *Engine) Heard(source string, symbol *trade.Symbol, at, now int64) error {
	at = min(at, now+trade.AheadMax)
	if symbol == nil {
		c, err := e.clock(source)
		if err == nil {
			c.heard = max(c.heard, at)
		}
		return err
	}
	b, err := e.book(symbol)
	if err != nil {
		return err
	}
	src, err := e.source(b, source)
	if err != nil {
		return err
	}
	src.time = max(src.time, at)
	return nil
}

// Filling tells that trades of a symbol that were missed are on their way (on), or have come. Meanwhile its mark
// follows its sources alone, and nothing of it is told but bars that can't be revised any more.
func (e *Engine) Filling(symbol *trade.Symbol, on bool) error {
	b, err := e.book(symbol)
	if err == nil {
		b.filling = on
	}
	return err
}

// Advance closes bars. It is to be called a few times a second, with the time of now, or with 0 while trades
// are replayed that are older than that: then marks follow sources alone. At most [Config.Fills] bars are
// filled in one call; what is left is gone on with in the next ones, and bars of that series that come after
// are closed after that.
func (e *Engine) Advance(now int64) {
	if now > 0 {
		e.wall = max(e.wall, now-e.silence)
	}
	e.fills = e.cfg.Fills
	n, first := len(e.all), e.turn
	for i := range n {
		b := e.all[(first+i)%n]
		if !b.begun {
			continue
		}
		b.raise(e)
		if b.mark/1000 < b.due {
			continue
		}
		had := e.fills
		e.advance(b)
		if had > 0 && e.fills == 0 {
			e.turn = (first + i + 1) % n
		}
	}
}

// advance closes the bars of a book up to its mark.
func (e *Engine) advance(b *book) {
	b.due = maxTime
	for i := range b.series {
		s := &b.series[i]
		waiting, fills := s.pending, e.fills
		if s.advance(b.mark, &e.fills) {
			e.stats.Closed += uint64(s.pending - waiting)
			e.stats.Filled += uint64(fills - e.fills)
			e.stats.Waiting += s.pending - waiting
			s.drop(e, b.mark)
			if !b.filling { // Its trades are for old bars, too.
				s.freeze(e, b.mark/1000-thawed)
			}
		}
		b.due = min(b.due, s.nextClose)
	}
	e.queue(b)
}

// Position returns the highest id of a symbol's trades at a source that were merged, and the time of the trades
// about it: 0 where there are none. It is what an inlet goes on from.
func (e *Engine) Position(s *trade.Symbol, from string) (id, at int64) {
	b := e.books[s]
	if b == nil {
		return 0, 0
	}
	for i := range b.sources {
		src := &b.sources[i]
		if src.clock.source != from {
			continue
		}
		if n := len(src.ids.runs); n > 0 {
			return src.ids.runs[n-1].hi, src.ids.runs[n-1].newest
		}
		return 0, src.time
	}
	return 0, 0
}

// Stats may be called by the goroutine of the engine alone.
func (e *Engine) Stats() Stats {
	s := e.stats
	s.Symbols = len(e.all)
	return s
}

// Renumbered is that of Stats, for who looks behind each trade.
func (e *Engine) Renumbered() uint64 { return e.stats.Renumbered }

// clocksMax bounds the sources of an engine: their names may come with trades.
const clocksMax = 1024

func (e *Engine) clock(source string) (*clock, error) {
	c := e.clocks[source]
	if c == nil {
		if !trade.ValidSource(source) {
			return nil, trade.ErrSource
		}
		if len(e.clocks) >= clocksMax {
			return nil, ErrSources
		}
		source = strings.Clone(source)
		c = &clock{source: source, n: len(e.clockList)}
		e.clocks[source], e.clockList = c, append(e.clockList, c)
	}
	return c, nil
}

func (e *Engine) book(s *trade.Symbol) (*book, error) {
	if b := e.books[s]; b != nil {
		return b, nil
	}
	if len(e.all) >= e.cfg.Symbols {
		return nil, ErrSymbols
	}
	b := &book{symbol: s, series: make([]series, len(e.cfg.Intervals))}
	for i := range b.series {
		b.series[i] = series{interval: e.cfg.Intervals[i], symbol: s, dirtyFrom: maxTime}
	}
	e.books[s] = b
	e.all = append(e.all, b)
	return b, nil
}

func (e *Engine) source(b *book, name string) (*source, error) {
	for i := range b.sources {
		if b.sources[i].clock.source == name {
			return &b.sources[i], nil
		}
	}
	if len(b.sources) >= e.cfg.Sources {
		return nil, ErrSources
	}
	c, err := e.clock(name)
	if err != nil {
		return nil, err
	}
	b.sources = append(b.sources, source{clock: c})
	return &b.sources[len(b.sources)-1], nil
}
