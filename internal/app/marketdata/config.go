// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"tickedge/internal/admin"
	"tickedge/internal/app"
	"tickedge/internal/app/options"
	"tickedge/internal/auth"
	"tickedge/internal/bars"
	"tickedge/internal/broker/kafka"
	"tickedge/internal/checkpoint"
	"tickedge/internal/exchange"
	"tickedge/internal/feed"
	"tickedge/internal/flags"
	"tickedge/internal/guard"
	"tickedge/internal/history"
	"tickedge/internal/market"
	"tickedge/internal/tracing"
	"tickedge/internal/trade"
)

// Config is everything that can be set from outside.
type Config struct {
	flags *flags.Set
	log   app.LogConfig
	check bool
	probe string

	inlets        string
	symbols       string
	symbolsFile   string
	keyFile       string // Of Finnhub.
	urls          map[string]*urls
	backfill      time.Duration
	file          string
	simRate       float64
	simSeed       uint64
	simVolatility float64

	intervals       string
	window, late    time.Duration
	barInterval     time.Duration
	checkpointEvery time.Duration
	checkpoints     string

	brokers     options.Brokers
	kafka       kafka.Config
	kafkaTrades string
	kafkaBars   string
	kafkaGroup  string
	kafkaFormat string
	history     string
	retention   string
	listen      string
	origin      string
	private     string
	tokens      auth.Config
	admin       string
	adminHost   string
	trace       tracing.Config

	// What follows from these.
	names      []string // Of inlets.
	table      *trade.Table
	bars       bars.Config
	origins    *auth.Origins
	trust      string
	trusted    guard.Trusted
	adminNames admin.Names
	retain     history.Retention
	key        string
	now        func() time.Time
	shards     int
	awaitMost  time.Duration

	checkpointName string // What the names of checkpoints begin with.
	onHistory      func(http.Handler)
	onMarket       func(*exchange.Sim)
	supervisor     *app.Supervisor // Nil if nobody started this process who wants to know.
}

// OnHistory has f called with what answers requests for history, for a program that has a port of its own for it.
func (c *Config) OnHistory(f func(http.Handler)) { c.onHistory = f }

// OnMarket has f called with the simulated market, if there is one, for a program that shows its controls.
func (c *Config) OnMarket(f func(*exchange.Sim)) { c.onMarket = f }

type urls struct{ ws, rest string }

// Names of inlets that are no exchange.
const (
	inSim  = "sim"
	inFile = "file"
)

var exchanges = []string{"coinbase", "binance", "finnhub"}

// Parse reads flags, environment and file, and the files that they name. The error is flag.ErrHelp or flags.ErrVersion, or
// says all that is wrong, a line each.
func Parse(args []string) (*Config, error) {
	c := newConfig("completion", "healthcheck", "help", "version")
	err := c.flags.Parse(args)
	if flags.Asked(err) {
		return c, err
	}
	return c, c.flags.Locate(c.flags.Conceal(errors.Join(err, c.validate()), args))
}

// mine reports whether a symbol is that of a shard.
func (c *Config) mine(s *shard, symbol *trade.Symbol) bool {
	return s.all || shardOf(symbol, c.shards) == s.number
}

