// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"context"
	"hash/fnv"
	"log/slog"
	"sync/atomic"

	"tickedge/internal/exchange"
	"tickedge/internal/trade"
)

// shardCount is into how many shards the symbols of exchanges are divided. It is part of what checkpoints mean, so it
// is no flag.
const shardCount = 16

// router is the sink of an inlet whose symbols are divided among shards by their names. A trade goes to each shard that
// has its symbol or an alias of it.
type router struct {
	ctx    context.Context
	log    *slog.Logger
	shards []*shard
	live   bool // Trades of an inlet that can't be held up are dropped where there is no room.
	ways   map[*trade.Symbol]*way

	dropped atomic.Uint64
}

// way is where the trades of an instrument go.
type way struct {
	to      []*shard
	filling atomic.Bool
}

// shardOf is which of n shards has a symbol.
func shardOf(symbol *trade.Symbol, n int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(symbol.Name))
	return int(h.Sum32() % uint32(n))
}

func newRouter(ctx context.Context, log *slog.Logger, shards []*shard, instruments []*trade.Symbol, live bool) *router {
	r := &router{ctx: ctx, log: log, shards: shards, live: live, ways: make(map[*trade.Symbol]*way)}
	for _, s := range instruments {
		w := &way{}
		for _, of := range shards {
			if len(of.of(s)) > 0 {
				w.to = append(w.to, of)
			}
		}
		r.ways[s] = w
	}
	return r
}

// Trade implements [exchange.Sink], as do Heard, Gap and Filling.
func (r *router) Trade(t trade.Trade) {
	w := r.ways[t.Symbol]
	if w == nil || r.ctx.Err() != nil { // Once one was not taken none of the later ones is: positions say that all before was.
		return
	}
	for _, s := range w.to {
		it := item{kind: tradeItem, trade: t}
		if !r.live || w.filling.Load() {
			r.send(s, it)
			continue
		}
		select {
		case s.in <- it:
		default:
			r.dropped.Add(1)
			r.log.Warn("a trade was dropped, as its shard has no room", "symbol", t.Symbol.Name, "id", t.ID, "hint", "the machine is too slow for these symbols: divide them by -symbols, or put Kafka between")
		}
	}
}

func (r *router) send(s *shard, it item) {
	select {
	case s.in <- it:
	case <-r.ctx.Done():
	}
}

// Heard is sent where there is room: the next one says more.
func (r *router) Heard(source string, symbol *trade.Symbol, at int64) {
	it := item{kind: heardItem, source: source, symbol: symbol, at: at}
	to := r.shards
	if symbol != nil {
		w := r.ways[symbol]
		if w == nil {
			return
		}
		to = w.to
	}
	for _, s := range to {
		select {
		case s.in <- it:
		default:
		}
	}
}

// Gap says so in the log. Inlets count gaps.
func (r *router) Gap(g exchange.Gap) {
	if g.Filled {
		r.log.Info("trades that were missed were fetched", "symbol", g.Symbol.Name, "from", g.From, "to", g.To)
		return
	}
	r.log.Warn("trades were missed: bars of that time lack them", "symbol", g.Symbol.Name, "from", g.From, "to", g.To,
		"since", micros(g.Since), "until", micros(g.Until), "cause", g.Why)
}

func (r *router) Filling(symbol *trade.Symbol, on bool) {
	w := r.ways[symbol]
	if w == nil {
		return
	}
	w.filling.Store(on)
	for _, s := range w.to {
		r.send(s, item{kind: fillingItem, symbol: symbol, on: on})
	}
}

// position is how far all shards have an instrument that have anything of it. One of an alias that is new has not.
func (r *router) position(symbol *trade.Symbol) (p exchange.Position) {
	w := r.ways[symbol]
	if w == nil {
		return p
	}
	for _, s := range w.to {
		q, has := s.positions[symbol.Name] // The shards do not run yet.
		if has && (p == exchange.Position{} || q.ID < p.ID || q.ID == p.ID && q.Time < p.Time) {
			p = q
		}
	}
	return p
}
