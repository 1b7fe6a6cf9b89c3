// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"io"
	"os"
	"strings"
	"time"

	"tickedge/internal/app/options"
	"tickedge/internal/auth"
	"tickedge/internal/bars"
	"tickedge/internal/flags"
	"tickedge/internal/history"
)

const envPrefix = "MARKETDATA"

// Secrets have no flags: everybody on a host can read the flags of its processes.
const (
	secretEnv = envPrefix + "_JWT_SECRET"
	keyEnv    = envPrefix + "_FINNHUB_KEY"
	tracesEnv = envPrefix + "_TRACE_HEADERS"
)

const usageHead = `marketdata brings trades from exchanges, makes bars of them, and publishes prices and bars to a broker.

  marketdata -in sim -broker redis://127.0.0.1:6379
  marketdata -in coinbase -symbols COINBASE:BTC-USD,COINBASE:ETH-USD -broker nats://127.0.0.1:4222 -history bars
  marketdata -in coinbase,binance -symbols-file symbols.yaml -broker redis://127.0.0.1 -history postgres://md@db/bars
  marketdata -probe coinbase -symbols COINBASE:BTC-USD   connect, show ten trades, or what is refused
  marketdata -check                                      say what is set, and what is wrong
  marketdata backup FILE -history bars                   all bars of a history into a file: NDJSON, zipped
  marketdata restore FILE -history bars                  and back; -over also if that has bars already
  marketdata healthcheck                                 say whether the marketdata of this host or container is ready
  marketdata version                                     say which version this is
  marketdata completion bash                             make a shell complete flags (zsh, fish)

Every flag is also an environment variable, and a line of a file: -bar-interval is MARKETDATA_BAR_INTERVAL, and bar-interval in the file of -config. A flag goes before the environment, and that before the file. Put URLs with passwords there, because the flags of a process can be seen by others.
`

func newConfig(commands ...string) *Config {
	c := &Config{flags: flags.New("marketdata", envPrefix, []string{secretEnv, keyEnv, tracesEnv}, commands), urls: make(map[string]*urls), now: time.Now, shards: shardCount, awaitMost: awaitMost}
	c.tokens.Secret, c.key, c.trace.Headers = []byte(os.Getenv(secretEnv)), os.Getenv(keyEnv), os.Getenv(tracesEnv)
	c.inFlags()
	c.outFlags()
	c.historyFlags()
	return c
}

func (c *Config) inFlags() {
	fs := c.flags
	fs.Group("Where trades come from")
	fs.StringVar(&c.inlets, "in", "", "`list` of coinbase, binance, finnhub, kafka (-kafka), sim (a simulated market) and file (-file), by commas")
	fs.StringVar(&c.symbols, "symbols", "", "`list` of symbols, by commas: exchange and name there, such as COINBASE:BTC-USD, or names of -symbols-file, to divide them among several of these programs; empty is all of the file")
	fs.StringVar(&c.symbolsFile, "symbols-file", "", "`file` of symbols in YAML: their exchange and name there, decimal digits, time zone, hours, and aliases; see docs/MARKETDATA.md")
	fs.DurationVar(&c.backfill, "backfill", time.Hour, "how old trades are fetched at most that were missed, while the program or a connection was away")
	fs.StringVar(&c.keyFile, "finnhub-key-file", "", "`file` with the key of a Finnhub account; or the key in the environment: "+keyEnv)
	for _, name := range exchanges {
		u := new(urls)
		c.urls[name] = u
		fs.StringVar(&u.ws, name+"-ws", "", "`URL` of the sockets of "+name+", in place of the usual one: wss://host")
		if name != "finnhub" { // It has no history.
			fs.StringVar(&u.rest, name+"-rest", "", "`URL` of the history of "+name+", in place of the usual one: https://host")
		}
	}
	fs.StringVar(&c.file, "file", "", "`file` of recorded trades, NDJSON or CSV, zipped or not")
	fs.Float64Var(&c.simRate, "sim-rate", 100, "`trades` per second of the simulated market, all symbols together")
	fs.Float64Var(&c.simVolatility, "sim-volatility", 1, "`factor` on the yearly volatility of every symbol: 1 is realistic, 10 is lively to look at")
	fs.Uint64Var(&c.simSeed, "sim-seed", 1, "`number` that decides about all prices of the simulated market")
	fs.StringVar(&c.probe, "probe", "", "`exchange` to connect to, show ten trades of -symbols, and end; says exactly what is refused")

	fs.Group("Bars")
	fs.StringVar(&c.intervals, "intervals", "1s,1m,5m,1h,1d", "`list` of how long bars are, by commas: seconds, minutes or hours that divide a day, and 1d")
	fs.DurationVar(&c.window, "window", bars.DefaultWindow, "how long a bar waits at its end for trades that come late; later ones revise it")
	fs.DurationVar(&c.late, "late", bars.DefaultLimit, "how late a trade may revise a bar that is closed; later ones are counted")
}

