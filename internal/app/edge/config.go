// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"tickedge/internal/admin"
	"tickedge/internal/app"
	"tickedge/internal/app/options"
	"tickedge/internal/auth"
	"tickedge/internal/backoffice"
	"tickedge/internal/broker"
	"tickedge/internal/broker/memory"
	"tickedge/internal/broker/redis"
	"tickedge/internal/doctor"
	"tickedge/internal/fanout"
	"tickedge/internal/flags"
	"tickedge/internal/guard"
	"tickedge/internal/loop"
	"tickedge/internal/market"
	"tickedge/internal/rpc"
	"tickedge/internal/screen"
	"tickedge/internal/topics"
	"tickedge/internal/tracing"
)

// Config is everything that can be set from outside. The flags are bound to the
// configurations of the packages, see newConfig for what each means.
type Config struct {
	flags  *flags.Set
	loop   loop.Config // With those of the shards and the guard.
	table  topics.Config
	redis  redis.Config // Of each source of the feed that is one, but for its URL.
	tokens auth.Config
	market market.Config
	log    app.LogConfig

	sources      sources
	olderSources sources // Those of -redis.
	renewals     map[[2]int]*broker.Renewed
	demoBroker   memory.Config
	paths        paths
	healthPath   string
	listTopics   string
	versionField string
	screens      screen.Config
	newTopics    guard.Rate
	requests     guard.Rate
	snapshotRate int // Bytes per second.
	backlogTotal int // MiB.
	page         bool
	pageHistory  string // On the page's host.
	pageMarket   string
	pageAlerts   string
	demo         bool
	drainDelay   time.Duration
	drain        time.Duration

	admin          string
	agent          string // Of HAProxy. Empty for none.
	adminNames     admin.Names
	readyNeedsFeed bool
	api            backoffice.Config // Without an address there is none.
	rpc            rpc.Config        // The same.
	rpcAPI         bool              // The back office is on the port of rpc too.
	trace          tracing.Config
	check          bool
	reloadEvery    time.Duration     // 0 is never.
	args           []string          // As Parse was given them.
	content        map[string]string // Of the files, see readFiles.
	onListen       func(net.Addr)
	hangups        <-chan os.Signal // Each asks for the configuration to be read anew; nil has none.
	level          *slog.LevelVar   // Of the log; nil if it can't be set.
	supervisor     *app.Supervisor  // Nil if nobody started this process who wants to know.

	// Lists, see readLists.
	symbols, existing, private, origin, tokenTypes, trusted, adminHost string

	revokedFile, revokedTopic string
}

// OnListen has f called with the client port's address once clients are served there, for a program that stands in front.
func (c *Config) OnListen(f func(net.Addr)) { c.onListen = f }

// Parse reads flags, environment and file, and the files that they name. The error is
// flag.ErrHelp or flags.ErrVersion, or says all that is wrong, a line each.
func Parse(args []string) (*Config, error) {
	c := newConfig(commands...)
	c.args = args
	err := c.read(args)
	if flags.Asked(err) {
		return c, err
	}
	c.content = readFiles(c.files()) // Before they are read: what changes from now on is found later.
	return c, c.flags.Locate(c.flags.Conceal(errors.Join(err, c.validate(), c.fill()), args))
}

// read sets c from args, environment and file. Ranges are for validate to look at.
func (c *Config) read(args []string) error {
	c.table.Linger, c.loop.Shard.CloseTimeout = linger, closeTimeout
	c.tokens.Secret, c.trace.Headers = []byte(os.Getenv(secretEnv)), os.Getenv(tracesEnv)
	err := c.flags.Parse(args)
	c.tokens.JWKSURL = flags.Line(c.tokens.JWKSURL)
	return err
}

