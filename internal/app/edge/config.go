package edge

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"tickedge/internal/admin"
	"tickedge/internal/auth"
	"tickedge/internal/broker/redis"
	"tickedge/internal/doctor"
	"tickedge/internal/fanout"
	"tickedge/internal/feed"
	"tickedge/internal/flags"
	"tickedge/internal/guard"
	"tickedge/internal/loop"
	"tickedge/internal/market"
	"tickedge/internal/topics"
	"tickedge/internal/wsproto"
)

// config is everything that can be set from outside. See flags for what each means.
type config struct {
	listen           string
	loops            int
	maxConns         int
	page             bool
	drain            time.Duration
	redis            sources
	broker           redis.Config // Of each source, but for its URL.
	versionField     string
	staleFloor       time.Duration
	staleAfter       time.Duration
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
	slowRate         int
	maxBacklogTotal  int // MiB.
	idleTimeout      time.Duration
	handshakeTimeout time.Duration
	pingInterval     time.Duration
	pongTimeout      time.Duration
	maxAge           time.Duration
	commandRate      int
	commandBurst     int
	subscribeRate    int
	maxValueless     int
	topics           string
	origin           string
	jwtSecretFile    string
	jwtKeyFile       string
	jwtJWKS          string
	jwtRefresh       time.Duration
	jwtIssuer        string
	jwtAudience      string
	jwtType          string
	jwtLeeway        time.Duration
	jwtTopics        string
	jwtAllowNoExp    bool
	maxSessions      int
	trustProxy       string
	proxyProtocol    bool
	maxConnsPerIP    int
	connRate         int
	connBurst        int
	connRatePerIP    int
	connBurstPerIP   int
	newTopicsRate    int
	newTopicsBurst   int
	snapshotRate     int
	admin            string
	adminHost        string
	readyNeedsFeed   bool
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

// secretEnv is the secret of tokens. It has no flag: everybody on a host can read the
// flags of its processes.
const secretEnv = envPrefix + "_JWT_SECRET"

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
	str(&c.listen, "listen", ":8080", "`host:port` for clients; an empty host or [::] is all addresses of IPv4 and IPv6, 0.0.0.0 those of IPv4 alone")
	num(&c.loops, "loops", runtime.GOMAXPROCS(0), "event loops; fewer leave processors to others on this host (Linux only, else 1)")
	num(&c.maxConns, "max-conns", 0, "connections held at a time; 0 is what the limit of open files allows")
	yes(&c.page, "page", "serve the live board at / (on with -demo)")
	dur(&c.drain, "drain", 10*time.Second, "time over which clients are sent away on SIGTERM; raise it with the number of clients")

	begin("Feed")
	c.redis = sources{list: []sourceFlag{"redis://127.0.0.1:6379"}}
	fs.Var(&c.redis, shown("redis"), "`[patterns=]URL` of Redis, as often as there are independent ones (or with blanks between): "+
		"redis://user:password@host:port/db, unix://path, redis-sentinel://host:port,host:port/master, redis-cluster://host:port,host:port; rediss for TLS. "+
		"Topics go to the first with a pattern that matches, such as fx:*,crypto:*=URL, or to the last, which has none")
	str(&c.broker.Channel, "redis-channel", redis.DefaultChannel, "Pub/Sub channel of a topic")
	str(&c.broker.Key, "redis-key", redis.DefaultKey, "key of a topic's newest value")
	str((*string)(&c.broker.Mode), "redis-mode", string(redis.ModeChannel), "how ticks come: `channel` (topics that clients want), pattern (one subscription for all) or stream")
	str(&c.broker.Stream, "redis-stream", "", "`key` of the stream that -redis-mode stream reads: entries with the fields topic and value")
	str(&c.broker.TLS.CA, "redis-tls-ca", "", "`file` with the authorities of certificates of Redis, in PEM; empty for those of the system")
	str(&c.broker.TLS.Cert, "redis-tls-cert", "", "`file` with the certificate that is shown to Redis, in PEM, read again for each connection")
	str(&c.broker.TLS.Key, "redis-tls-key", "", "`file` with the key of -redis-tls-cert")
	str(&c.versionField, "tick-version-field", "", "`member` of values that numbers them, such as seq or meta.ts: older ones are dropped, and those without")
	dur(&c.broker.Timeout, "feed-timeout", redis.DefaultTimeout, "silence after which Redis is taken for dead and dialled anew")

	dur(&c.staleFloor, "stale-floor", 10*time.Second, "clients are told that a topic is stale when it has no tick for 4 times its longest gap, and for this time at least; 0 is never")
	dur(&c.staleAfter, "stale-after", 0, "the same for all topics after this time, whatever their gaps are; 0 is learned for each from its ticks")

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
	num(&c.slowRate, "slow-rate", 4000, "bytes per second that a client has to take of what was sent, on the average of -slow-timeout; lower it for very thin lines")
	num(&c.maxBacklogTotal, "max-backlog-total", 0, "`MiB` that clients have not taken yet, of all together, before those with most of it are cut off; "+
		"0 is an eighth of the memory of host or container, 64 at least. Lower it if others need the memory")
	dur(&c.idleTimeout, "idle-timeout", 2*time.Minute, "how long a client may have no subscription")
	dur(&c.handshakeTimeout, "handshake-timeout", 10*time.Second, "from accept to the end of the request's head")
	dur(&c.pingInterval, "ping-interval", 30*time.Second, "mean time between pings to a silent client, ±25%")
	dur(&c.pongTimeout, "pong-timeout", 15*time.Second, "from a ping until a client that stays silent is cut off")
	dur(&c.maxAge, "max-age", 0, "how long a connection may be open, ±25%, at most 90 days (2160h); 0 is for ever")
	num(&c.commandRate, "command-rate", fanout.DefaultCommandRate, "commands per second of a client; 0 is no limit")
	num(&c.commandBurst, "command-burst", fanout.DefaultCommandBurst, "commands at once of a client; who goes on after twice as many refused ones is cut off")
	num(&c.subscribeRate, "subscribe-rate", fanout.DefaultSubscribeRate, "new topics per second of a client, and twice -max-topics at once; 0 is no limit")
	num(&c.maxValueless, "max-valueless", 128, "topics of a client that are known to have no value and are not in -topics, beyond which it gets no more of them; 0 is no limit. Raise it if topics get their first value late in the day")
	str(&c.topics, "topics", "", "`patterns` of the topics that exist, by commas, such as AAPL,fx:*: the limits of topics that are new, or have no value, do not count them. Set it where many clients share an address")

	begin("Who may connect")
	str(&c.origin, "origin", "", "`list` of web origins that may connect, by commas: https://app.example.com, https://*.example.com (one label), null, * for all; empty is the request's own host")
	str(&c.jwtSecretFile, "jwt-secret-file", "", "`file` with the secret that tokens are signed with (HS256 to HS512), 32 bytes or more; or the secret in the environment: "+secretEnv)
	str(&c.jwtKeyFile, "jwt-key-file", "", "`file` with the public keys or certificates of tokens, in PEM (RS, PS, ES, EdDSA)")
	str(&c.jwtJWKS, "jwt-jwks-url", "", "`URL` of the issuer's public keys, https:// (http:// to loopback only)")
	dur(&c.jwtRefresh, "jwt-jwks-refresh", auth.DefaultJWKSRefresh, "time between two fetches of -jwt-jwks-url, ±10%; unknown keys bring one forward")
	str(&c.jwtIssuer, "jwt-issuer", "", "what iss of a token has to be; empty takes any")
	str(&c.jwtAudience, "jwt-audience", "", "what aud of a token has to contain; empty takes only tokens without aud")
	str(&c.jwtType, "jwt-type", strings.Join(auth.DefaultTypes(), ","), "`list` of what typ of a token may be, by commas, none for tokens without it; set it to at+jwt if the issuer writes that")
	dur(&c.jwtLeeway, "jwt-leeway", 30*time.Second, "by how much the clocks of issuer and edge may differ, at most 5m")
	str(&c.jwtTopics, "jwt-topics-claim", auth.DefaultTopicsClaim, "claim that limits topics; a token without it may have all")
	yes(&c.jwtAllowNoExp, "jwt-allow-no-exp", "take tokens without exp, which never end")
	num(&c.maxSessions, "max-sessions-per-user", 0, "connections of one user (sub), of which the newest stay; 0 is no limit. Needs tokens")

	begin("Admission")
	str(&c.trustProxy, "trust-proxy", "", "`networks` of proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8,::1")
	yes(&c.proxyProtocol, "proxy-protocol", "every connection begins with a PROXY header (v1 or v2); set it only if nobody else reaches the port")
	num(&c.maxConnsPerIP, "max-conns-per-ip", 0, "connections of one IPv4 address or IPv6 /64; 0 is no limit")
	num(&c.connRate, "conn-rate", 0, "new connections per second in all; 0 is no limit")
	num(&c.connBurst, "conn-burst", 0, "new connections at once in all; 0 is twice -conn-rate")
	num(&c.connRatePerIP, "conn-rate-per-ip", 0, "new connections per second of one address or /64; 0 is no limit")
	num(&c.connBurstPerIP, "conn-burst-per-ip", 0, "new connections at once of one address or /64; 0 is ten times -conn-rate-per-ip")
	num(&c.newTopicsRate, "new-topics-rate-per-ip", 128, "topics per second that one address or /64 may be the first to ask for, other than those in -topics; 0 is no limit. Raise it, or set -topics, where a proxy does not tell who its clients are")
	num(&c.newTopicsBurst, "new-topics-burst-per-ip", 0, "the same at once; 0 is eight times -new-topics-rate-per-ip, or four times -max-topics if that is more")
	num(&c.snapshotRate, "snapshot-rate-per-ip", 4<<20, "bytes per second of snapshots above 4 KiB for one address or /64, and four times as many at once; beyond it they wait. 0 is no limit. Raise it where many clients share an address and have many topics")

	begin("Operation")
	str(&c.admin, "admin", "127.0.0.1:9090", "`host:port` for /metrics, /healthz, /readyz and /debug/pprof; empty for none. Not for the public")
	str(&c.adminHost, "admin-host", "", "`names` by which monitoring calls the admin port, by commas: edge.example.com, *.svc.cluster.local. Addresses, localhost and this host's own name need not be in it")
	yes(&c.readyNeedsFeed, "ready-needs-feed", "/readyz is 503 whenever the feed is down, not only until it has been up; set it where another edge may have newer values")
	str(&c.logLevel, "log-level", "info", "debug, info, warn or error; debug has a line per connection")
	str(&c.logFormat, "log-format", "text", "text or json")
	yes(&c.check, "check", "print the effective configuration and end")
	return fs
}

