// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"tickedge/internal/bars"
	"tickedge/internal/checkpoint"
	"tickedge/internal/exchange"
	"tickedge/internal/trade"
)

// inboxSize is how many trades may wait for a shard, at some 130 bytes.
const inboxSize = 8192

// item is one thing that a shard is told.
type item struct {
	kind   itemKind
	on     bool          // Of filling and caughtUp.
	symbol *trade.Symbol // Of heard and filling.
	source string        // Of heard; of what comes from a log, the id of its topic.
	at     int64         // Of heard, in Unix microseconds; of what comes from a log, the offset behind it.
	trade  trade.Trade
	done   chan struct{} // Of whole: closed when it was taken.
}

type itemKind uint8

const (
	tradeItem itemKind = iota
	heardItem
	fillingItem
	caughtUpItem
	wholeItem
	passedItem
)

// shard makes the bars of some symbols: one goroutine, which owns its engine and its positions. What it is
// told comes by its inbox, which is bounded.
type shard struct {
	name   string // The key of its checkpoint.
	number int    // Which of the shards it is,
	all    bool   // or it has all symbols: what comes from a partition of a log.
	cfg    *Config
	log    *slog.Logger
	out    *outputs
	last   context.Context // Ends when the program is to wait for nothing any more.
	in     chan item
	calls  chan func() // What others ask: it does not wait behind trades.
	engine *bars.Engine
	epoch  int64

	positions map[string]exchange.Position     // By the name of the instrument: what the engine has.
	topic     string                           // The id of the log's topic.
	offset    int64                            // In it: what comes next.
	recorded  bool                             // Trades are as old as they are: bars close by their times alone,
	whole     bool                             // until all have come.
	stored    func(topic string, offset int64) // Called with what a checkpoint has; nil if nobody wants to know.
	patient   bool                             // What brings its trades waits while there is no room for their bars.
	lost      atomic.Bool                      // Another process may have it: nothing is stored or told.
	ending    bool                             // Nothing is told any more: a checkpoint is the last one.
	behind    bool                             // A log is read again, or was not read to its end yet: nothing is told.
	awaited   map[*trade.Symbol]bool           // Instruments that are held until their inlet has spoken of them,
	awaitEnd  time.Time                        // or for awaitMost.
	fills     map[*trade.Symbol]int            // How many of its instruments are being filled, of each symbol.
	vers      map[string]int64                 // The last of each topic.
	flaws     map[string]uint64                // Trades that no bar has, by why.
	news      bool                             // Trades came since the last checkpoint, or bars were closed.
	saving    bool                             // A checkpoint is being stored; saved will tell.
	saved     chan savedIn
	counted   atomic.Pointer[counted] // When it was asked last.
	value     []byte
}

// run takes what comes until ctx ends, and then stores a checkpoint. It fails if its checkpoint belongs to another
// process, or can't be stored at the end.
func (s *shard) run(ctx context.Context) error {
	advance := time.NewTicker(advanceEvery)
	defer advance.Stop()
	s.awaitEnd = time.Now().Add(s.cfg.awaitMost)
	var klines time.Time
	var save time.Time // The first trade is stored at once: from then on it is known what was missed.
	for {
		in := s.in
		if s.held() {
			in = nil
		}
		select {
		case it := <-in:
			s.take(it)
			for range min(len(s.in), drainMost) {
				s.take(<-s.in)
			}
			s.relieve()
		case call := <-s.calls:
			call()
		case now := <-advance.C:
			s.unawait(now)
			s.advance(now)
			due := now.Sub(klines) >= s.cfg.barInterval
			if due {
				klines = now
			}
			s.tell(now, due)
			if s.news && !s.saving && now.After(save) {
				s.save(ctx)
			}
		case took := <-s.saved:
			s.saving, save = false, time.Now().Add(s.cfg.pause(took.took))
			if errors.Is(took.err, checkpoint.ErrFenced) {
				return took.err
			}
			s.news = s.news || took.err != nil
		case <-ctx.Done():
			return s.end()
		}
	}
}