func (c *Config) outFlags() {
	fs := c.flags
	fs.Group("Where prices and bars go")
	c.brokers.Flag = "broker"
	fs.Var(&c.brokers, c.brokers.Flag, "`[patterns=]URL` of a broker that edges read, as often as there are several (or with blanks between): redis://user:password@host:port/db, nats://user:password@host:port?subject={topic}, as with edge's -source; none if it is not given")
	fs.StringVar(&c.kafka.URL, "kafka", "", "`URL` of Kafka: kafka://user:password@host:9092,host:9092 (kafka+tls for TLS)")
	fs.StringVar(&c.kafkaTrades, "kafka-trades", "trades", "`topic` of trades: read with -in kafka, and otherwise written if there is -kafka")
	fs.StringVar(&c.kafkaBars, "kafka-bars", "", "`topic` that closed bars are written to; empty for none")
	fs.StringVar(&c.kafkaGroup, "kafka-group", "marketdata", "`group` whose members share the partitions of trades")
	fs.StringVar(&c.kafkaFormat, "kafka-format", "protobuf", "what is written: protobuf or json; both are read")
	fs.DurationVar(&c.barInterval, "bar-interval", 250*time.Millisecond, "how often the bars of a symbol are published at most, on kline:INTERVAL:SYMBOL")
}

func (c *Config) historyFlags() {
	fs := c.flags
	fs.Group("History")
	fs.StringVar(&c.history, "history", "", "`folder` for bars that are closed, or postgres://user:password@host/database; none if it is empty")
	fs.StringVar(&c.checkpoints, "checkpoints", "", "`folder` for what a restart goes on from, or postgres://…; empty is checkpoints in the folder of -history, or its database, or none without -history")
	fs.StringVar(&c.checkpointName, "checkpoint-name", "trades", "`name` of this program's checkpoints: two that bring trades of exchanges and share a database need two")
	fs.DurationVar(&c.checkpointEvery, "checkpoint-interval", 10*time.Second, "how often that is stored: a restart reads so much again")
	fs.StringVar(&c.retention, "retention", history.DefaultRetention, "`list` of intervals and for how many days their bars are kept, by commas; 0 is for ever")
	fs.StringVar(&c.listen, "listen", ":8090", "`host:port` of GET /history/{symbol}; empty for none")
	fs.StringVar(&c.origin, "origin", "", "`list` of web origins that may ask, by commas, as with edge")
	fs.StringVar(&c.trust, "trust-proxy", "", "`networks` of proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8,::1")
	options.Tokens(fs, &c.tokens, secretEnv, "claim that limits topics; the bars of BTC-USD are the topic kline:1m:BTC-USD")
	fs.StringVar(&c.private, "private", auth.DefaultPrivate, "`prefixes` of names that are private, by commas, as with edge")

	fs.Group("Operation")
	fs.StringVar(&c.admin, "admin", defaultAdmin, "`host:port` for /metrics, /healthz, /readyz and /debug/pprof; empty for none. Not for the public")
	fs.StringVar(&c.adminHost, "admin-host", "", "`names` by which monitoring calls the admin port, by commas")
	c.trace.Flags(fs, tracesEnv)
	c.trace.SamplingFlags(fs)
	fs.StringVar(&c.log.Level, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&c.log.Format, "log-format", "text", "text or json")
	fs.Common(&c.check)
}

// print writes the effective configuration as flags, without passwords.
func (c *Config) print(w io.Writer) {
	c.flags.WriteValues(w, func(name, value string) []string {
		switch name {
		case "check", "version", "config":
			return nil
		case "broker":
			return strings.Fields(c.brokers.String())
		}
		return []string{flags.HideValue(value)}
	})
	c.flags.WriteOrigins(w)
}