// sources is the value of -redis.
type sources struct {
	list  []sourceFlag
	given bool
}

// sourceFlag is one -redis. It shows no passwords.
type sourceFlag string

func (s sourceFlag) String() string {
	_, url := feed.ParseSource(string(s))
	return strings.TrimSuffix(string(s), url) + redis.Config{URL: url}.String()
}

func (s *sources) String() string {
	var all []string
	for _, source := range s.list {
		all = append(all, source.String())
	}
	return strings.Join(all, " ")
}

// Set adds what is given to what was given before. It finds no mistakes: their errors would
// be shown with the URL.
func (s *sources) Set(text string) error {
	if !s.given {
		s.list, s.given = nil, true // They take the default's place.
	}
	for _, one := range strings.Fields(text) {
		s.list = append(s.list, sourceFlag(one))
	}
	return nil
}

// parse reads flags and environment. The error is flag.ErrHelp or a *usageError.
func parse(args []string) (*config, *flag.FlagSet, error) {
	c := &config{}
	fs := c.flags()
	if err := readFlags(fs, args); err != nil {
		return c, fs, err
	}
	return c, fs, c.validate(fs)
}

// readFlags sets fs from args and environment. The error is flag.ErrHelp or a
// *usageError.
func readFlags(fs *flag.FlagSet, args []string) error {
	switch err := flags.Parse(fs, args, envPrefix); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return &usageError{[]string{err.Error()}}
	}
	return nil
}

