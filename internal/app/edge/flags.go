// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/broker/redis"
	"tickedge/internal/fanout"
	"tickedge/internal/flags"
	"tickedge/internal/guard"
	"tickedge/internal/loop"
)

const envPrefix = "EDGE"

// secretEnv is the secret of tokens. It has no flag: everybody on a host can read the
// flags of its processes.
const secretEnv = envPrefix + "_JWT_SECRET"

// tracesEnv is headers for a collector, which may be keys.
const tracesEnv = envPrefix + "_TRACE_HEADERS"

// What -list-topics may be.
const (
	listHeld   = "held"
	listSource = "source"
)

// newConfig returns the defaults, and the flags that are bound to them. Durations take a unit,
// such as 500ms, 10s or 2m. commands may stand in place of flags.
func newConfig(commands ...string) *Config {
	c := &Config{flags: flags.New("edge", envPrefix, []string{secretEnv, tracesEnv}, commands)}
	c.serverFlags(c.flags)
	c.clientFlags(c.flags, &c.loop.Shard)
	c.accessFlags(c.flags, &c.tokens, &c.loop.Guard)
	c.operatorFlags(c.flags)
	return c
}

// processors is how many there are for the loops. What Main sets of the runtime, and a configuration that is read anew, do not change it.
var processors = runtime.GOMAXPROCS(0)

func (c *Config) serverFlags(fs *flags.Set) {
	fs.Group("Serving")
	fs.StringVar(&c.loop.Listen, "listen", ":8080", "`host:port` for clients; an empty host or [::] is all addresses of IPv4 and IPv6, 0.0.0.0 those of IPv4 alone")
	fs.IntVar(&c.loop.Loops, "loops", processors, "event loops; fewer leave processors to others on this host (Linux only, else 1)")
	fs.IntVar(&c.loop.MaxConns, "max-conns", 0, "connections held at a time; 0 is what the limit of open files allows")
	c.paths = paths{list: []string{loop.DefaultPath}}
	fs.Var(&c.paths, "path", "`path` of the WebSocket, as often as there are several (or with commas between); a slash at its end does not matter")
	fs.StringVar(&c.healthPath, "health-path", "", "`path` on the client port that answers 200 or 503 as /readyz does, for platforms that know one port only; empty for /health")
	fs.BoolVar(&c.page, "page", false, "serve the live board at / (on with -demo)")
	fs.StringVar(&c.pageHistory, "page-history", "", "where the history of marketdata is on the host of the board, such as /history: the board has candles then")
	fs.StringVar(&c.pageMarket, "page-market", "", "where a simulated market is on that host, such as /market: the board can pause it then")
	fs.StringVar(&c.pageAlerts, "page-alerts", "", "`path` of alerts on that host, such as /alerts: they are set in the chart, so it needs -page-history; empty is a board without")
	fs.DurationVar(&c.drainDelay, "drain-delay", 0, "time from SIGTERM until clients are sent away, in which /readyz is 503 already and everything else goes on; set it to what a balancer needs to notice, such as 5s")
	fs.DurationVar(&c.drain, "drain", 10*time.Second, "time over which clients are sent away then; raise it with the number of clients")
	fs.DurationVar(&c.loop.RetrySpread, "retry-spread", 10*time.Second, "time over which clients come back that were refused with 503, as the edge is full, going down or without keys for tokens; raise it with the number of clients")

	fs.Group("Feed")
	c.sources = sources{list: []sourceFlag{defaultSource}}
	fs.Var(&c.sources, "source", "`[patterns=]URL` of a broker, as often as there are several (or with blanks between): "+
		"redis://user:password@host:port/db, unix://path, redis-sentinel://host:port,host:port/master, redis-cluster://host:port,host:port (rediss for TLS); nats://user:password@host:port,host:port?subject={topic} (tls for TLS); "+
		"memory inside of this process. URL|URL are two that have the same ticks, of which the newer version counts. "+
		"Topics go to the first source with a pattern that matches, such as fx:*,crypto:*=URL, or to the last, which has none")
	fs.Var(&c.olderSources, "redis", "`[patterns=]URL`: the older spelling of -source")
	fs.StringVar(&c.redis.Channel, "redis-channel", redis.DefaultChannel, "Pub/Sub channel of a topic")
	fs.StringVar(&c.redis.Key, "redis-key", redis.DefaultKey, "key of a topic's newest value")
	fs.StringVar((*string)(&c.redis.Mode), "redis-mode", string(redis.ModeChannel), "how ticks come: `channel` (topics that clients want), pattern (one subscription for all) or stream")
	fs.StringVar(&c.redis.Stream, "redis-stream", "", "`key` of the stream that -redis-mode stream reads: entries with the fields topic and value")
	fs.StringVar(&c.redis.TLS.CA, "redis-tls-ca", "", "`file` with the authorities of certificates of Redis, in PEM; empty for those of the system")
	fs.StringVar(&c.redis.TLS.Cert, "redis-tls-cert", "", "`file` with the certificate that is shown to Redis, in PEM, read again for each connection")
	fs.StringVar(&c.redis.TLS.Key, "redis-tls-key", "", "`file` with the key of -redis-tls-cert")
	fs.StringVar(&c.versionField, "tick-version-field", "", "`member` of values that numbers them, such as seq or meta.ts: older ones are dropped, and those without")
	fs.DurationVar(&c.redis.Timeout, "feed-timeout", redis.DefaultTimeout, "silence after which a broker is taken for dead and dialled anew")

	fs.DurationVar(&c.table.StaleFloor, "stale-floor", 10*time.Second, "clients are told that a topic is stale when it has no tick for 4 times its longest gap, and for this time at least; 0 is never")
	fs.DurationVar(&c.table.StaleAfter, "stale-after", 0, "the same for all topics after this time, whatever their gaps are; 0 is learned for each from its ticks")

	fs.DurationVar(&c.table.ResumeTolerance, "resume-tolerance", 2*time.Second, "by how much the clocks of edges may differ between which clients move, at most 1m; who resumes is sent again what came in so long before")

	fs.Group("Demo")
	fs.BoolVar(&c.demo, "demo", false, "run with a simulated market inside of the process instead of -source")
	fs.StringVar(&c.symbols, "demo-symbols", "", "symbols, separated by commas; empty is a list of well-known ones")
	fs.Float64Var(&c.market.Rate, "demo-rate", 200, "ticks per second, all symbols together")
	fs.Float64Var(&c.market.Volatility, "demo-volatility", 20, "how much faster prices move than in reality")
	fs.Uint64Var(&c.market.Seed, "demo-seed", 1, "the same seed gives the same prices")
}

