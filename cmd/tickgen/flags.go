package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"tickedge/internal/broker/redis"
	"tickedge/internal/flags"
	"tickedge/internal/market"
)

// config is what the flags and the environment say.
type config struct {
	redis    redis.Config
	market   market.Config
	speed    float64
	replay   string
	loop     bool
	duration time.Duration
	logLevel slog.Level
}

const usageHead = `tickgen publishes market ticks to a Redis, simulated or recorded ones.

For each tick it sets the topic's key and publishes on the topic's channel, in one
transaction. The member ts of a simulated value never falls, so it can be its version.
While it runs it takes commands on standard input, one a line:
  ` + commandForms + `

Usage:
  tickgen [flags]

Examples:
  tickgen -redis redis://127.0.0.1:6379
  tickgen -n 5000 -rate 100000 -for 1m
  tickgen -replay ticks.jsonl -loop -speed 10

Each flag can also be set in the environment: -redis-channel is
TICKGEN_REDIS_CHANNEL. Put a URL with a password there, because the flags of a
process can be seen by others.

Flags:
`

// parse reads args and the environment. The error is flag.ErrHelp when the help was
// asked for, and was written to out. Any other says all that is wrong.
func parse(args []string, out io.Writer) (config, error) {
	var c config
	var symbols string
	fs := flag.NewFlagSet("tickgen", flag.ContinueOnError)
	fs.StringVar(&c.redis.URL, "redis", "redis://127.0.0.1:6379", "`URL` of Redis: redis://, unix://, redis-sentinel:// or redis-cluster://,\nrediss in place of redis for TLS; a cluster needs names such as\n-redis-channel 'channel:prices:{{topic}}' -redis-key 'price:{{topic}}'")
	fs.StringVar(&c.redis.Channel, "redis-channel", redis.DefaultChannel, "`template` of a topic's Pub/Sub channel")
	fs.StringVar(&c.redis.Key, "redis-key", redis.DefaultKey, "`template` of the key of a topic's newest value")
	fs.StringVar(&c.redis.Stream, "redis-stream", "", "`key` of a stream that ticks are added to, in place of publishing them")
	fs.IntVar(&c.redis.Entries, "stream-entries", redis.DefaultEntries, "`number` of entries that the stream keeps, or some more")
	fs.StringVar(&symbols, "symbols", "", "`list` of symbols, separated by commas (default AAPL, BTC-USD, EUR-USD and 21\n"+
		"more, or none if -n is given)")
	fs.IntVar(&c.market.Generated, "n", 0, "`number` of symbols GEN-000001, GEN-000002, … for load")
	fs.Float64Var(&c.market.Rate, "rate", 200, "`ticks` per second at speed 1, all symbols together")
	fs.Float64Var(&c.market.Volatility, "volatility", 1, "`factor` on the yearly volatility of every symbol: 1 is realistic,\n10 is lively to look at")
	fs.Uint64Var(&c.market.Seed, "seed", 1, "`number` that decides about all prices: the same seed gives the same ticks")
	fs.Float64Var(&c.speed, "speed", market.SpeedMin, "`factor` on the rate, 1 to 10")
	fs.StringVar(&c.replay, "replay", "", "`file` of recorded ticks to publish instead of simulated ones, one a line:\n"+
		`{"topic":"AAPL","ts":1732181723411,"v":{"p":189.87}} with ts in Unix ms`)
	fs.BoolVar(&c.loop, "loop", false, "start over at the end of -replay, one second later")
	fs.DurationVar(&c.duration, "for", 0, "end after this `time`, such as 90s or 10m; 0 is never")
	fs.TextVar(&c.logLevel, "log-level", slog.LevelInfo, "`level` of the log: debug, info, warn or error")

	switch err := flags.Parse(fs, args, "TICKGEN"); {
	case errors.Is(err, flag.ErrHelp):
		io.WriteString(out, usageHead)
		fs.SetOutput(out)
		fs.PrintDefaults()
		return c, flag.ErrHelp
	case err != nil:
		return c, err
	}
	c.redis.URL = flags.Line(c.redis.URL)
	if c.redis.Stream != "" {
		c.redis.Mode = redis.ModeStream
	}
	switch {
	case symbols != "":
		c.market.Symbols = strings.Split(symbols, ",")
	case c.market.Generated == 0:
		c.market.Symbols = market.DefaultSymbols()
	}
	return c, flags.Hide(c.validate(), args, "TICKGEN")
}

// validate returns all that is wrong with c, or nil.
func (c config) validate() error {
	errs := []error{redis.Validate(c.redis)}
	if c.replay == "" {
		errs = append(errs, c.market.Validate())
		if c.loop {
			errs = append(errs, errors.New("-loop needs -replay FILE: simulated ticks never end"))
		}
	}
	if !(c.speed >= market.SpeedMin && c.speed <= market.SpeedMax) {
		errs = append(errs, fmt.Errorf("-speed is %v, want %d to %d", c.speed, market.SpeedMin, market.SpeedMax))
	}
	if c.redis.Entries < 1 {
		errs = append(errs, fmt.Errorf("-stream-entries is %d, want 1 or more", c.redis.Entries))
	}
	if c.duration < 0 {
		errs = append(errs, fmt.Errorf("-for is %v, want 0 (no end) or more, such as 90s", c.duration))
	}
	return errors.Join(errs...)
}
