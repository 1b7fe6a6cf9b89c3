// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/broker/nats"
	"tickedge/internal/broker/redis"
	"tickedge/internal/flags"
	"tickedge/internal/market"
)

// config is what the flags, the environment and the file say.
type config struct {
	flags    *flags.Set
	source   string
	redisURL string // Of -redis.
	redis    redis.Config
	versions bool
	market   market.Config
	symbols  string
	speed    float64
	replay   string
	loop     bool
	duration time.Duration
	logLevel slog.Level
	check    bool
}

const usageHead = `tickgen publishes market ticks to a broker, simulated or recorded ones.

  tickgen -source redis://127.0.0.1:6379
  tickgen -n 5000 -rate 100000 -for 1m
  tickgen -replay ticks.jsonl -loop -speed 10
  tickgen -check                  say what is set, and what is wrong
  tickgen version                 say which version this is
  tickgen completion bash         make a shell complete flags (zsh, fish)

For each tick it sets the topic's newest value and publishes it, in one step. Values that are objects get a version, their last member ver: microseconds since 1970 that never fall. The broker refuses an older one.

While it runs it takes commands on standard input, one a line:
  ` + commandForms + `

Every flag is also an environment variable, and a line of a file: -redis-channel is TICKGEN_REDIS_CHANNEL, and redis-channel in the file of -config. A flag goes before the environment, and that before the file. Put a URL with a password there, because the flags of a process can be seen by others.
`

// programCommands may stand in place of flags. run knows what they do.
var programCommands = []string{"completion", "help", "version"}

// newConfig returns the defaults, and the flags that are bound to them.
func newConfig() *config {
	c := &config{flags: flags.New("tickgen", "TICKGEN", nil, programCommands)}
	fs := c.flags
	fs.Group("Broker")
	fs.StringVar(&c.source, "source", defaultSource, "`URL` of the broker: redis://, unix://, redis-sentinel:// or redis-cluster://, rediss in place of redis for TLS; nats://host:4222, tls:// for TLS; "+
		"a Redis Cluster needs names such as -redis-channel 'channel:prices:{{topic}}' -redis-key 'price:{{topic}}'")
	fs.StringVar(&c.redisURL, "redis", "", "`URL`: the older spelling of -source")
	fs.BoolVar(&c.versions, "versions", true, "give each value that is an object a version, its member ver")
	fs.StringVar(&c.redis.Channel, "redis-channel", redis.DefaultChannel, "`template` of a topic's Pub/Sub channel")
	fs.StringVar(&c.redis.Key, "redis-key", redis.DefaultKey, "`template` of the key of a topic's newest value")
	fs.StringVar(&c.redis.Stream, "redis-stream", "", "`key` of a stream that ticks are added to, in place of publishing them")
	fs.IntVar(&c.redis.Entries, "stream-entries", redis.DefaultEntries, "`number` of entries that the stream keeps, or some more")

	fs.Group("Simulated ticks")
	fs.StringVar(&c.symbols, "symbols", "", "`list` of symbols, by commas; empty is AAPL, BTC-USD, EUR-USD and 21 more, or none if -n is given")
	fs.IntVar(&c.market.Generated, "n", 0, "`number` of symbols GEN-000001, GEN-000002, … for load")
	fs.Float64Var(&c.market.Rate, "rate", 200, "`ticks` per second at speed 1, all symbols together")
	fs.Float64Var(&c.market.Volatility, "volatility", 1, "`factor` on the yearly volatility of every symbol: 1 is realistic, 10 is lively to look at")
	fs.Uint64Var(&c.market.Seed, "seed", 1, "`number` that decides about all prices: the same seed gives the same ticks")

	fs.Group("Recorded ticks")
	fs.StringVar(&c.replay, "replay", "", "`file` of recorded ticks to publish instead of simulated ones, one a line: "+
		`{"topic":"AAPL","ts":1732181723411,"v":{"p":189.87}} with ts in Unix ms`)
	fs.BoolVar(&c.loop, "loop", false, "start over at the end of -replay, one second later")

	fs.Group("Operation")
	fs.Float64Var(&c.speed, "speed", market.SpeedMin, "`factor` on the rate, 1 to 10")
	fs.DurationVar(&c.duration, "for", 0, "end after this `time`, such as 90s or 10m; 0 is never")
	fs.TextVar(&c.logLevel, "log-level", slog.LevelInfo, "`level` of the log: debug, info, warn or error")
	fs.Common(&c.check)
	return c
}

// parse reads args, environment and file. The error is flag.ErrHelp or flags.ErrVersion, or
// says all that is wrong, a line each.
func parse(args []string) (*config, error) {
	c := newConfig()
	err := c.flags.Parse(args)
	c.source, c.redisURL = flags.Line(c.source), flags.Line(c.redisURL)
	if c.redis.Stream != "" {
		c.redis.Mode = redis.ModeStream
	}
	switch {
	case c.symbols != "":
		c.market.Symbols = strings.Split(c.symbols, ",")
	case c.market.Generated == 0:
		c.market.Symbols = market.DefaultSymbols()
	}
	if flags.Asked(err) {
		return c, err
	}
	return c, c.flags.Locate(c.flags.Conceal(errors.Join(err, c.validate()), args))
}