// validate finds all problems at once, and fills in what depends on the host or on other
// flags. fs is what c was read with.
func (c *config) validate(fs *flag.FlagSet) error {
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
	if _, err := admin.ParseNames(c.adminHost); err != nil {
		bad("-admin-host: %v", err)
	}
	if c.loops < 1 || c.loops > 1024 {
		bad("-loops is %d, want 1 to 1024", c.loops)
	}
	reserve := int64(c.fileReserve())
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
		c.maxConns = int(min(room, maxConnsMax))
	}
	between("interval", c.interval, wsproto.IntervalMin*time.Millisecond, wsproto.IntervalMax*time.Millisecond)
	between("heartbeat", c.heartbeat, time.Second, time.Hour)
	between("slow-timeout", c.slowTimeout, time.Second, time.Hour)
	if c.maxBacklogTotal < 0 || c.maxBacklogTotal > backlogTotalMax {
		bad("-max-backlog-total is %d, want 1 to %d MiB, or 0 for an eighth of the memory", c.maxBacklogTotal, backlogTotalMax)
	} else if c.maxBacklogTotal == 0 {
		c.maxBacklogTotal = backlogShare(doctor.ReadMemory(os.DirFS("/")))
	}
	between("idle-timeout", c.idleTimeout, time.Second, 7*24*time.Hour)
	between("handshake-timeout", c.handshakeTimeout, time.Second, 10*time.Minute)
	between("ping-interval", c.pingInterval, time.Second, time.Hour)
	between("pong-timeout", c.pongTimeout, time.Second, time.Hour)
	between("drain", c.drain, 0, time.Hour)
	between("max-age", c.maxAge, 0, fanout.MaxAgeLimit)
	between("stale-floor", c.staleFloor, 0, staleMax)
	between("stale-after", c.staleAfter, 0, staleMax)
	for _, r := range []struct {
		name     string
		n        int
		low, top int
	}{
		{"command-rate", c.commandRate, 0, fanout.RateMax}, {"command-burst", c.commandBurst, 1, fanout.BurstMax},
		{"subscribe-rate", c.subscribeRate, 0, fanout.RateMax}, {"slow-rate", c.slowRate, 1, fanout.SlowRateMax},
	} {
		if r.n < r.low || r.n > r.top {
			bad("-%s is %d, want %d to %d", r.name, r.n, r.low, r.top)
		}
	}
	if c.maxTopics < 1 || c.maxTopics > 4096 {
		bad("-max-topics is %d, want 1 to 4096", c.maxTopics)
	}
	if c.maxValueless < 0 || c.maxValueless > 4096 {
		bad("-max-valueless is %d, want 0 to 4096", c.maxValueless)
	}
	if _, err := auth.ParsePatterns(c.topics); err != nil {
		bad("-topics: %v", err)
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
		if c.redis.given {
			bad("-demo brings its own Redis: leave -redis out, or -demo")
		}
		if err := c.market().Validate(); err != nil {
			bad("-demo: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	sources, brokers := c.feed()
	if err := errors.Join(sources.Validate(), redis.Validate(brokers...)); err != nil {
		problems = append(problems, strings.Split(err.Error(), "\n")...)
	}
	c.validateTokens(fs, bad)
	c.validateAdmission(bad)
	if len(problems) > 0 {
		return &usageError{problems}
	}
	return nil
}

// validateTokens looks at the flags that say who may connect.
func (c *config) validateTokens(fs *flag.FlagSet, bad func(format string, args ...any)) {
	const sources = "-jwt-secret-file, -jwt-key-file, -jwt-jwks-url or " + secretEnv + " in the environment"
	if _, err := auth.ParseOrigins(c.origin); err != nil {
		lines(bad, "-origin: ", err)
	}
	if c.maxSessions < 0 || c.maxSessions > sessionsMax {
		bad("-max-sessions-per-user is %d, want 0 to %d", c.maxSessions, sessionsMax)
	}
	switch given := c.tokenSources(); {
	case len(given) > 1:
		bad("%s are set, want one source of token keys", strings.Join(given, " and "))
	case len(given) == 1:
		if err := c.tokens().Validate(); err != nil {
			lines(bad, "", err)
		}
	default:
		if c.maxSessions > 0 {
			bad("-max-sessions-per-user is set, and users are known by their tokens: set %s", sources)
		}
		fs.VisitAll(func(f *flag.Flag) {
			if strings.HasPrefix(f.Name, "jwt-") && f.Value.String() != f.DefValue {
				bad("-%s is set, and no source of token keys: set %s", f.Name, sources)
			}
		})
	}
}

// tokenSources names the sources of token keys that are set.
func (c *config) tokenSources() (given []string) {
	for _, s := range []struct{ name, value string }{
		{"-jwt-secret-file", c.jwtSecretFile}, {"-jwt-key-file", c.jwtKeyFile}, {"-jwt-jwks-url", c.jwtJWKS}, {secretEnv, os.Getenv(secretEnv)},
	} {
		if s.value != "" {
			given = append(given, s.name)
		}
	}
	return given
}

// sessionsMax bounds -max-sessions-per-user: a user's connections are searched one by one
// when one of them ends.
const sessionsMax = 10_000

// validateAdmission looks at the flags that say how much one client may have, and fills
// in the bursts.
func (c *config) validateAdmission(bad func(format string, args ...any)) {
	if _, err := guard.ParseTrusted(c.trustProxy); err != nil {
		lines(bad, "-trust-proxy: ", err)
	}
	if c.maxConnsPerIP < 0 || c.maxConnsPerIP > maxConnsMax {
		bad("-max-conns-per-ip is %d, want 0 to %d", c.maxConnsPerIP, maxConnsMax)
	}
	rate := func(name string, perSecond int, burst *int, times int) {
		burstName := strings.Replace(name, "rate", "burst", 1)
		switch {
		case perSecond < 0 || perSecond > guard.RateMax:
			bad("-%s is %d, want 0 to %d", name, perSecond, guard.RateMax)
		case *burst < 0 || *burst > guard.RateMax:
			bad("-%s is %d, want 0 to %d", burstName, *burst, guard.RateMax)
		case perSecond == 0 && *burst > 0:
			bad("-%s is set and -%s is not: set both, or neither", burstName, name)
		case *burst == 0:
			*burst = min(times*perSecond, guard.RateMax)
		}
	}
	rate("conn-rate", c.connRate, &c.connBurst, 2)
	rate("conn-rate-per-ip", c.connRatePerIP, &c.connBurstPerIP, 10)
	if c.newTopicsRate > 0 && c.newTopicsBurst == 0 {
		c.newTopicsBurst = min(max(8*c.newTopicsRate, 4*c.maxTopics), guard.RateMax)
	}
	rate("new-topics-rate-per-ip", c.newTopicsRate, &c.newTopicsBurst, 0)
	if c.newTopicsRate > 0 && c.newTopicsBurst < c.maxTopics {
		bad("-new-topics-burst-per-ip is %d, want -max-topics (%d) or more: a client may ask for as many at first", c.newTopicsBurst, c.maxTopics)
	}
	if c.snapshotRate != 0 && (c.snapshotRate < snapshotRateMin || c.snapshotRate > snapshotRateMax) {
		bad("-snapshot-rate-per-ip is %d, want 0 or %d to %d bytes", c.snapshotRate, snapshotRateMin, snapshotRateMax)
	}
}

const (
	// snapshotRateMin lets a source have a snapshot of a megabyte in a quarter of a minute.
	snapshotRateMin = 64 << 10
	snapshotRateMax = guard.RateMax / 4 * fanout.SnapshotUnit
)

// lines reports an error that has everything that is wrong, a line each.
func lines(bad func(format string, args ...any), prefix string, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		bad("%s%s", prefix, line)
	}
}

// What is kept free of open files beside the loops and the sources of the feed.
const (
	jwksFiles = 2  // A fetch, see connFiles in package redis.
	demoFiles = 16 // The other ends of all connections of the feed, and the publisher.
	// spareFiles are for what has no number of its own: the log, the Go runtime, names that
	// are looked up, keys, certificates and /proc that are read.
	spareFiles = 128
)

// fileReserve is how many open files are kept for everything that is no client.
func (c *config) fileReserve() int {
	sources, _ := c.feed()
	n := loop.FileReserve(max(1, c.loops)) + sources.Files() + spareFiles
	if c.admin != "" {
		n += admin.Files
	}
	if c.jwtJWKS != "" {
		n += jwksFiles
	}
	if c.demo {
		n += demoFiles
	}
	return n
}

const (
	// backlogTotalMax is a tebibyte.
	backlogTotalMax = 1 << 20
	// backlogTotalMin is enough for 2,000 clients that have not taken their piece. Whose
	// memory is that small has fewer.
	backlogTotalMin = 64
)

// backlogShare is how much of a memory may be backlog, in MiB. What gnet keeps it in is up
// to twice as large, and the collector lets some garbage lie, so it is an eighth.
func backlogShare(memory doctor.Amount) int {
	return int(min(max(memory>>23, backlogTotalMin), backlogTotalMax))
}

// backlogMax is the limit of all backlogs, in bytes.
func (c *config) backlogMax() int64 { return int64(c.maxBacklogTotal) << 20 }

// maxConnsMax is more connections than a host can hold.
const maxConnsMax = 10_000_000

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
		return slog.New(newThrottle(slog.NewJSONHandler(w, opts)))
	}
	return slog.New(newThrottle(slog.NewTextHandler(w, opts)))
}