// validate returns all that is wrong with what was said, or nil, and reads the lists. It asks
// nothing of the host.
func (c *Config) validate() error {
	var errs problems
	errs.add(c.readLists())
	errs.add(c.readPaths())
	if !app.IsHostPort(c.loop.Listen) {
		errs.bad("-listen is %s, want host:port such as :8080 or 127.0.0.1:8080", flags.Quote(c.loop.Listen))
	}
	if c.admin != "" && !app.IsHostPort(c.admin) {
		errs.bad("-admin is %s, want host:port such as %s, or nothing", flags.Quote(c.admin), defaultAdmin)
	}
	if samePort(c.loop.Listen, c.admin) {
		errs.bad("-admin is %s and -listen is %s: want another port for one of them", c.admin, c.loop.Listen)
	}
	errs.add(c.validateAgent())
	errs.add(c.validateAPI())
	errs.add(c.validateRPC())
	if c.loop.MaxConns < 0 {
		errs.bad("-max-conns is %d, want 0 or more", c.loop.MaxConns)
	}
	if c.backlogTotal < 0 || c.backlogTotal > backlogTotalMax {
		errs.bad("-max-backlog-total is %d, want 1 to %d MiB, or 0 for an eighth of the memory", c.backlogTotal, backlogTotalMax)
	}
	if l := c.listTopics; l != "" && l != listHeld && l != listSource {
		errs.bad("-list-topics is %s, want %s, %s or nothing", flags.Quote(l), listHeld, listSource)
	}
	errs.add(c.validateReload())
	errs.add(upToAnHour("-drain-delay", c.drainDelay))
	errs.add(upToAnHour("-drain", c.drain))
	if most := c.loop.Shard.MaxTopics; c.table.Max < most || c.table.Max > topicsTotalMax {
		errs.bad("-max-topics-total is %d, want -max-topics (%d) to %d", c.table.Max, most, topicsTotalMax)
	}
	if c.snapshotRate != 0 && (c.snapshotRate < snapshotRateMin || c.snapshotRate > snapshotRateMax) {
		errs.bad("-snapshot-rate-per-ip is %d, want 0 or %d to %d bytes", c.snapshotRate, snapshotRateMin, snapshotRateMax)
	}
	errs.add(c.validateScreens())
	errs.add(named(c.loop.Validate(), loopFlags))
	errs.add(named(c.table.Validate(), tableFlags))
	errs.add(c.log.Validate())
	errs.add(c.trace.Validate())
	errs.add(named(c.newTopics.Validate(), newTopicsFlags))
	errs.add(named(c.requests.Validate(), requestsFlags))
	if most := c.loop.Shard.MaxTopics; c.newTopics.PerSecond > 0 && c.newTopics.Burst != 0 && c.newTopics.Burst < most {
		errs.bad("-new-topics-burst-per-ip is %d, want -max-topics (%d) or more: a client may ask for as many at first", c.newTopics.Burst, most)
	}
	if c.demo {
		errs.add(flags.Named(c.market.Validate(), marketErrors...))
	}
	errs.add(c.validateSources())
	errs.add(c.validateTokens())
	errs.add(c.validateEffect())
	return errors.Join(errs...)
}

// upToAnHour bounds times: who supervises an edge does not wait for longer.
func upToAnHour(flag string, d time.Duration) error {
	if d < 0 || d > time.Hour {
		return fmt.Errorf("%s is %v, want 0s to 1h0m0s", flag, d)
	}
	return nil
}

// problems are what is wrong with flags.
type problems []error

func (p *problems) add(err error)                  { *p = append(*p, err) }
func (p *problems) bad(format string, args ...any) { p.add(fmt.Errorf(format, args...)) }

// The fields that errors of configurations begin with, and their flags.
var (
	loopFlags = strings.NewReplacer("Loops", "-loops", "MaxHead", "-max-head", "RetrySpread", "-retry-spread", "MaxSessions", "-max-sessions-per-user",
		"KeepAlive", "-keep-alive", "FetchWait", "-fetch-timeout",
		"Interval", "-interval", "Heartbeat", "-heartbeat", "PingInterval", "-ping-interval", "PongTimeout", "-pong-timeout",
		"SlowTimeout", "-slow-timeout", "SlowRate", "-slow-rate", "IdleTimeout", "-idle-timeout",
		"HandshakeTimeout", "-handshake-timeout", "MaxAge", "-max-age", "MaxTopics", "-max-topics",
		"CommandRate", "-command-rate", "CommandBurst", "-command-burst", "SubscribeRate", "-subscribe-rate",
		"MaxValueless", "-max-valueless", "MaxScreens", "-max-screens-per-conn", "ConnsPerPrefix", "-max-conns-per-ip",
		"Total.PerSecond", "-conn-rate", "Total.Burst", "-conn-burst",
		"PerPrefix.PerSecond", "-conn-rate-per-ip", "PerPrefix.Burst", "-conn-burst-per-ip")
	tableFlags     = strings.NewReplacer("StaleFloor", "-stale-floor", "StaleAfter", "-stale-after", "ResumeTolerance", "-resume-tolerance")
	requestsFlags  = strings.NewReplacer("PerSecond", "-request-rate-per-ip", "Burst", "-request-burst-per-ip")
	newTopicsFlags = strings.NewReplacer("PerSecond", "-new-topics-rate-per-ip", "Burst", "-new-topics-burst-per-ip")
)

