// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tickedge/internal/broker"
	"tickedge/internal/market"
	"tickedge/internal/trade"
)

// SimSource is the source of a simulated market.
const SimSource = "SIM"

// SimConfig describes a simulated market: all symbols whose source is sim, under the prices that package
// market knows for their names.
type SimConfig struct {
	Table      *trade.Table
	Log        *slog.Logger
	Rate       float64 // Trades a second, all symbols together, at speed 1.
	Volatility float64 // As in market.Config: 1 is as in reality.
	Drift      float64 // As in market.Config: what prices gain in a year, as a logarithm.
	Seed       uint64  // The same one gives the same prices and sizes.
	Waiting    bool    // Nothing is traded until Start.
}

// Sim is a simulated market with the controls of a player. Its trades have the time at which they are made,
// and ids that go on from the positions.
type Sim struct {
	c       SimConfig
	market  *market.Market
	player  *market.Player
	random  *rand.Rand
	started chan struct{}
	once    sync.Once
	running atomic.Bool
	trades  atomic.Uint64
	flawed  atomic.Uint64
	last    atomic.Pointer[string]

	// Of Run.
	to  Sink
	ids map[*trade.Symbol]int64
}

// NewSim returns a simulated market.
func NewSim(c SimConfig) (*Sim, error) {
	if c.Table == nil {
		return nil, errors.New("sim: there is no table of symbols")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var names []string
	for _, s := range c.Table.Source(SimSource) {
		names = append(names, s.Vendor)
	}
	m, err := market.New(market.Config{Symbols: names, Rate: c.Rate, Volatility: c.Volatility, Drift: c.Drift, Seed: c.Seed})
	if err != nil {
		return nil, fmt.Errorf("sim: %w", err)
	}
	s := &Sim{
		c: c, market: m, random: rand.New(rand.NewPCG(c.Seed, 0x73697a6573)), started: make(chan struct{}),
		ids: make(map[*trade.Symbol]int64),
	}
	s.player = market.NewPlayer(s)
	if !c.Waiting {
		s.Start()
	}
	return s, nil
}

// Start begins to trade, if the market was waiting. It may be called from any goroutine, and again, as may
// Pause, Resume, SetSpeed and State.
func (s *Sim) Start() { s.once.Do(func() { close(s.started) }) }

// Pause stops trading until Resume.
func (s *Sim) Pause() { s.player.Pause() }

// Resume goes on after a pause.
func (s *Sim) Resume() { s.player.Resume() }

// SetSpeed has the market trade that many times as fast: 1 to 10.
func (s *Sim) SetSpeed(speed float64) error { return s.player.SetSpeed(speed) }

// SimState is what a simulated market is doing.
type SimState struct {
	Started bool    `json:"started"`
	Paused  bool    `json:"paused"`
	Speed   float64 `json:"speed"`
	Trades  uint64  `json:"trades"`
}

// State returns what the market is doing.
func (s *Sim) State() SimState {
	p := s.player.State()
	started := false
	select {
	case <-s.started:
		started = true
	default:
	}
	return SimState{Started: started, Paused: p.Paused, Speed: p.Speed, Trades: s.trades.Load()}
}

// Live is true: a market does not wait.
func (s *Sim) Live() bool { return true }

// Stats implements Inlet.
func (s *Sim) Stats() Stats {
	st := Stats{Wanted: 1, Connects: 1, Trades: s.trades.Load(), Flawed: s.flawed.Load()}
	if s.running.Load() {
		st.Connected = 1
	}
	if e := s.last.Load(); e != nil {
		st.LastError = *e
	}
	return st
}

// Run implements Inlet.
func (s *Sim) Run(ctx context.Context, to Sink, from func(*trade.Symbol) Position) error {
	s.to = to
	for _, symbol := range s.c.Table.Source(SimSource) {
		s.ids[symbol] = from(symbol).ID
	}
	select {
	case <-ctx.Done():
		return nil
	case <-s.started:
	}
	s.running.Store(true)
	defer s.running.Store(false)
	beat := make(chan struct{})
	over, cancel := context.WithCancel(ctx)
	go func() {
		defer close(beat)
		every := time.NewTicker(time.Second)
		defer every.Stop()
		for {
			select {
			case <-over.Done():
				return
			case <-every.C:
				to.Heard(SimSource, nil, micros()-simLag)
			}
		}
	}()
	err := s.player.Run(ctx, s.market)
	cancel()
	<-beat
	return err
}

// simLag is how old a trade may be when it is handed on, in microseconds: the market makes up to 250 ms of
// them at a time.
const simLag = 1_000_000

// Publish is how the player hands trades on: the prices of the market, with sizes and ids. Its caller is
// the player.
func (s *Sim) Publish(ctx context.Context, ticks []broker.Tick) bool {
	for i := range ticks {
		if err := s.trade(&ticks[i]); err != nil {
			s.flawed.Add(1)
			text := err.Error()
			s.last.Store(&text)
			s.c.Log.Warn("a simulated trade was skipped", "symbol", ticks[i].Topic, "error", err)
		}
	}
	return ctx.Err() == nil
}

func (s *Sim) trade(tick *broker.Tick) error {
	symbol := s.c.Table.Vendor(SimSource, tick.Topic)
	var v struct {
		Price jsontext.Value `json:"p"`
		Bid   jsontext.Value `json:"b"`
		Ask   jsontext.Value `json:"a"`
		Time  int64          `json:"ts"`
	}
	if err := json.Unmarshal([]byte(tick.Value), &v); err != nil {
		return err
	}
	tr := trade.Trade{Symbol: symbol, Source: SimSource, Time: v.Time * 1000, Received: micros(), Side: trade.Buy + trade.Side(s.random.IntN(2))}
	for _, n := range []struct {
		from jsontext.Value
		to   *int64
	}{{v.Price, &tr.Price}, {v.Bid, &tr.Bid}, {v.Ask, &tr.Ask}} {
		var err error
		if *n.to, err = trade.ParseDecimal(n.from, symbol.PriceScale); err != nil {
			return err
		}
	}
	// Many small ones and few large ones, in hundredths where the symbol has these.
	lots := 1 + min(int64(s.random.ExpFloat64()*30), 500)
	for range max(int(symbol.SizeScale)-2, 0) {
		lots *= 10
	}
	tr.Size = lots
	s.ids[symbol]++
	tr.ID = s.ids[symbol]
	if err := tr.Check(tr.Received); err != nil {
		return err
	}
	s.trades.Add(1)
	s.to.Trade(tr)
	return nil
}

// Connected implements broker.Publisher.
func (s *Sim) Connected() bool { return true }

// Close implements broker.Publisher. It does nothing.
func (s *Sim) Close() {}