// feed is where ticks come from: a source for each -redis, with a broker that is alike but for its
// URL. They are all Redis. Another broker is told apart here, by the scheme of its URL.
func (c *config) feed() (f feed.Config, brokers []redis.Config) {
	for _, source := range c.redis.list {
		patterns, url := feed.ParseSource(string(source))
		b := c.broker
		b.URL = url
		brokers = append(brokers, b)
		f = append(f, feed.SourceConfig{Patterns: patterns, VersionField: c.versionField, Broker: b})
	}
	return f, brokers
}

func (c *config) market() market.Config {
	m := market.Config{Rate: c.demoRate, Volatility: c.demoVolatility, Seed: c.demoSeed}
	for s := range strings.SplitSeq(c.demoSymbols, ",") {
		if s = strings.TrimSpace(s); s != "" {
			m.Symbols = append(m.Symbols, s)
		}
	}
	if len(m.Symbols) == 0 {
		m.Symbols = market.DefaultSymbols()
	}
	return m
}

// shard is the configuration of the shards, and holds what they share from start on.
func (c *config) shard(start time.Time, newTopics *guard.SourceLimit) fanout.Config {
	snapshots := c.snapshotRate / fanout.SnapshotUnit
	return fanout.Config{
		Interval: c.interval, Heartbeat: c.heartbeat,
		PingInterval: c.pingInterval, PongTimeout: c.pongTimeout,
		SlowTimeout: c.slowTimeout, SlowRate: c.slowRate, IdleTimeout: c.idleTimeout,
		HandshakeTimeout: c.handshakeTimeout, CloseTimeout: closeTimeout,
		MaxTopics: c.maxTopics, Seed: uint64(time.Now().UnixNano()),
		MaxAge: c.maxAge, CommandRate: c.commandRate, CommandBurst: c.commandBurst,
		SubscribeRate: c.subscribeRate, SubscribeBurst: 2 * c.maxTopics,
		MaxValueless: c.maxValueless,
		NewTopics:    newTopics,
		Snapshots:    guard.NewSourceLimit(guard.Rate{PerSecond: snapshots, Burst: 4 * snapshots}, start),
	}
}

