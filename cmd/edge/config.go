package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"time"

	"tickedge/internal/fanout"
	"tickedge/internal/feed"
	"tickedge/internal/flags"
	"tickedge/internal/loop"
	"tickedge/internal/wsproto"
)

// config is everything that can be set from outside. See flags for what each means.
type config struct {
	listen           string
	loops            int
	maxConns         int
	page             bool
	drain            time.Duration
	redis            string
	redisChannel     string
	redisKey         string
	feedTimeout      time.Duration
	demo             bool
	demoSymbols      string
	demoRate         float64
	demoVolatility   float64
	demoSeed         uint64
	interval         time.Duration
	heartbeat        time.Duration
	maxTopics        int
	maxTopicsTotal   int
	slowTimeout      time.Duration
	idleTimeout      time.Duration
	handshakeTimeout time.Duration
	pingInterval     time.Duration
	pongTimeout      time.Duration
	admin            string
	logLevel         string
	logFormat        string
	check            bool

	groups []group
}

// group is flags that are shown together.
type group struct {
	title string
	names []string
}

const envPrefix = "EDGE"

// usageError is a mistake in flags or environment. The process ends with code 2.
type usageError struct{ problems []string }

func (e *usageError) Error() string { return strings.Join(e.problems, "; ") }

// flags declares all flags. Durations take a unit, such as 500ms, 10s or 2m.
func (c *config) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("edge", flag.ContinueOnError)
	begin := func(title string) { c.groups = append(c.groups, group{title: title}) }
	shown := func(name string) string {
		g := &c.groups[len(c.groups)-1]
		g.names = append(g.names, name)
		return name
	}
	str := func(p *string, name, value, usage string) { fs.StringVar(p, shown(name), value, usage) }
	num := func(p *int, name string, value int, usage string) { fs.IntVar(p, shown(name), value, usage) }
	flo := func(p *float64, name string, value float64, usage string) {
		fs.Float64Var(p, shown(name), value, usage)
	}
	dur := func(p *time.Duration, name string, value time.Duration, usage string) {
		fs.DurationVar(p, shown(name), value, usage)
	}
	yes := func(p *bool, name, usage string) { fs.BoolVar(p, shown(name), false, usage) }

	begin("Serving")
	str(&c.listen, "listen", ":8080", "`host:port` for clients; an empty host is all interfaces")
	num(&c.loops, "loops", runtime.GOMAXPROCS(0), "event loops; fewer leave processors to others on this host (Linux only, else 1)")
	num(&c.maxConns, "max-conns", 0, "connections held at a time; 0 is what the limit of open files allows")
	yes(&c.page, "page", "serve the live board at / (on with -demo)")
	dur(&c.drain, "drain", 10*time.Second, "time over which clients are sent away on SIGTERM; raise it with the number of clients")

	begin("Feed")
	str(&c.redis, "redis", "redis://127.0.0.1:6379", "`URL` of Redis: redis://user:password@host:port/db, rediss:// for TLS, unix://path")
	str(&c.redisChannel, "redis-channel", feed.DefaultChannel, "Pub/Sub channel of a topic")
	str(&c.redisKey, "redis-key", feed.DefaultKey, "key of a topic's newest value")
	dur(&c.feedTimeout, "feed-timeout", feed.DefaultTimeout, "silence after which Redis is taken for dead and dialled anew")

	begin("Demo")
	yes(&c.demo, "demo", "run with an embedded Redis and a simulated market instead of -redis")
	str(&c.demoSymbols, "demo-symbols", "", "symbols, separated by commas; empty is a list of well-known ones")
	flo(&c.demoRate, "demo-rate", 200, "ticks per second, all symbols together")
	flo(&c.demoVolatility, "demo-volatility", 20, "how much faster prices move than in reality")
	fs.Uint64Var(&c.demoSeed, shown("demo-seed"), 1, "the same seed gives the same prices")

	begin("Clients")
	dur(&c.interval, "interval", 500*time.Millisecond, "time between two updates of a client that asks for no other, 100ms to 60s")
	dur(&c.heartbeat, "heartbeat", 20*time.Second, "silence after which a client gets a heartbeat message")
	num(&c.maxTopics, "max-topics", 256, "topics per connection, at most 4096")
	num(&c.maxTopicsTotal, "max-topics-total", 100000, "topics in all, those without subscribers that linger included")
	dur(&c.slowTimeout, "slow-timeout", 10*time.Second, "how long a client may not take what was sent, before it is cut off")
	dur(&c.idleTimeout, "idle-timeout", 2*time.Minute, "how long a client may have no subscription")
	dur(&c.handshakeTimeout, "handshake-timeout", 10*time.Second, "from accept to the end of the request's head")
	dur(&c.pingInterval, "ping-interval", 30*time.Second, "mean time between pings to a silent client, ±25%")
	dur(&c.pongTimeout, "pong-timeout", 15*time.Second, "from a ping until a client that stays silent is cut off")

	begin("Operation")
	str(&c.admin, "admin", "127.0.0.1:9090", "`host:port` for /metrics, /healthz, /readyz and /debug/pprof; empty for none. Not for the public")
	str(&c.logLevel, "log-level", "info", "debug, info, warn or error; debug has a line per connection")
	str(&c.logFormat, "log-format", "text", "text or json")
	yes(&c.check, "check", "print the effective configuration and end")
	return fs
}

