// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"tickedge/internal/trade"
)

const (
	probeTrades   = 10
	probeAttempts = 5 // Of a first connection: eight seconds where each fails at once.
	probeTimeout  = 60 * time.Second
)

// Probe connects to an exchange, subscribes to symbols as the exchange spells them, and writes what comes to
// out: ten trades with their ids, and how far its clock is from ours; or what was refused, in its own words.
// It ends with an error if five connections failed and none came to work, no trade came within a minute, or ctx ended. c needs a key if the exchange does,
// and no table.
func Probe(ctx context.Context, name string, symbols []string, c Config, out io.Writer) error {
	var entries []trade.Entry
	for _, s := range symbols {
		entries = append(entries, trade.Entry{Symbol: strings.ToUpper(name) + ":" + s, Source: name, Vendor: s})
	}
	table, err := trade.NewTable(entries, Numbered)
	if err != nil {
		return err
	}
	c.Table = table
	in, err := newInlet(name, c)
	if err != nil {
		return err
	}
	in.attempts = probeAttempts
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	fmt.Fprintf(out, "connecting to %s\n", in.c.WS)
	p := &probe{in: in, out: out, enough: cancel}
	err = in.Run(ctx, p, func(*trade.Symbol) Position { return Position{} })
	p.mu.Lock()
	defer p.mu.Unlock()
	s := in.Stats()
	fmt.Fprintf(out, "connections %d, trades %d, gaps %d (%d filled), repeated %d, flawed %d, clock ahead of ours by %.3f s\n",
		s.Connects, s.Trades, s.Gaps, s.Filled, s.Repeated, s.Flawed, float64(s.ClockOffset)/1e6)
	if s.LastError != "" {
		fmt.Fprintf(out, "last error: %s\n", s.LastError)
	}
	switch {
	case err != nil:
		return err
	case p.seen == 0 && s.LastError != "":
		return errors.New(s.LastError)
	case p.seen == 0 && s.Connects > 0:
		return errors.New("it was connected, and no trade came: is the symbol spelled as the exchange does, and is it traded now?")
	case p.seen == 0:
		return errors.New("there was no connection")
	}
	return nil
}

// probe is a sink that writes what comes, until there is enough.
type probe struct {
	in     *inlet
	out    io.Writer
	enough func()
	mu     sync.Mutex
	seen   int
}

func (p *probe) Trade(t trade.Trade) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen++; p.seen > probeTrades {
		return
	}
	b := trade.AppendDecimal([]byte("price "), t.Price, t.Symbol.PriceScale)
	b = trade.AppendDecimal(append(b, " size "...), t.Size, t.Symbol.SizeScale)
	fmt.Fprintf(p.out, "%s id %d %s %s at %s, %.3f s ago\n", t.Symbol.Vendor, t.ID, b, t.Side,
		time.UnixMicro(t.Time).UTC().Format(time.RFC3339Nano), float64(t.Received-t.Time)/1e6)
	if p.seen == probeTrades {
		p.enough()
	}
}

func (p *probe) Heard(string, *trade.Symbol, int64) {}

func (p *probe) Gap(g Gap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%s: gap from id %d to %d, filled: %v, %s\n", g.Symbol.Vendor, g.From, g.To, g.Filled, g.Why)
}

func (p *probe) Filling(*trade.Symbol, bool) {}