func (c *config) existing() *auth.Patterns {
	p, _ := auth.ParsePatterns(c.topics) // Checked by validate.
	return p
}

// tokens says which tokens are good. It is of use if there is a source of keys.
func (c *config) tokens() auth.Config {
	types := strings.Split(c.jwtType, ",")
	for i, typ := range types {
		types[i] = strings.TrimSpace(typ)
	}
	return auth.Config{
		Secret: []byte(os.Getenv(secretEnv)), SecretFile: c.jwtSecretFile, KeyFile: c.jwtKeyFile,
		JWKSURL: c.jwtJWKS, JWKSRefresh: c.jwtRefresh,
		Issuer: c.jwtIssuer, Audience: c.jwtAudience, Leeway: c.jwtLeeway, Types: types,
		TopicsClaim: c.jwtTopics, AllowNoExp: c.jwtAllowNoExp,
	}
}

func (c *config) origins() *auth.Origins {
	o, _ := auth.ParseOrigins(c.origin) // Checked by validate.
	return o
}

func (c *config) trusted() guard.Trusted {
	t, _ := guard.ParseTrusted(c.trustProxy) // Checked by validate.
	return t
}

func (c *config) guard() guard.Config {
	return guard.Config{
		ConnsPerSource: c.maxConnsPerIP,
		Total:          guard.Rate{PerSecond: c.connRate, Burst: c.connBurst},
		PerSource:      guard.Rate{PerSecond: c.connRatePerIP, Burst: c.connBurstPerIP},
	}
}