// What errors of configurations begin with, and the flag in front of it.
var flagErrors = []string{
	"redis channel", "-redis-channel", "redis key", "-redis-key",
	"symbol", "-symbols", "generated symbols", "-n", "the market has no symbols", "-symbols", "rate", "-rate", "volatility", "-volatility",
}

// effects say which flags have no effect, as another is set or is not.
var effects = []struct {
	flags string // As flags.Set.NoEffect takes them.
	none  func(c *config) bool
	as    string
}{
	{"symbols n rate volatility seed", func(c *config) bool { return c.replay != "" }, "-replay is set, so there are no simulated ticks"},
	{"loop", func(c *config) bool { return c.replay == "" }, "-loop needs -replay FILE, as simulated ticks never end"},
	{"redis-*", func(c *config) bool { _, url := c.from(); return nats.Is(url) }, "the source is no Redis"},
	{"stream-entries", func(c *config) bool { return c.redis.Stream == "" }, "-redis-stream is not set"},
	{"redis-channel", func(c *config) bool { return c.redis.Stream != "" }, "-redis-stream is set, and ticks are added to it in place of publishing them"},
}

// validate returns all that is wrong with c, or nil.
func (c *config) validate() error {
	errs := []error{c.validateSource()}
	if c.replay == "" {
		errs = append(errs, flags.Named(c.market.Validate(), flagErrors...))
	} else if err := c.readReplay(); err != nil {
		errs = append(errs, fmt.Errorf("-%w", err)) // Its errors begin with the word replay.
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
	for _, e := range effects {
		if e.none(c) {
			errs = append(errs, c.flags.NoEffect(e.flags, e.as))
		}
	}
	return errors.Join(errs...)
}

const defaultSource = "redis://127.0.0.1:6379"

// errScheme says which brokers there are. It does not repeat the URL, which may hold a password.
var errScheme = errors.New("source URL is not valid: want redis://[user:password@]host[:port][/db] (rediss:// for TLS), unix:///path, " +
	"redis-sentinel://host:port,host:port/master, redis-cluster://host:port,host:port, or nats://[user:password@]host[:port] (tls:// for TLS)")

var errMemory = errors.New("source is memory, a broker inside of an edge that no other program reaches: an edge takes values by its back office " +
	"(-api, POST /publish), and has a simulated market of its own (-demo)")

// from is the flag by which the broker is given.
func (c *config) from() (flag, url string) {
	if which, _ := c.flags.Spelled("source", "redis"); which == "redis" {
		return "-redis", c.redisURL
	}
	return "-source", c.source
}

// broker is where ticks are published to. Its scheme says what that is.
func (c *config) broker() broker.Config {
	_, url := c.from()
	if nats.Is(url) {
		return nats.Config{URL: url}
	}
	b := c.redis
	b.URL = url
	return b
}

// validateSource returns what is wrong with the broker, or nil.
func (c *config) validateSource() error {
	flag, url := c.from()
	_, twice := c.flags.Spelled("source", "redis")
	errs := []error{twice}
	named := append([]string{"source", flag, "redis URL", flag, "redis-sentinel URL", flag, "redis-cluster URL", flag, "nats URL", flag}, flagErrors...)
	r := c.redis
	switch {
	case nats.Is(url):
		r.URL = defaultSource
		errs = append(errs, nats.Config{URL: url}.Validate())
	case redis.IsURL(url) || url == "":
		r.URL = url
		errs = append(errs, r.ValidateURL())
	case url == "memory" || strings.HasPrefix(url, "memory://"):
		r.URL = defaultSource
		errs = append(errs, errMemory)
	default:
		r.URL = defaultSource
		errs = append(errs, errScheme)
	}
	return flags.Named(errors.Join(append(errs, redis.ValidateSettings(r))...), named...)
}

// readReplay opens the recording, and with -check reads all of it.
func (c *config) readReplay() error {
	f, err := os.Open(c.replay)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	defer f.Close()
	ticks := market.NewReplay(c.replay, f)
	for c.check && err == nil {
		_, err = ticks.Next(time.Time{})
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// print writes the effective configuration as flags, without passwords.
func (c *config) print(w io.Writer) {
	c.flags.WriteValues(w, func(name, value string) []string {
		switch name {
		case "check", "version", "config":
			return nil
		case "source":
			return []string{c.broker().String()}
		case "redis":
			return nil // Shown as what it is the older spelling of.
		}
		return []string{flags.HideValue(value)}
	})
	c.flags.WriteOrigins(w)
	if c.replay != "" {
		fmt.Fprintf(w, "# read and found good: %s\n", c.replay)
	}
}
