// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"context"
	"errors"
	"log/slog"
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
	call   func(*shard)
}

type itemKind uint8

const (
	tradeItem itemKind = iota
	heardItem
	fillingItem
	caughtUpItem
	callItem
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
	in     chan item
	engine *bars.Engine
	epoch  int64

	positions map[string]exchange.Position     // By the name of the instrument: what the engine has.
	topic     string                           // The id of the log's topic.
	offset    int64                            // In it: what comes next.
	recorded  bool                             // Trades are as old as they are: bars close by their times alone,
	whole     bool                             // until all have come.
	stored    func(topic string, offset int64) // Called with what a checkpoint has; nil if nobody wants to know.
	lost      bool                             // Another process may have it: nothing is stored.
	behind    bool                             // A log is read again, or was not read to its end yet: nothing is told.
	awaited   map[*trade.Symbol]bool           // Instruments that are held until their inlet has spoken of them.
	fills     map[*trade.Symbol]int            // How many of its instruments are being filled, of each symbol.
	vers      map[string]int64                 // The last of each topic.
	flaws     map[string]uint64                // Trades that no bar has, by why.
	news      bool                             // Trades came since the last checkpoint, or bars were closed.
	saving    bool                             // A checkpoint is being stored; saved will tell.
	saved     chan savedIn
	value     []byte
}

// run takes what comes until ctx ends, and then stores a checkpoint. It fails if its checkpoint belongs to another
// process, or can't be stored at the end.
func (s *shard) run(ctx context.Context) error {
	advance := time.NewTicker(advanceEvery)
	defer advance.Stop()
	var klines time.Time
	var save time.Time // The first trade is stored at once: from then on it is known what was missed.
	for {
		select {
		case it := <-s.in:
			s.take(it)
			for range min(len(s.in), drainMost) {
				s.take(<-s.in)
			}
		case now := <-advance.C:
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
			// A shard that has much to store does so more rarely.
			s.saving, save = false, time.Now().Add(max(s.cfg.checkpointEvery, 10*took.took))
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
	endTimeout   = 10 * time.Second
)

// end stores what has come before the end.
func (s *shard) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	if s.saving {
		<-s.saved
	}
	for len(s.in) > 0 {
		s.take(<-s.in)
	}
	if s.whole && s.recorded {
		s.engine.Advance(s.cfg.now().UnixMicro())
		s.tell(s.cfg.now(), true)
	}
	if !s.news || s.lost {
		return nil
	}
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
	case callItem:
		it.call(s)
	}
}

// trade puts a trade into the bars of its symbol and of its aliases, as far as they are this shard's.
func (s *shard) trade(t *trade.Trade) {
	now := s.cfg.now().UnixMicro()
	of := t.Symbol
	if s.owns(of) {
		s.add(t, now)
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
		s.add(&other, now)
	}
	p := s.positions[of.Name]
	s.positions[of.Name] = exchange.Position{ID: max(p.ID, t.ID), Time: max(p.Time, t.Time)}
	s.news = true
	s.spoken(of)
}

// passed notes how far a log was read.
func (s *shard) passed(it item) {
	if it.at > 0 {
		s.topic, s.offset, s.news = it.source, it.at, true
	}
}

func (s *shard) add(t *trade.Trade, now int64) {
	if err := s.engine.Add(t, now); err != nil && !errors.Is(err, bars.ErrDuplicate) {
		s.flaw(err, t)
	}
}

// flaw counts a trade that no bar has. The log tells of the first ones.
func (s *shard) flaw(err error, t *trade.Trade) {
	s.flaws[err.Error()]++
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

// tell hands on what has changed, conflated: prices, klines if they are due, and bars that were closed.
func (s *shard) tell(now time.Time, klines bool) {
	s.news = s.engine.DrainClosed(s.out.bar) > 0 || s.news
	if s.behind {
		return
	}
	s.engine.DrainPrices(func(p bars.Price) bool {
		s.value = p.AppendJSON(s.value[:0])
		name := p.Symbol().Name
		return s.out.publish(name, s.value, s.version(name, p.Key().Time, now))
	})
	if !klines {
		return
	}
	s.engine.DrainKlines(func(k bars.Series) bool {
		s.value = k.AppendKline(s.value[:0], now.UnixMilli())
		var newest int64
		if p, ok := s.engine.Newest(k.Symbol()); ok {
			newest = p.Key().Time
		}
		topic := klineTopic(k.Interval().Name, k.Symbol().Name)
		return s.out.publish(topic, s.value, s.version(topic, newest, now))
	})
}

// version is that of the next value of a topic: the time of its symbol's newest trade, in Unix microseconds, or one more than
// the last. By the clock of this host an owner that was frozen, and wakes up when another has gone on for long, would give what
// it knew then a version above all that came meanwhile. Trades that are played again have versions by the clock, as they are
// to be seen again.
func (s *shard) version(topic string, newest int64, now time.Time) int64 {
	if s.recorded {
		newest = s.out.clock.Next(now)
	}
	v := max(s.vers[topic]+1, newest)
	s.vers[topic] = v
	return v
}

// versMargin is more than versions rise, beyond the times of trades, between two checkpoints.
const versMargin = 10_000

// save stores a checkpoint, in a goroutine of its own and behind all bars that were told by then: what comes after it
// is brought again. What was closed and not told yet is in it.
func (s *shard) save(ctx context.Context) {
	s.engine.DrainClosed(s.out.bar)
	state, topic, offset := s.state(), s.topic, s.offset
	s.saving, s.news = true, false
	go func() {
		began := time.Now()
		err := s.out.flush(ctx)
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
