// SPDX-License-Identifier: Apache-2.0

// Package redis is Redis as a broker: a source in all its kinds, and a publisher. It alone knows
// go-redis.
package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
)

// What holds where a [Config] says nothing. The names are those of feeds that exist.
const (
	DefaultChannel = "channel:prices:{topic}"
	DefaultKey     = "price:{topic}"
	DefaultTimeout = 5 * time.Second
	// DefaultEntries are minutes of a common market, in some 10 MB of Redis.
	DefaultEntries = 100_000
)

// timeoutMin keeps the pings of a connection, three per timeout, below 30 a second.
const timeoutMin = 100 * time.Millisecond

// Config is one source, or one publisher: where the servers are, and how topics are named there.
type Config struct {
	// URL is where the servers are:
	//
	//	redis://[user:password@]host[:port][/db]                        one server
	//	unix://[user:password@]/path/to/socket[?db=N]                   the same on this host
	//	redis-sentinel://[user:password@]host[:port][,…]/master[/db]    whichever server the sentinels call master
	//	redis-cluster://[user:password@]host[:port][,…]                 all servers of a Redis Cluster
	//
	// rediss in place of redis is TLS, to sentinels too. User and password are those of
	// the servers; sentinels have theirs in the query, sentinel_user and
	// sentinel_password. Timeouts in the query are overruled by Timeout.
	//
	// In a Redis Cluster the channels are those of sharded Pub/Sub, and channel and key
	// of a topic have to be in one slot, which takes hash tags: channel:prices:{{topic}}
	// and price:{{topic}}.
	URL string
	// Channel is the Pub/Sub channel of a topic, with {topic} in the topic's place.
	// The default is [DefaultChannel]. In a Redis Cluster it needs a hash tag.
	Channel string
	// Key holds the newest value of a topic. The default is [DefaultKey].
	Key string
	// Mode is how ticks come. The default is [ModeChannel].
	Mode Mode
	// Stream is the key of the stream that [ModeStream] reads.
	Stream string
	// Entries is about how many entries of the stream a publisher keeps. The default is
	// [DefaultEntries].
	Entries int
	// Timeout is the silence after which a connection is taken for dead, and bounds
	// every connect, read and write. The default is [DefaultTimeout]. Pings are sent
	// at a third of it, and each second at least. Raise it if Redis pauses longer than
	// that, for a script or a failover.
	Timeout time.Duration
	// TLS is what connections to rediss:// addresses use besides the system's
	// authorities.
	TLS TLSFiles
	// Renewed may have a URL with another user and password than URL has. Nil has none.
	Renewed *broker.Renewed
}

// String is the URL, with xxxxx for the passwords.
func (c Config) String() string { return redact(c.URL) }

// Mode is a way in which ticks come from Redis.
type Mode string

const (
	// ModeChannel subscribes to the channel of each topic that somebody wants.
	ModeChannel Mode = "channel"
	// ModePattern subscribes to the channels of all topics with one pattern, for feeds of
	// which most topics are wanted. Those that nobody wants are thrown away.
	ModePattern Mode = "pattern"
	// ModeStream reads the entries of one Redis Stream, for those who need no loss between
	// Redis and the edge.
	ModeStream Mode = "stream"
)

// IsURL reports whether a URL is one for this package, right or wrong.
func IsURL(url string) bool {
	scheme, _, ok := strings.Cut(url, "://")
	return ok && isScheme(strings.ToLower(scheme))
}

// ValidateURL returns what is wrong with the URL, or nil. It never repeats it, as it may hold a password.
func (c Config) ValidateURL() error {
	_, err := c.upstream()
	return err
}

// Validate returns all that is wrong with c, or nil.
func (c Config) Validate() error { return errors.Join(c.ValidateURL(), ValidateSettings(c)) }

// ValidateSettings returns all that is wrong with the sources of one feed beside their URLs, or nil. What is
// wrong with several is said once, and files for TLS may be given to all if one of them has a use for them.
func ValidateSettings(sources ...Config) error {
	var errs []error
	said := map[string]bool{}
	say := func(err error) {
		if err != nil && !said[err.Error()] {
			said[err.Error()] = true
			errs = append(errs, err)
		}
	}
	secure := false
	for _, c := range sources {
		u, err := c.upstream()
		secure = secure || err == nil && u.opts.TLSConfig != nil
	}
	for _, c := range sources {
		for _, err := range append(c.validate(), c.TLS.validate(secure)...) {
			say(err)
		}
	}
	return errors.Join(errs...)
}

// validate returns what is wrong with all but URL and files, with nil errors among it.
func (c Config) validate() []error {
	c = c.withDefaults()
	var modeErr, timeoutErr error
	switch known := c.Mode == ModeChannel || c.Mode == ModePattern || c.Mode == ModeStream; {
	case !known:
		modeErr = fmt.Errorf("redis mode is %q, want channel, pattern or stream", c.Mode)
	case c.Mode != ModeStream && c.Stream != "":
		modeErr = fmt.Errorf("the redis stream is %q, but the mode is %s: want mode stream, or no stream", c.Stream, c.Mode)
	case c.Mode == ModeStream && c.Stream == "":
		modeErr = errors.New("redis stream is missing, want the key of the stream in mode stream, for example ticks")
	}
	if c.Timeout < timeoutMin {
		timeoutErr = fmt.Errorf("redis timeout is %v, want 0 (%v) or at least %v", c.Timeout, DefaultTimeout, timeoutMin)
	}
	_, channelErr := newTemplate("channel", c.Channel)
	_, keyErr := newTemplate("key", c.Key)
	return []error{c.validateCluster(), channelErr, keyErr, modeErr, timeoutErr}
}