func (c *Config) clientFlags(fs *flags.Set, shard *fanout.Config) {
	fs.Group("Clients")
	fs.DurationVar(&shard.Interval, "interval", 500*time.Millisecond, "time between two updates of a client that asks for no other, 100ms to 60s")
	fs.DurationVar(&shard.Heartbeat, "heartbeat", 20*time.Second, "silence after which a client gets a heartbeat message")
	fs.IntVar(&shard.MaxTopics, "max-topics", 256, "topics per connection, at most 4096")
	fs.IntVar(&c.table.Max, "max-topics-total", 100000, "topics in all, those without subscribers that linger included")
	fs.IntVar(&shard.MaxScreens, "max-screens-per-conn", fanout.DefaultMaxScreens, "screens (subscriptions by a pattern, or a condition) of a connection, at most 32; 0 is no screens at all")
	fs.IntVar(&c.screens.MaxPerUser, "max-screens-per-user", fanout.DefaultMaxScreensPerUser, "screens that one user, or an address without tokens, may have at a time")
	fs.IntVar(&c.screens.MaxScreens, "max-screens", 500, "screens that differ, in all")
	fs.IntVar(&c.screens.MaxTopics, "max-screen-topics", 10000, "topics that the patterns of one screen cover; further ones are not in it")
	fs.Float64Var(&c.screens.Share, "screen-cpu", 0.25, "part of one core that the conditions of screens may take; beyond it no new ones are taken")
	fs.DurationVar(&shard.SlowTimeout, "slow-timeout", 10*time.Second, "how long a client may not take what was sent, before it is cut off")
	fs.IntVar(&shard.SlowRate, "slow-rate", 4000, "bytes per second that a client has to take of what was sent, on the average of -slow-timeout; lower it for very thin lines")
	fs.IntVar(&c.backlogTotal, "max-backlog-total", 0, "`MiB` that clients have not taken yet, of all together, before those with most of it are cut off; "+
		"0 is an eighth of the memory of host or container, 64 at least. Lower it if others need the memory")
	fs.DurationVar(&shard.IdleTimeout, "idle-timeout", 2*time.Minute, "how long a client may have no subscription")
	fs.DurationVar(&shard.HandshakeTimeout, "handshake-timeout", 10*time.Second, "from accept to the end of the request's head")
	fs.IntVar(&c.loop.MaxHead, "max-head", loop.MaxHeadMin, "`KiB` that the head of a request may have, 8 to 64; raise it if clients get 431 for the cookies of your domain")
	fs.DurationVar(&shard.PingInterval, "ping-interval", 30*time.Second, "mean time between pings to a silent client, ±25%")
	fs.DurationVar(&shard.PongTimeout, "pong-timeout", 15*time.Second, "from a ping until a client that stays silent is cut off")
	fs.DurationVar(&shard.MaxAge, "max-age", 0, "how long a connection may be open, ±25%, at most 90 days (2160h); 0 is for ever")
	fs.IntVar(&shard.CommandRate, "command-rate", fanout.DefaultCommandRate, "commands, or requests of plain HTTP, per second of a connection; 0 is no limit")
	fs.IntVar(&shard.CommandBurst, "command-burst", fanout.DefaultCommandBurst, "commands at once of a client; who goes on after twice as many refused ones is cut off")
	fs.IntVar(&shard.SubscribeRate, "subscribe-rate", fanout.DefaultSubscribeRate, "new topics per second of a client, and twice -max-topics at once; 0 is no limit")
	fs.IntVar(&shard.MaxValueless, "max-valueless", 128, "topics of a client that are known to have no value and are not in -topics, beyond which it only gets topics that the edge has a value of; 0 is no limit. Raise it, or set -topics, if topics get their first value late in the day")
	fs.DurationVar(&c.loop.KeepAlive, "keep-alive", loop.DefaultKeepAlive, "how long a connection of plain HTTP may be without a request, up to 1h")
	fs.DurationVar(&c.loop.FetchWait, "fetch-timeout", loop.DefaultFetchWait, "how long a request of plain HTTP waits for a value that the edge does not hold, before it gets 503; 100ms to 30s")
	fs.StringVar(&c.listTopics, "list-topics", "", "answer /topics, as far as the client's token allows the names: `held` for those of topics that the edge holds, source for all that their brokers have a value of too (Redis: found by SCAN); empty for not at all")
	fs.StringVar(&c.existing, "topics", "", "`patterns` of the topics that exist, by commas, such as AAPL,fx:*: the limits of topics that are new, or have no value, do not count them. Set it where many clients share an address")
}