const (
	advanceEvery = 50 * time.Millisecond
	drainMost    = 1024
	heldMost     = 4096 // Bars that wait in a shard before it takes no more trades. A series has room for that and drainMost.
	// A program that is told to end does so within 10 s, whatever is away: shards have endTimeout to store what they
	// have, and all that is waited for ends by lastTimeout.
	endTimeout  = 6 * time.Second
	lastTimeout = 8 * time.Second
)

// end stores what has come before the end.
func (s *shard) end() error {
	ctx := s.last
	if !s.whole { // Otherwise it is stored however long that takes, unless the program is told to end.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, endTimeout)
		defer cancel()
	}
	if s.saving {
		<-s.saved
	}
	for len(s.in) > 0 && !s.held() { // What is left is read again.
		s.take(<-s.in)
		s.relieve()
	}
	if s.whole && s.recorded {
		now := s.cfg.now()
		s.engine.Advance(now.UnixMicro())
		s.tell(now, true)
		for name, p := range s.positions { // All is closed up to now: what comes again is late.
			s.positions[name] = exchange.Position{ID: p.ID, Time: max(p.Time, now.UnixMicro())}
		}
	}
	if s.lost.Load() || !s.news && len(s.vers) == 0 {
		return nil
	}
	s.ending = true
	s.save(ctx)
	return (<-s.saved).err
}

func (s *shard) take(it item) {
	switch it.kind {
	case tradeItem:
		s.trade(&it.trade)
		s.passed(it)
	case passedItem:
		s.passed(it)
	case heardItem:
		s.heard(it)
	case fillingItem:
		s.spoken(it.symbol)
		s.fill(it.symbol, it.on)
	case caughtUpItem:
		s.behind = !it.on
	case wholeItem:
		s.whole = true
		close(it.done)
	}
}

// relieve has bars handed on between two ticks, so that few wait.
func (s *shard) relieve() {
	if s.engine.Stats().Waiting > drainMost {
		s.news = s.engine.DrainClosed(s.out.bar) > 0 || s.news
	}
}

// held reports whether trades are to wait until bars were taken.
func (s *shard) held() bool { return s.patient && s.engine.Stats().Waiting > heldMost }

// trade puts a trade into the bars of its symbol and of its aliases, as far as they are this shard's.
func (s *shard) trade(t *trade.Trade) {
	now := s.cfg.now().UnixMicro()
	of, anew := t.Symbol, false
	if s.owns(of) {
		anew = s.add(t, now)
	}
	for _, alias := range of.Aliases {
		if !s.owns(alias) {
			continue
		}
		other, err := t.As(alias)
		if err != nil {
			s.flaw(err, t)
			continue
		}
		anew = s.add(&other, now) || anew
	}
	p := s.positions[of.Name]
	id := max(p.ID, t.ID)
	if anew {
		id = t.ID // It is gone on from there.
	}
	s.positions[of.Name] = exchange.Position{ID: id, Time: max(p.Time, t.Time)}
	s.news = true
	s.spoken(of)
}

// passed notes how far a log was read.
func (s *shard) passed(it item) {
	if it.at > 0 {
		s.topic, s.offset, s.news = it.source, it.at, true
	}
}

// add reports whether the trade shows that its exchange numbers anew.
func (s *shard) add(t *trade.Trade, now int64) (anew bool) {
	before := s.engine.Renumbered()
	err := s.engine.Add(t, now)
	if anew = s.engine.Renumbered() != before; anew {
		s.log.Warn("an exchange numbers its trades anew: bars go on, and what was missed meanwhile can't be fetched",
			"symbol", t.Symbol.Name, "source", t.Source, "id", t.ID, "time", micros(t.Time))
	}
	if err != nil && !errors.Is(err, bars.ErrDuplicate) {
		s.flaw(err, t)
	}
	return anew
}

// flaw counts a trade that no bar has. The log tells of the first ones.
func (s *shard) flaw(err error, t *trade.Trade) {
	cause := err
	for next := errors.Unwrap(cause); next != nil; next = errors.Unwrap(cause) {
		cause = next // Without the names of symbols: it is the label of a metric.
	}
	s.flaws[cause.Error()]++
	s.log.Warn("a trade is in no bar", "symbol", t.Symbol.Name, "source", t.Source, "id", t.ID, "error", err)
}