func (c Config) withDefaults() Config {
	c.Channel = cmp.Or(c.Channel, DefaultChannel)
	c.Key = cmp.Or(c.Key, DefaultKey)
	c.Mode = cmp.Or(c.Mode, ModeChannel)
	c.Entries = cmp.Or(c.Entries, DefaultEntries)
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	return c
}

// shared is what all servers of a source have in common.
type shared struct {
	cfg     Config
	channel template // The Pub/Sub channel of a topic.
	key     template // The key of a topic's newest value.
	owner   broker.Owner
	log     *slog.Logger

	refusedLog      [broker.Causes]rarely
	mendedLog       rarely
	keptLog         rarely
	patternLog      rarely // Of patterns, as refusedLog and keptLog are of topics,
	patternsKeptLog rarely
	wideLog         rarely // and of those in whose place that of all topics is.
}

// Source implements [broker.Config].
func (c Config) Source(owner broker.Owner, log *slog.Logger) (broker.Source, error) {
	c = c.withDefaults()
	u, err := c.upstream()
	if err = errors.Join(append(c.validate(), err)...); err != nil {
		return nil, err
	}
	sh := &shared{cfg: c, owner: owner, log: log}
	sh.channel, _ = newTemplate("channel", c.Channel) // Valid, as all is.
	sh.key, _ = newTemplate("key", c.Key)
	var to target = fixed{u}
	switch u.kind {
	case sentinel:
		to = sentinels{u}
	case sharded:
		return newCluster(sh, u), nil
	}
	switch c.Mode {
	case ModeStream:
		return newStream(sh, to), nil
	case ModePattern:
		return newServer(sh, to, patterns, owner.SetUp), nil
	}
	return newServer(sh, to, channels, owner.SetUp), nil
}

const (
	// connFiles is how many descriptors one connection takes. While it is dialled, two
	// sockets look its name up, and then two may try addresses of both families (RFC 8305).
	connFiles = 2
	// linkConns are those of a link: one for messages, and one for values.
	linkConns = 2
	// clusterNodes is how many primaries of a cluster are counted. How many there are is
	// not in the configuration, and few clusters have more than a dozen.
	clusterNodes = 64
)

// Files implements [broker.Config], with up to [clusterNodes] primaries of a cluster. A source
// that is not valid counts nothing.
func (c Config) Files() int {
	u, err := c.upstream()
	if err != nil {
		return 0
	}
	conns := linkConns
	switch u.kind {
	case sentinel:
		conns += len(u.addrs) + 1 // All are asked at once, and the server for its role.
	case sharded:
		conns = linkConns*max(clusterNodes, len(u.addrs)) + askNodesMax
	}
	return conns * connFiles
}

// template names one thing per topic: a channel or a key.
type template struct{ prefix, suffix string }

const placeholder = "{topic}"

// templateMax bounds what is around a topic. Redis tells the names of channels back, and what
// reads them has a bound too ([resp.NameMax]).
const templateMax = 1 << 10

func newTemplate(what, s string) (template, error) {
	prefix, suffix, ok := strings.Cut(s, placeholder)
	if !ok || strings.Contains(suffix, placeholder) {
		return template{}, fmt.Errorf("redis %s is %q, want %s in it exactly once", what, s, placeholder)
	}
	if len(s) > templateMax {
		return template{}, fmt.Errorf("redis %s has %d bytes, want at most %d", what, len(s), templateMax)
	}
	return template{prefix, suffix}, nil
}

func (t template) name(topic string) string { return t.prefix + topic + t.suffix }

// glob is a pattern, as Redis has them, of the names of all topics. It may match others
// too.
func (t template) glob() string { return t.globOf("") }

// globOf is the same for topics that begin with a prefix.
func (t template) globOf(prefix string) string {
	literal := strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`)
	return literal.Replace(t.prefix+prefix) + "*" + literal.Replace(t.suffix)
}

// topic cuts the topic out of a name. It does not allocate.
func (t template) topic(name string) (string, bool) {
	if len(name) < len(t.prefix)+len(t.suffix) ||
		!strings.HasPrefix(name, t.prefix) || !strings.HasSuffix(name, t.suffix) {
		return "", false
	}
	return name[len(t.prefix) : len(name)-len(t.suffix)], true
}

// redisLog takes what go-redis itself has to say to debug: whatever of it matters
// comes back as an error too.
type redisLog struct{ log *slog.Logger }

func (l redisLog) Printf(ctx context.Context, format string, v ...any) {
	if !l.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	args := slices.Clone(v)
	for i, a := range args {
		if err, is := a.(error); is {
			args[i] = ownWords(err)
		}
	}
	l.log.DebugContext(ctx, "go-redis", "text", conceal(fmt.Sprintf(format, args...)))
}

// RouteLog sends the messages of go-redis to log. There is one destination in the
// process, so the last caller decides.
func RouteLog(log *slog.Logger) { goredis.SetLogger(redisLog{log}) }