func (c *Config) accessFlags(fs *flags.Set, tokens *auth.Config, guard *guard.Config) {
	fs.Group("Who may connect")
	fs.StringVar(&c.origin, "origin", "", "`list` of web origins that may connect, by commas: https://app.example.com, https://*.example.com (one label), self (the request's own host), capacitor://localhost, moz-extension://*, null, * for all; empty is self")
	fs.StringVar(&tokens.SecretFile, "jwt-secret-file", "", "`file` with the secret that tokens are signed with (HS256 to HS512), 32 bytes or more; or the secret in the environment: "+secretEnv)
	fs.StringVar(&tokens.KeyFile, "jwt-key-file", "", "`file` with the public keys or certificates of tokens, in PEM (RS, PS, ES, EdDSA)")
	fs.StringVar(&tokens.JWKSURL, "jwt-jwks-url", "", "`URL` of the issuer's public keys, https:// (http:// to loopback only)")
	fs.DurationVar(&tokens.JWKSRefresh, "jwt-jwks-refresh", auth.DefaultJWKSRefresh, "time between two fetches of -jwt-jwks-url, ±10%; unknown keys bring one forward")
	fs.StringVar(&tokens.Issuer, "jwt-issuer", "", "what iss of a token has to be; empty takes any")
	fs.StringVar(&tokens.Audience, "jwt-audience", "", "what aud of a token has to contain; empty takes only tokens without aud")
	fs.StringVar(&c.tokenTypes, "jwt-type", strings.Join(auth.DefaultTypes(), ","), "`list` of what typ of a token may be, by commas, none for tokens without it; set it to at+jwt if the issuer writes that")
	fs.DurationVar(&tokens.Leeway, "jwt-leeway", 30*time.Second, "by how much the clocks of issuer and edge may differ, at most 5m")
	fs.StringVar(&tokens.TopicsClaim, "jwt-topics-claim", auth.DefaultTopicsClaim, "claim that limits topics; a token without it may have all that is not private")
	fs.StringVar(&c.revokedFile, "jwt-revoked-file", "", "`file` of revoked tokens, looked at every second: lines jti ID, sub USER, or sub USER before TIME")
	fs.StringVar(&c.revokedTopic, "jwt-revoked-topic", "", "`topic` of a source with a list of revoked tokens, such as tickedge:revoked: {\"jti\":[\"ID\"],\"sub\":[\"USER\"]}")
	fs.StringVar(&c.private, "private", auth.DefaultPrivate, "`prefixes` of names that are private, by commas: a token has them name by name, or as its user's own, and no pattern does; no list shows them. Empty for none")
	fs.BoolVar(&tokens.AllowNoExp, "jwt-allow-no-exp", false, "take tokens without exp, which never end")
	fs.IntVar(&c.loop.MaxSessions, "max-sessions-per-user", 0, "connections of one user (sub), of which the newest stay; 0 is no limit. Needs tokens")

	fs.Group("Admission")
	fs.StringVar(&c.trusted, "trust-proxy", "", "`networks` of proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8,::1")
	fs.BoolVar(&c.loop.ProxyProtocol, "proxy-protocol", false, "every connection begins with a PROXY header (v1 or v2); set it only if nobody else reaches the port")
	fs.IntVar(&guard.ConnsPerPrefix, "max-conns-per-ip", 0, "connections of one IPv4 address or IPv6 /64; 0 is no limit")
	fs.IntVar(&guard.Total.PerSecond, "conn-rate", 0, "new connections per second in all; 0 is no limit")
	fs.IntVar(&guard.Total.Burst, "conn-burst", 0, "new connections at once in all; 0 is twice -conn-rate")
	fs.IntVar(&guard.PerPrefix.PerSecond, "conn-rate-per-ip", 0, "new connections per second of one address or /64; 0 is no limit")
	fs.IntVar(&guard.PerPrefix.Burst, "conn-burst-per-ip", 0, "new connections at once of one address or /64; 0 is ten times -conn-rate-per-ip")
	fs.IntVar(&c.requests.PerSecond, "request-rate-per-ip", 0, "requests of plain HTTP per second of one address or /64; 0 is no limit")
	fs.IntVar(&c.requests.Burst, "request-burst-per-ip", 0, "the same at once; 0 is ten times -request-rate-per-ip")
	fs.IntVar(&c.newTopics.PerSecond, "new-topics-rate-per-ip", 128, "topics per second that one address or /64 may be the first to ask for, other than those in -topics; 0 is no limit. Raise it, or set -topics, where a proxy does not tell who its clients are")
	fs.IntVar(&c.newTopics.Burst, "new-topics-burst-per-ip", 0, "the same at once; 0 is eight times -new-topics-rate-per-ip, or four times -max-topics if that is more")
	fs.IntVar(&c.snapshotRate, "snapshot-rate-per-ip", 4<<20, "bytes per second of snapshots above 4 KiB for one address or /64, and four times as many at once; beyond it they wait. 0 is no limit. Raise it where many clients share an address and have many topics")
}