// parse reads flags and environment. The error is flag.ErrHelp or a *usageError.
func parse(args []string) (*config, *flag.FlagSet, error) {
	c := &config{}
	fs := c.flags()
	redisGiven, err := readFlags(fs, args)
	if err != nil {
		return c, fs, err
	}
	return c, fs, c.validate(redisGiven)
}

// readFlags sets fs from args and environment. The error is flag.ErrHelp or a
// *usageError.
func readFlags(fs *flag.FlagSet, args []string) (redisGiven bool, err error) {
	switch err := flags.Parse(fs, args, envPrefix); {
	case errors.Is(err, flag.ErrHelp):
		return false, err
	case err != nil:
		return false, &usageError{[]string{err.Error()}}
	}
	fs.Visit(func(f *flag.Flag) { redisGiven = redisGiven || f.Name == "redis" })
	return redisGiven, nil
}

// validate finds all problems at once, and fills in what depends on the host.
// redisGiven says that -redis was set to something.
func (c *config) validate(redisGiven bool) error {
	var problems []string
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	between := func(name string, d, low, high time.Duration) {
		if d < low || d > high {
			bad("-%s is %v, want %v to %v", name, d, low, high)
		}
	}
	if !validHostPort(c.listen) {
		bad("-listen is %q, want host:port such as :8080 or 127.0.0.1:8080", c.listen)
	}
	if c.admin != "" && !validHostPort(c.admin) {
		bad("-admin is %q, want host:port such as 127.0.0.1:9090, or nothing", c.admin)
	}
	if c.loops < 1 || c.loops > 1024 {
		bad("-loops is %d, want 1 to 1024", c.loops)
	}
	reserve := int64(loop.FileReserve(max(1, c.loops)))
	if limit, err := loop.FileLimit(); err != nil {
		bad("the limit of open files is unknown: %v", err)
	} else if room := int64(limit) - reserve; c.maxConns < 0 || room < 1 || int64(c.maxConns) > room {
		if c.maxConns < 0 {
			bad("-max-conns is %d, want 0 or more", c.maxConns)
		} else {
			bad("-max-conns %d needs %d open files and the limit is %d: raise it (ulimit -Hn, LimitNOFILE=) or ask for at most %d",
				c.maxConns, int64(max(1, c.maxConns))+reserve, limit, max(0, room))
		}
	} else if c.maxConns == 0 {
		c.maxConns = int(min(room, 10_000_000))
	}
	between("interval", c.interval, wsproto.IntervalMin*time.Millisecond, wsproto.IntervalMax*time.Millisecond)
	between("heartbeat", c.heartbeat, time.Second, time.Hour)
	between("slow-timeout", c.slowTimeout, time.Second, time.Hour)
	between("idle-timeout", c.idleTimeout, time.Second, 7*24*time.Hour)
	between("handshake-timeout", c.handshakeTimeout, time.Second, 10*time.Minute)
	between("ping-interval", c.pingInterval, time.Second, time.Hour)
	between("pong-timeout", c.pongTimeout, time.Second, time.Hour)
	between("drain", c.drain, 0, time.Hour)
	if c.maxTopics < 1 || c.maxTopics > 4096 {
		bad("-max-topics is %d, want 1 to 4096", c.maxTopics)
	}
	if c.maxTopicsTotal < c.maxTopics || c.maxTopicsTotal > 10_000_000 {
		bad("-max-topics-total is %d, want -max-topics (%d) to 10000000", c.maxTopicsTotal, c.maxTopics)
	}
	if _, err := c.level(); err != nil {
		bad("-log-level is %q, want debug, info, warn or error", c.logLevel)
	}
	if c.logFormat != "text" && c.logFormat != "json" {
		bad("-log-format is %q, want text or json", c.logFormat)
	}
	if c.demo {
		c.page = true
		if redisGiven {
			bad("-demo brings its own Redis: leave -redis out, or -demo")
		}
		if err := c.market().Validate(); err != nil {
			bad("-demo: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	if err := c.feed().Validate(); err != nil {
		problems = append(problems, strings.Split(err.Error(), "\n")...)
	}
	if len(problems) > 0 {
		return &usageError{problems}
	}
	return nil
}

func validHostPort(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n <= 65535
}

func (c *config) level() (l slog.Level, err error) {
	err = l.UnmarshalText([]byte(c.logLevel))
	return l, err
}

func (c *config) logger(w io.Writer) *slog.Logger {
	level, _ := c.level() // Checked by validate.
	opts := &slog.HandlerOptions{Level: level}
	if c.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

func (c *config) feed() feed.RedisConfig {
	return feed.RedisConfig{URL: c.redis, Channel: c.redisChannel, Key: c.redisKey, Timeout: c.feedTimeout}
}

func (c *config) market() feed.MarketConfig {
	m := feed.MarketConfig{Rate: c.demoRate, Volatility: c.demoVolatility, Seed: c.demoSeed}
	for s := range strings.SplitSeq(c.demoSymbols, ",") {
		if s = strings.TrimSpace(s); s != "" {
			m.Symbols = append(m.Symbols, s)
		}
	}
	if len(m.Symbols) == 0 {
		m.Symbols = feed.DefaultSymbols()
	}
	return m
}

func (c *config) shard() fanout.Config {
	return fanout.Config{
		Interval: c.interval, Heartbeat: c.heartbeat,
		PingInterval: c.pingInterval, PongTimeout: c.pongTimeout,
		SlowTimeout: c.slowTimeout, IdleTimeout: c.idleTimeout,
		HandshakeTimeout: c.handshakeTimeout, CloseTimeout: closeTimeout,
		MaxTopics: c.maxTopics, Seed: uint64(time.Now().UnixNano()),
	}
}

// closeTimeout is how long a client has to answer a close frame. One that does not
// in this time will not.
const closeTimeout = 2 * time.Second

// linger is how long a topic outlives its last subscriber, so that a page reload costs
// Redis nothing.
const linger = 30 * time.Second

// print writes the effective configuration as flags, without the password of Redis.
func (c *config) print(w io.Writer, fs *flag.FlagSet) {
	for _, g := range c.groups {
		for _, name := range g.names {
			value := fs.Lookup(name).Value.String()
			switch name {
			case "check":
				continue
			case "redis":
				if u, err := url.Parse(value); err == nil {
					value = u.Redacted()
				}
			case "max-conns":
				value = strconv.Itoa(c.maxConns)
			case "page":
				value = strconv.FormatBool(c.page)
			}
			fmt.Fprintf(w, "-%s=%s\n", name, value)
		}
	}
}

// help writes what -h shows.
func (c *config) help(w io.Writer, fs *flag.FlagSet) {
	fmt.Fprint(w, `edge brings the newest ticks from Redis to WebSocket clients at /ws.

  edge -demo                      try it with nothing else: http://localhost:8080/
  edge -redis redis://host:6379   run it
  edge doctor -max-conns 100000   say what this host can hold, and what to change (-json)

Every flag is also an environment variable: -max-conns is EDGE_MAX_CONNS. A flag wins.
Times take a unit: 500ms, 10s, 2m.
`)
	for _, g := range c.groups {
		fmt.Fprintf(w, "\n%s\n", g.title)
		for _, name := range g.names {
			f := fs.Lookup(name)
			kind, usage := flag.UnquoteUsage(f)
			head := "-" + name
			if kind != "" {
				head += " " + kind
			}
			if f.DefValue != "" && f.DefValue != "false" {
				usage += " (default " + f.DefValue + ")"
			}
			fmt.Fprintf(w, "  %-28s %s\n", head, usage)
		}
	}
}