func (c *Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for name := range strings.SplitSeq(c.inlets, ",") {
		switch name = strings.ToLower(strings.TrimSpace(name)); {
		case name == "":
		case !slices.Contains(append([]string{inSim, inFile, inKafka}, exchanges...), name):
			bad("-in has %s, want some of %s, %s, %s, %s", flags.Quote(name), strings.Join(exchanges, ", "), inKafka, inSim, inFile)
		case slices.Contains(c.names, name):
			bad("-in has %s twice", name)
		default:
			c.names = append(c.names, name)
		}
	}
	if strings.Trim(c.inlets, ", ") == "" && c.probe == "" {
		bad("-in is empty: want where trades come from, such as -in coinbase or -in sim")
	}
	if slices.Contains(c.names, inFile) != (c.file != "") {
		bad("-in file and -file belong together: want both, such as -in file -file trades.ndjson.gz, or none")
	}
	if c.file != "" {
		if _, err := os.Stat(c.file); err != nil {
			bad("-file: %w", err)
		}
	}
	for _, d := range []struct {
		name     string
		have     time.Duration
		from, to time.Duration
	}{
		{"-window", c.window, 0, bars.WindowMax}, {"-late", c.late, 0, bars.LimitMax}, {"-bar-interval", c.barInterval, 50 * time.Millisecond, time.Minute},
		{"-checkpoint-interval", c.checkpointEvery, time.Second, 10 * time.Minute}, {"-backfill", c.backfill, 0, 24 * time.Hour},
	} {
		if d.have < d.from || d.have > d.to {
			bad("%s is %v, want %v to %v", d.name, d.have, d.from, d.to)
		}
	}
	if err := checkpoint.Check(c.checkpointName, nil); err != nil {
		bad("-checkpoint-name: %v", err)
	}
	errs = append(errs, c.validateKafka(), c.validateBars(), c.validateSymbols(), c.validateOutputs(), c.validateAccess(), c.trace.Validate(), c.log.Validate())
	return errors.Join(errs...)
}

// readsKafka reports whether trades come from Kafka.
func (c *Config) readsKafka() bool { return slices.Contains(c.names, inKafka) }

func (c *Config) validateKafka() error {
	if c.kafka.URL == "" {
		if c.readsKafka() || c.kafkaBars != "" {
			return errors.New("-kafka is missing: want where Kafka is, such as kafka://host:9092")
		}
		return nil
	}
	if err := flags.Named(c.kafka.Validate(), "kafka URL", "-kafka", "kafka timeout", "-kafka"); err != nil {
		return err
	}
	switch {
	case c.readsKafka() && len(c.names) > 1:
		return errors.New("-in has kafka and others: want one of these programs for exchanges, which writes to Kafka, and another one that reads it")
	case c.kafkaTrades == "" && (c.readsKafka() || c.kafkaBars == ""):
		return errors.New("-kafka-trades is empty: want the topic of trades")
	case c.kafkaTrades == c.kafkaBars:
		return fmt.Errorf("-kafka-trades and -kafka-bars are both %s: want two topics", flags.Quote(c.kafkaBars))
	case c.readsKafka() && c.checkpoints == "" && c.history == "":
		return errors.New("-in kafka needs -checkpoints, or -history: how far a partition was read is stored there, with its bars")
	}
	return kafka.Format(c.kafkaFormat).Validate()
}

func (c *Config) validateBars() error {
	c.bars = bars.DefaultConfig()
	c.bars.Intervals = nil
	c.bars.Window, c.bars.Limit = c.window, c.late
	c.bars.Silence = max(c.bars.Silence, c.window)
	for name := range strings.SplitSeq(c.intervals, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		i, err := bars.ParseInterval(name)
		if err != nil {
			return fmt.Errorf("-intervals: %w", err)
		}
		c.bars.Intervals = append(c.bars.Intervals, i)
	}
	return flags.Named(c.bars.Validate(), "Intervals", "-intervals")
}