func (s *shard) heard(it item) {
	now := s.cfg.now().UnixMicro()
	if it.symbol == nil {
		_ = s.engine.Heard(it.source, nil, it.at, now) // What is wrong with it is so with its trades.
		return
	}
	s.spoken(it.symbol)
	for _, of := range s.of(it.symbol) {
		_ = s.engine.Heard(it.source, of, it.at, now)
	}
}

// of are the symbols of this shard that get the trades of an instrument.
func (s *shard) of(instrument *trade.Symbol) (of []*trade.Symbol) {
	if s.owns(instrument) {
		of = append(of, instrument)
	}
	for _, alias := range instrument.Aliases {
		if s.owns(alias) {
			of = append(of, alias)
		}
	}
	return of
}

func (s *shard) owns(symbol *trade.Symbol) bool { return s.cfg.mine(s, symbol) }

// await holds an instrument that goes on from a checkpoint, until its inlet has said whether anything was missed.
func (s *shard) await(instrument *trade.Symbol) {
	s.awaited[instrument] = true
	s.fill(instrument, true)
}

// spoken ends await.
func (s *shard) spoken(instrument *trade.Symbol) {
	if s.awaited[instrument] {
		delete(s.awaited, instrument)
		s.fill(instrument, false)
	}
}

// awaitMost is for how long an exchange that does not speak of a symbol after a start may hold its bars, and those of its
// aliases: it may be away for days, or not have the symbol any more. What it brings later revises bars.
const awaitMost = 5 * time.Minute

// unawait ends await where that has taken too long.
func (s *shard) unawait(now time.Time) {
	if len(s.awaited) == 0 || now.Before(s.awaitEnd) {
		return
	}
	for instrument := range s.awaited {
		s.log.Warn("a symbol goes on, though its exchange has not said whether trades were missed", "symbol", instrument.Name)
		s.spoken(instrument)
	}
}

// fill notes that an instrument is being filled, or is not any more. An alias is while any of its instruments is.
func (s *shard) fill(instrument *trade.Symbol, on bool) {
	for _, of := range s.of(instrument) {
		n := s.fills[of]
		if on {
			n++
		} else if n > 0 {
			n--
		}
		s.fills[of] = n
		if err := s.engine.Filling(of, n > 0); err != nil {
			s.log.Warn("a symbol can't be held while it is filled", "symbol", of.Name, "error", err)
		}
	}
}

func (s *shard) advance(now time.Time) {
	if s.behind || s.recorded {
		s.engine.Advance(0)
	} else {
		s.engine.Advance(now.UnixMicro())
	}
}

// save stores a checkpoint, in a goroutine of its own and behind all bars that were told by then: what comes after it
// is brought again. What was closed and not told yet is in it.
func (s *shard) save(ctx context.Context) {
	s.engine.DrainClosed(s.out.bar)
	state, topic, offset := s.state(), s.topic, s.offset
	s.saving, s.news = true, false
	go func() {
		err := s.out.flush(ctx)
		began := time.Now() // A store of bars that was away says nothing about the next checkpoint.
		if err == nil {
			err = s.out.checkpoints.Save(ctx, s.name, s.epoch, state)
		}
		if err == nil && s.stored != nil {
			s.stored(topic, offset)
		}
		if err != nil && ctx.Err() == nil { // What is in it is in the next one too.
			s.log.Error("a checkpoint was not stored", "error", err, "hint", "it is tried again; until then a restart reads more again")
		}
		s.saved <- savedIn{time.Since(began), err}
	}()
}

type savedIn struct {
	took time.Duration
	err  error
}

// pause is how long after a checkpoint the next one is stored, which took so long: a shard that has much to store does
// so more rarely, within bounds, as a restart reads again what came since.
func (c *Config) pause(took time.Duration) time.Duration {
	return min(max(c.checkpointEvery, 10*took), 6*c.checkpointEvery)
}