// What errors of configurations that know no fields begin with, and the flag in front of it.
var (
	settingErrors = []string{
		"redis mode", "-redis-mode", "redis stream", "-redis-stream", "the redis stream", "-redis-stream", "redis timeout", "-feed-timeout",
		"redis channel", "-redis-channel", "redis key", "-redis-key", "tick version field", "-tick-version-field",
		"redis TLS files", "-redis-tls-ca, -redis-tls-cert or -redis-tls-key", "redis TLS authorities", "-redis-tls-ca",
		"redis TLS certificate", "-redis-tls-cert and -redis-tls-key",
	}
	marketErrors = []string{"symbol", "-demo-symbols", "rate", "-demo-rate", "volatility", "-demo-volatility"}
)

// named puts flags in the place of the fields in an error.
func named(err error, flags *strings.Replacer) error {
	if err == nil {
		return nil
	}
	return errors.New(flags.Replace(err.Error()))
}

// readLists reads the flags that are lists.
func (c *Config) readLists() error {
	var errs problems
	of := func(name string, err error) {
		if err == nil {
			return
		}
		if secret := c.flags.Unshown(name); secret != nil {
			errs.add(secret)
		} else {
			errs.add(errors.New("-" + name + ": " + strings.ReplaceAll(err.Error(), "\n", "\n-"+name+": ")))
		}
	}
	var err error
	c.adminNames, err = admin.ParseNames(c.adminHost)
	of("admin-host", err)
	c.loop.Origins, err = auth.ParseOrigins(c.origin)
	of("origin", err)
	c.loop.Trusted, err = guard.ParseTrusted(c.trusted)
	of("trust-proxy", err)
	c.loop.Existing, err = auth.ParsePatterns(c.existing)
	of("topics", err)
	c.loop.Private, err = auth.ParsePrivate(c.private)
	of("private", err)
	c.tokens.Private = c.loop.Private
	c.tokens.Types = strings.Split(c.tokenTypes, ",")
	for i, typ := range c.tokens.Types {
		c.tokens.Types[i] = strings.TrimSpace(typ)
	}
	for s := range strings.SplitSeq(c.symbols, ",") {
		if s = strings.TrimSpace(s); s != "" {
			c.market.Symbols = append(c.market.Symbols, s)
		}
	}
	if len(c.market.Symbols) == 0 {
		c.market.Symbols = market.DefaultSymbols()
	}
	return errors.Join(errs...)
}

// validateTokens looks at the flags that say who may connect.
func (c *Config) validateTokens() error {
	const sources = "-jwt-secret-file, -jwt-key-file, -jwt-jwks-url or " + secretEnv + " in the environment"
	var errs problems
	switch given := c.tokenSources(); {
	case len(given) > 1:
		errs.bad("%s are set, want one source of token keys", strings.Join(given, " and "))
	case len(given) == 1:
		return errors.Join(options.CheckTokens(&c.tokens, secretEnv), c.validateRevoked())
	default:
		if c.loop.MaxSessions > 0 {
			errs.bad("-max-sessions-per-user is set, and users are known by their tokens: set %s", sources)
		}
		c.flags.VisitAll(func(f *flag.Flag) {
			if strings.HasPrefix(f.Name, "jwt-") && c.flags.Changed(f.Name) {
				errs.bad("-%s is set, and no source of token keys: set %s", f.Name, sources)
			}
		})
	}
	return errors.Join(errs...)
}

// tokenSources names the sources of token keys that are set.
func (c *Config) tokenSources() (given []string) {
	for _, s := range []struct{ name, value string }{
		{"-jwt-secret-file", c.tokens.SecretFile}, {"-jwt-key-file", c.tokens.KeyFile}, {"-jwt-jwks-url", c.tokens.JWKSURL},
		{secretEnv, string(c.tokens.Secret)},
	} {
		if s.value != "" {
			given = append(given, s.name)
		}
	}
	return given
}