// closeTimeout is how long a client has to answer a close frame. One that does not
// in this time will not.
const closeTimeout = 2 * time.Second

// linger is how long a topic outlives its last subscriber, so that a page reload costs
// Redis nothing.
const linger = 30 * time.Second

// staleMax bounds -stale-floor and -stale-after: a week of silence says nothing that the
// day before did not.
const staleMax = 7 * 24 * time.Hour

// table is the configuration of the topic table, of which nothing is known yet at start.
// newTopics limits who may ask first for how many topics.
func (c *config) newTopics(start time.Time) *guard.SourceLimit {
	return guard.NewSourceLimit(guard.Rate{PerSecond: c.newTopicsRate, Burst: c.newTopicsBurst}, start)
}

// table gives back to newTopics what turns out to exist: an office that opens in the morning,
// or all clients behind a proxy after a restart, are the first to ask for thousands.
func (c *config) table(start time.Time, newTopics *guard.SourceLimit) topics.Config {
	return topics.Config{
		Max: c.maxTopicsTotal, Linger: linger, StaleFloor: c.staleFloor, StaleAfter: c.staleAfter, Start: start,
		Exists: func(by uint64) { newTopics.Return(guard.Source(by)) },
	}
}

// adminNames are the hosts of -admin-host.
func (c *config) adminNames() admin.Names {
	names, _ := admin.ParseNames(c.adminHost) // Checked by validate.
	return names
}

// print writes the effective configuration as flags, without the password of Redis and
// the query of the JWKS URL.
func (c *config) print(w io.Writer, fs *flag.FlagSet) {
	for _, g := range c.groups {
		for _, name := range g.names {
			value := fs.Lookup(name).Value.String()
			switch name {
			case "check":
				continue
			case "redis":
				for _, source := range c.redis.list {
					fmt.Fprintf(w, "-redis=%s\n", source)
				}
				continue
			case "jwt-jwks-url":
				if u, err := url.Parse(value); err == nil && u.RawQuery != "" {
					u.RawQuery = "xxxxx"
					value = u.String()
				}
			case "max-conns":
				value = strconv.Itoa(c.maxConns)
			case "max-backlog-total":
				value = strconv.Itoa(c.maxBacklogTotal)
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