// validateSymbols makes the table: of the file, of names such as COINBASE:BTC-USD, or of the simulated market's own.
func (c *Config) validateSymbols() error {
	var entries []trade.Entry
	if c.symbolsFile != "" {
		var err error
		if entries, err = readSymbols(c.symbolsFile); err != nil {
			return fmt.Errorf("-symbols-file: %w", err)
		}
	}
	var wanted []string
	for name := range strings.SplitSeq(c.symbols, ",") {
		if name = strings.TrimSpace(name); name != "" {
			wanted = append(wanted, name)
		}
	}
	switch {
	case c.symbolsFile == "" && len(wanted) == 0 && slices.Contains(c.names, inSim):
		for _, name := range market.DefaultSymbols() {
			entries = append(entries, simEntry(name))
		}
	case c.symbolsFile == "":
		for _, name := range wanted {
			e, err := c.entry(name)
			if err != nil {
				return err
			}
			entries = append(entries, e)
		}
	case len(wanted) > 0:
		var err error
		if entries, err = selected(entries, wanted); err != nil {
			return err
		}
	}
	var err error
	c.table, err = trade.NewTable(entries, exchange.Numbered)
	if err != nil {
		return fmt.Errorf("symbols: %w", err)
	}
	for _, s := range c.table.All() {
		if n := c.members(s); n > 1 && c.readsKafka() {
			return fmt.Errorf("symbol %q is an alias of %d symbols, whose trades may be in several partitions of Kafka: want aliases of one each", s.Name, n)
		}
	}
	for _, name := range c.names {
		if name != inFile && name != inKafka && len(c.table.Source(strings.ToUpper(name))) == 0 {
			return fmt.Errorf("-in has %s and no symbol is from it: want for example -symbols %s, or -symbols-file", name, example(name))
		}
	}
	if slices.Contains(c.names, inSim) {
		m := market.Config{Rate: c.simRate, Volatility: c.simVolatility, Seed: c.simSeed}
		for _, s := range c.table.Source(exchange.SimSource) {
			m.Symbols = append(m.Symbols, s.Vendor)
		}
		if err := m.Validate(); err != nil {
			return flags.Named(err, "symbol", "-symbols", "rate", "-sim-rate", "volatility", "-sim-volatility")
		}
	}
	if c.bars.Symbols = len(c.table.All()); c.bars.Symbols == 0 && len(c.names) > 0 && c.probe == "" {
		return errors.New("there are no symbols: want -symbols such as COINBASE:BTC-USD, or -symbols-file")
	}
	return nil
}

// members is of how many instruments a symbol is an alias.
func (c *Config) members(alias *trade.Symbol) (n int) {
	for _, s := range c.table.All() {
		if slices.Contains(s.Aliases, alias) {
			n++
		}
	}
	return n
}

func (c *Config) validateOutputs() error {
	var errs []error
	if c.barInterval <= 0 {
		errs = append(errs, errors.New("-bar-interval is not above 0"))
	}
	if _, err := c.feed(); err != nil {
		errs = append(errs, err)
	}
	var err error
	if c.retain, err = history.ParseRetention(c.retention); err != nil {
		errs = append(errs, fmt.Errorf("-retention: %w", err))
	}
	if c.history != "" && c.listen != "" && !app.IsHostPort(c.listen) {
		errs = append(errs, fmt.Errorf("-listen is %s, want host:port such as :8090", flags.Quote(c.listen)))
	}
	if c.admin != "" && !app.IsHostPort(c.admin) {
		errs = append(errs, fmt.Errorf("-admin is %s, want host:port such as %s, or nothing", flags.Quote(c.admin), defaultAdmin))
	}
	return errors.Join(errs...)
}

func (c *Config) validateAccess() error {
	var errs []error
	var err error
	c.adminNames, err = admin.ParseNames(c.adminHost)
	if err != nil {
		errs = append(errs, fmt.Errorf("-admin-host: %w", err))
	}
	if c.trusted, err = guard.ParseTrusted(c.trust); err != nil {
		errs = append(errs, fmt.Errorf("-trust-proxy: %w", err))
	}
	if c.origins, err = auth.ParseOrigins(c.origin); err != nil {
		errs = append(errs, fmt.Errorf("-origin: %w", err))
	}
	if c.tokens.Private, err = auth.ParsePrivate(c.private); err != nil {
		errs = append(errs, fmt.Errorf("-private: %w", err))
	}
	errs = append(errs, options.CheckTokens(&c.tokens, secretEnv))
	if c.keyFile != "" {
		key, err := os.ReadFile(c.keyFile)
		if err != nil {
			errs = append(errs, fmt.Errorf("-finnhub-key-file: %w", err))
		}
		c.key = strings.TrimSpace(string(key))
	}
	if c.key == "" && (slices.Contains(c.names, "finnhub") || c.probe == "finnhub") {
		errs = append(errs, errors.New("finnhub wants the key of an account: -finnhub-key-file, or "+keyEnv+" in the environment"))
	}
	if c.probe != "" && !slices.Contains(exchanges, c.probe) {
		errs = append(errs, fmt.Errorf("-probe is %s, want one of %s", flags.Quote(c.probe), strings.Join(exchanges, ", ")))
	}
	return errors.Join(errs...)
}

// feed is where values go. It is empty without a broker.
func (c *Config) feed() (feed.Config, error) { return c.brokers.Feed() }