// fill sets what depends on other flags or on this host. The error says that the host can't
// hold as many connections.
func (c *Config) fill() error {
	c.page, c.loop.ListTopics = c.hasBoard(), c.listTopics != ""
	fillBurst(&c.loop.Guard.Total, 2*c.loop.Guard.Total.PerSecond)
	fillBurst(&c.loop.Guard.PerPrefix, 10*c.loop.Guard.PerPrefix.PerSecond)
	fillBurst(&c.requests, 10*c.requests.PerSecond)
	fillBurst(&c.newTopics, max(8*c.newTopics.PerSecond, 4*c.loop.Shard.MaxTopics))
	if c.backlogTotal == 0 {
		c.backlogTotal = backlogShare(doctor.ReadMemory(os.DirFS("/")))
	}
	c.loop.Backlog = int64(c.backlogTotal) << 20

	limit, err := loop.FileLimit()
	if err != nil {
		return fmt.Errorf("the limit of open files is unknown: %w", err)
	}
	reserve := c.fileReserve()
	room := int(limit) - reserve
	if room < 1 || c.loop.MaxConns > room {
		return fmt.Errorf("-max-conns %d needs %d open files and the limit is %d: raise it (ulimit -Hn, LimitNOFILE=) or ask for at most %d",
			c.loop.MaxConns, max(1, c.loop.MaxConns)+reserve, limit, max(0, room))
	}
	if c.loop.MaxConns == 0 {
		c.loop.MaxConns = min(room, guard.ConnsMax)
	}
	return nil
}

// hasBoard reports whether there is the live board: where it is asked for, and with -demo unless
// that goes without.
func (c *Config) hasBoard() bool {
	return c.page || c.demo && c.flags.From("page").Kind == flags.FromDefault
}

// fillBurst sets the burst of a rate for which none was said.
func fillBurst(r *guard.Rate, burst int) {
	if r.PerSecond > 0 && r.Burst == 0 {
		r.Burst = min(burst, guard.RateMax)
	}
}

// What is kept free of open files beside the loops, the sources of the feed and the admin port.
const (
	jwksFiles = 2 // A fetch, see connFiles in package redis.
	// spareFiles are for what has no number of its own: the log, the Go runtime, names that
	// are looked up, keys, certificates and /proc that are read.
	spareFiles = 128
)

// fileReserve is how many open files are kept for everything that is no client.
func (c *Config) fileReserve() int {
	sources := c.feed()
	n := loop.FileReserve(max(1, c.loop.Loops)) + sources.Files() + spareFiles
	if c.listTopics == listSource {
		most := 0 // They are listed one after the other.
		for _, s := range sources {
			most = max(most, s.Broker.Files())
		}
		n += most
	}
	if c.admin != "" {
		n += admin.Files
	}
	if c.agent != "" {
		n += agentFiles
	}
	if c.api.Addr != "" {
		n += backoffice.Files + sources.Files() + sources.Of(controlTopic).Files() // It publishes with connections of its own.
	}
	if c.rpc.Listen != "" {
		n += c.rpc.Files()
	}
	if c.tokens.JWKSURL != "" {
		n += jwksFiles
	}
	return n
}

const (
	// backlogTotalMax is a tebibyte.
	backlogTotalMax = 1 << 20
	// backlogTotalMin is enough for 2,000 clients that have not taken their piece. Whose
	// memory is that small has fewer.
	backlogTotalMin = 64
	// topicsTotalMax is far more than fit into the memory of a host.
	topicsTotalMax = 10_000_000
	// snapshotRateMin lets a source have a snapshot of a megabyte in a quarter of a minute.
	snapshotRateMin = 64 << 10
	snapshotRateMax = guard.RateMax / 4 * fanout.SnapshotUnit
	// closeTimeout is how long a client has to answer a close frame. One that does not
	// in this time will not.
	closeTimeout = 2 * time.Second
	// linger is how long a topic outlives its last subscriber, so that a page reload costs
	// Redis nothing.
	linger = 30 * time.Second
)

// backlogShare is how much of a memory may be backlog, in MiB. What gnet keeps it in is up
// to twice as large, and the collector lets some garbage lie, so it is an eighth.
func backlogShare(memory doctor.Amount) int {
	return int(min(max(memory>>23, backlogTotalMin), backlogTotalMax))
}