func (c *Config) operatorFlags(fs *flags.Set) {
	fs.Group("Operation")
	fs.StringVar(&c.admin, "admin", defaultAdmin, "`host:port` for /metrics, /healthz, /readyz and /debug/pprof; empty for none. Not for the public")
	fs.StringVar(&c.adminHost, "admin-host", "", "`names` by which monitoring calls the admin port, by commas: edge.example.com, *.svc.cluster.local. Addresses, localhost and this host's own name need not be in it")
	fs.StringVar(&c.agent, "agent", "", "`host:port` at which HAProxy asks how much this edge has left (agent-check), such as 127.0.0.1:8084; empty for none. Not for the public")
	fs.BoolVar(&c.readyNeedsFeed, "ready-needs-feed", false, "/readyz is 503 whenever the feed is down, not only until it has been up; set it where another edge may have newer values")
	fs.StringVar(&c.api.Addr, "api", "", "`host:port` of the back office, such as 127.0.0.1:8082, where programs publish values and end connections; empty for none. It needs -api-key-file or -api-client-ca, and TLS if it is not loopback")
	fs.StringVar(&c.api.KeyFile, "api-key-file", "", "`file` with the keys of those who may call the back office, a line name:key each, the key of 32 characters or more")
	fs.StringVar(&c.api.TLSCert, "api-tls-cert", "", "`file` with the certificate of the back office, in PEM")
	fs.StringVar(&c.api.TLSKey, "api-tls-key", "", "`file` with the key of -api-tls-cert")
	fs.StringVar(&c.api.ClientCA, "api-client-ca", "", "`file` with the authorities, in PEM, whose certificates may call the back office")
	fs.StringVar(&c.rpc.Listen, "grpc", "", "`host:port` for programs that speak gRPC, such as :8083; empty for none")
	fs.IntVar(&c.rpc.MaxConns, "grpc-max-conns", 256, "connections of -grpc held at a time")
	fs.IntVar(&c.rpc.MaxStreams, "grpc-max-streams", 100, "streams and requests of a connection of -grpc at a time")
	fs.StringVar(&c.rpc.TLSCert, "grpc-tls-cert", "", "`file` with the certificate of -grpc, in PEM")
	fs.StringVar(&c.rpc.TLSKey, "grpc-tls-key", "", "`file` with the key of -grpc-tls-cert")
	fs.StringVar(&c.rpc.ClientCA, "grpc-client-ca", "", "`file` with the authorities, in PEM, of whose certificates a client of -grpc has to show one; or a token, where tokens are asked for")
	fs.BoolVar(&c.rpcAPI, "grpc-api", false, "the back office of -api is on the port of -grpc too, for those who have a key of -api-key-file, or a certificate of -api-client-ca that -grpc-client-ca lets in. It needs TLS if -grpc is not loopback")
	c.trace.Flags(fs, tracesEnv)
	fs.StringVar(&c.log.Level, "log-level", "info", "debug, info, warn or error; debug has a line per connection")
	fs.StringVar(&c.log.Format, "log-format", "text", "text or json")
	fs.DurationVar(&c.reloadEvery, "reload-every", 5*time.Second, "time between two looks at -config and the files that flags name: what has changed is applied, as far as it can be while the edge runs; 0 is for SIGHUP only, at which all is read anew too")
	fs.Common(&c.check)
}

