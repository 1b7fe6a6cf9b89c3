package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"tickedge/internal/resp"
)

// What holds where a [Config] says nothing. The names are those of feeds that exist.
const (
	DefaultChannel = "channel:prices:{topic}"
	DefaultKey     = "price:{topic}"
	DefaultTimeout = 5 * time.Second
)

// timeoutMin keeps the pings of a connection, three per timeout, below 30 a second.
const timeoutMin = 100 * time.Millisecond

// Config says where ticks come from and how topics are named there.
type Config struct {
	// Sources are where the topics are. The last has no patterns and takes what no other
	// does.
	Sources []SourceConfig
	// Channel is the Pub/Sub channel of a topic, with {topic} in the topic's place.
	// The default is [DefaultChannel]. In a Redis Cluster it needs a hash tag, see
	// [SourceConfig].
	Channel string
	// Key holds the newest value of a topic. The default is [DefaultKey].
	Key string
	// Mode is how ticks come. The default is [ModeChannel].
	Mode Mode
	// Stream is the key of the stream that [ModeStream] reads.
	Stream string
	// Timeout is the silence after which a connection is taken for dead, and bounds
	// every connect, read and write. The default is [DefaultTimeout]. Pings are sent
	// at a third of it, and each second at least. Raise it if Redis pauses longer than
	// that, for a script or a failover.
	Timeout time.Duration
	// TLS is what connections to rediss:// addresses use besides the system's
	// authorities.
	TLS TLSFiles
	// VersionField is where values have a version, a member's name or a path of several
	// such as meta.seq: a decimal number, or a string that holds one. Ticks whose version
	// is below that of the topic's row are dropped, and so are values without one. "" if
	// values have none.
	VersionField string
}

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

// At returns a config of one source, with the default of everything else.
func At(url string) Config { return Config{Sources: []SourceConfig{{URL: url}}} }

// Validate returns all that is wrong with c, or nil. It never repeats a URL, which
// may hold a password.
func (c Config) Validate() error {
	c = c.withDefaults()
	errs := c.validateSources()
	_, channelErr := newTemplate("channel", c.Channel)
	_, keyErr := newTemplate("key", c.Key)
	errs = append(errs, channelErr, keyErr)
	switch c.Mode {
	case ModeChannel, ModePattern:
		if c.Stream != "" {
			errs = append(errs, fmt.Errorf("the redis stream is %q, but the mode is %s: want mode stream, or no stream", c.Stream, c.Mode))
		}
	case ModeStream:
		if c.Stream == "" {
			errs = append(errs, errors.New("redis stream is missing, want the key of the stream in mode stream, for example ticks"))
		}
	default:
		errs = append(errs, fmt.Errorf("redis mode is %q, want channel, pattern or stream", c.Mode))
	}
	if c.VersionField != "" && !validVersionField(c.VersionField) {
		errs = append(errs, fmt.Errorf("tick version field is %q: %w", c.VersionField, errVersionField))
	}
	if c.Timeout < timeoutMin {
		errs = append(errs, fmt.Errorf("redis timeout is %v, want 0 (%v) or at least %v", c.Timeout, DefaultTimeout, timeoutMin))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.Channel == "" {
		c.Channel = DefaultChannel
	}
	if c.Key == "" {
		c.Key = DefaultKey
	}
	if c.Mode == "" {
		c.Mode = ModeChannel
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	return c
}

// poolSize is far above the one connection that a client uses. It is also the number
// of failed dials after which go-redis starts to dial from a goroutine of its own,
// which Close does not wait for.
const poolSize = 1000

// tune sets what holds for every connection, whatever the URL says.
func tune(o *goredis.Options, c Config) {
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = c.Timeout, c.Timeout, c.Timeout
	o.ContextTimeoutEnabled = true
	// Retries are ours: every one has to know whether its work is still wanted.
	o.MaxRetries, o.DialerRetries = -1, 1
	// RESP2 and nothing else: whatever is asked of the server beyond the commands of
	// the feed is one thing more that an old server or a proxy may refuse.
	o.Protocol = 2
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.PoolSize, o.PipelinePoolSize, o.MinIdleConns = poolSize, -1, 0
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// dialer returns a dialer for o for whatever go-redis reads from. The connections close
// when ctx ends. That is what ends a read or write in progress: go-redis looks at a context
// before and after those, not during them.
func dialer(ctx context.Context, o *goredis.Options) dialFunc {
	return filtered(bareDialer(ctx, o), resp.Follower{})
}

// bareDialer is dialer for whoever reads with care himself.
func bareDialer(ctx context.Context, o *goredis.Options) dialFunc {
	d := &net.Dialer{Timeout: o.DialTimeout}
	dial := d.DialContext
	if o.TLSConfig != nil {
		cfg := o.TLSConfig
		if host, _, err := net.SplitHostPort(o.Addr); err == nil && cfg.ServerName == "" {
			cfg = cfg.Clone() // What is dialled later may be the address without its name.
			cfg.ServerName = host
		}
		dial = (&tls.Dialer{NetDialer: d, Config: cfg}).DialContext
	}
	return func(_ context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		return &tiedConn{Conn: conn, stop: stop}, nil
	}
}

// tiedConn is a connection that a context closes.
type tiedConn struct {
	net.Conn
	stop func() bool
}

func (c *tiedConn) Close() error {
	c.stop()
	return c.Conn.Close()
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
func (t template) glob() string {
	literal := strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`)
	return literal.Replace(t.prefix) + "*" + literal.Replace(t.suffix)
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
	if l.log.Enabled(ctx, slog.LevelDebug) {
		l.log.DebugContext(ctx, "go-redis", "text", fmt.Sprintf(format, v...))
	}
}

// routeLog sends the messages of go-redis to log. There is one destination in the
// process, so the last caller decides.
func routeLog(log *slog.Logger) { goredis.SetLogger(redisLog{log}) }
