// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"tickedge/internal/app"
	"tickedge/internal/exchange"
)

// makeInlets makes what trades come from. Instruments that go on from a checkpoint are held until it was said whether
// any of their trades were missed.
func (p *program) makeInlets(ctx context.Context) error {
	for _, name := range p.cfg.names {
		if name == inKafka {
			continue
		}
		in, err := p.cfg.inlet(name, p.log)
		if err != nil {
			return err
		}
		symbols := p.cfg.table.Source(strings.ToUpper(name))
		if name == inFile { // It may have trades of all.
			symbols = p.cfg.table.All()
		}
		for _, s := range p.shards {
			s.recorded = !in.Live() && name == inFile && len(p.cfg.names) == 1
			s.patient = s.recorded
		}
		r := newRouter(ctx, p.log, p.shards, symbols, in.Live())
		p.inlets = append(p.inlets, inlet{name, in, r})
		for _, s := range symbols {
			for _, of := range r.ways[s].to {
				if pos := of.positions[s.Name]; s.Numbered && in.Live() && name != inSim && pos.ID > 0 {
					of.await(s)
				}
			}
		}
	}
	return nil
}

func (c *Config) inlet(name string, log *slog.Logger) (exchange.Inlet, error) {
	switch name {
	case inSim:
		sim, err := exchange.NewSim(exchange.SimConfig{Table: c.table, Log: log, Rate: c.simRate, Volatility: c.simVolatility, Seed: c.simSeed})
		if err != nil {
			return nil, err
		}
		if c.onMarket != nil {
			c.onMarket(sim)
		}
		return sim, nil
	case inFile:
		return exchange.NewFile(exchange.FileConfig{Table: c.table, Log: log, Path: c.file, Late: c.late + c.window})
	}
	return exchange.New(name, c.exchange(name, log))
}

func (c *Config) exchange(name string, log *slog.Logger) exchange.Config {
	u := c.urls[name]
	cfg := exchange.Config{Table: c.table, Log: log, WS: u.ws, REST: u.rest, Backfill: c.backfill}
	if name == "finnhub" {
		cfg.Key = c.key
	}
	return cfg
}

// probe is -probe: what a user at home finds out of an exchange.
func probe(ctx context.Context, c *Config, log *slog.Logger, stdout, stderr io.Writer) (code int) {
	var names []string
	for name := range strings.SplitSeq(c.symbols, ",") {
		if _, vendor, ok := strings.Cut(strings.TrimSpace(name), ":"); ok {
			names = append(names, vendor)
		}
	}
	if len(names) == 0 {
		names = []string{map[string]string{"coinbase": "BTC-USD", "binance": "BTCUSDT", "finnhub": "AAPL"}[c.probe]}
	}
	cfg := c.exchange(c.probe, log)
	cfg.Table = nil
	if err := exchange.Probe(ctx, c.probe, names, cfg, stdout); err != nil {
		fmt.Fprintf(stderr, "marketdata: -probe %s: %v\n", c.probe, err)
		return app.Failed
	}
	return app.OK
}

// micros is a time in Unix microseconds as the log shows it.
func micros(us int64) string {
	if us == 0 {
		return ""
	}
	return time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.000Z")
}