// print writes the effective configuration as flags, without passwords of sources and
// the query of the JWKS URL. Comments say what is from where.
func (c *Config) print(w io.Writer) {
	c.flags.WriteValues(w, func(name, value string) []string {
		switch name {
		case "check", "version", "config":
			return nil
		case "source":
			if c.demo {
				return nil // It brings its own.
			}
			return strings.Fields(c.given().String())
		case "redis":
			return nil // Shown as what it is the older spelling of.
		case "jwt-jwks-url":
			if before, _, has := strings.Cut(value, "?"); has {
				return []string{before + "?xxxxx"}
			}
		}
		return []string{flags.HideValue(value)}
	})
	c.flags.WriteOrigins(w)
	c.printSecrets(w)
}

// printSecrets says where secrets are from, and which files were read.
func (c *Config) printSecrets(w io.Writer) {
	switch {
	case len(c.tokens.Secret) > 0:
		fmt.Fprintf(w, "# secret of tokens: from %s in the environment\n", secretEnv)
	case c.tokens.SecretFile != "":
		fmt.Fprintf(w, "# secret of tokens: from the file %s\n", c.tokens.SecretFile)
	}
	if c.trace.On() && c.trace.Headers != "" {
		fmt.Fprintf(w, "# headers of traces: from %s in the environment\n", tracesEnv)
	}
	if slices.ContainsFunc(c.given().list, func(s sourceFlag) bool { return s.String() != string(s) }) {
		flag, _ := c.flags.Spelled("source", "redis")
		where := "-" + flag + " on the command line, where all users of this host can read it: better " + envPrefix + "_SOURCE or -config"
		if from := c.flags.From(flag); from.Where != "" {
			where = from.Where
		}
		fmt.Fprintf(w, "# password of a source: from %s\n", where)
	}
	for _, file := range []string{c.tokens.SecretFile, c.tokens.KeyFile, c.revokedFile, c.redis.TLS.CA, c.redis.TLS.Cert, c.redis.TLS.Key,
		c.api.KeyFile, c.api.TLSCert, c.api.TLSKey, c.api.ClientCA, c.rpc.TLSCert, c.rpc.TLSKey, c.rpc.ClientCA, c.trace.HeadersFile} {
		if file != "" {
			fmt.Fprintf(w, "# read and found good: %s\n", file)
		}
	}
	if c.tokens.JWKSURL != "" {
		fmt.Fprintln(w, "# not asked: -jwt-jwks-url and the sources")
	}
}

// help writes what -h shows.
func (c *Config) help(w io.Writer) {
	c.flags.WriteHelp(w, `edge brings the newest ticks from a broker to WebSocket clients at /ws (-path).

  edge -demo                      try it: http://localhost:8080/
  edge -source redis://host:6379  run it
  edge -check                     say what is set, and what is wrong
  edge doctor -max-conns 100000   say what this host can hold, and what to
                                  change (-json)
  edge plan -clients 100000       say how many hosts, and what of each, so many
                                  clients take (edge plan -h)
  edge healthcheck                say whether the edge of this host or container is
                                  ready
  edge version                    say which version this is
  edge completion bash            make a shell complete flags (zsh, fish)

Every flag is also an environment variable, and a line of a file: -max-conns 1000 is EDGE_MAX_CONNS=1000, and max-conns: 1000 in the file of -config. A flag goes before the environment, and that before the file.

Times take a unit: 500ms, 10s, 2m.
`)
}
