package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/topics"
)

// SourceConfig is one source of a [Config].
type SourceConfig struct {
	// Patterns are those of the topics that the source takes, with * for any run of
	// characters. There are none in the last source.
	Patterns []string
	// URL is where the servers are:
	//
	//	redis://[user:password@]host[:port][/db]                        one server
	//	unix://[user:password@]/path/to/socket[?db=N]                   the same on this host
	//	redis-sentinel://[user:password@]host[:port][,…]/master[/db]    whichever server the sentinels call master
	//	redis-cluster://[user:password@]host[:port][,…]                 all servers of a Redis Cluster
	//
	// rediss in place of redis is TLS, to sentinels too. User and password are those of
	// the servers; sentinels have theirs in the query, sentinel_user and
	// sentinel_password. Timeouts in the query are overruled by Config.Timeout.
	//
	// In a Redis Cluster the channels are those of sharded Pub/Sub, and channel and key
	// of a topic have to be in one slot, which takes hash tags: channel:prices:{{topic}}
	// and price:{{topic}}.
	URL string
}

// ParseSource takes [pattern[,pattern…]=]URL apart. What is wrong with the parts is for
// [Config.Validate] to say.
func ParseSource(s string) SourceConfig {
	// An = behind the :// is part of the URL.
	if at := strings.IndexByte(s, '='); at >= 0 && !strings.Contains(s[:at], "://") {
		return SourceConfig{Patterns: strings.Split(s[:at], ","), URL: s[at+1:]}
	}
	return SourceConfig{URL: s}
}

// String is what [ParseSource] takes, with xxxxx for the passwords.
func (s SourceConfig) String() string {
	text := redact(s.URL)
	if len(s.Patterns) > 0 {
		return scope(s.Patterns) + "=" + text
	}
	return text
}

func redact(raw string) string {
	scheme, userinfo, hosts, rest, ok := cutURL(raw)
	if !ok {
		return "xxxxx"
	}
	if user, _, has := strings.Cut(userinfo, ":"); has {
		userinfo = user + ":xxxxx"
	}
	if userinfo != "" {
		userinfo += "@"
	}
	if path, query, has := strings.Cut(rest, "?"); has {
		v, err := url.ParseQuery(query)
		if err != nil {
			return "xxxxx"
		}
		if v.Has(sentinelPassword) {
			v.Set(sentinelPassword, "xxxxx")
		}
		rest = path + "?" + v.Encode()
	}
	return scheme + "://" + userinfo + hosts + rest
}

// cutURL cuts scheme://userinfo@hosts/rest. Package url does not take several hosts.
func cutURL(raw string) (scheme, userinfo, hosts, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(raw, "://")
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		hosts, rest = rest[:end], rest[end:]
	} else {
		hosts, rest = rest, ""
	}
	if at := strings.LastIndexByte(hosts, '@'); at >= 0 {
		userinfo, hosts = hosts[:at], hosts[at+1:]
	}
	return scheme, userinfo, hosts, rest, ok
}

// kind is what there is at a URL.
type kind uint8

const (
	single kind = iota
	sentinel
	sharded
)

var kinds = map[string]struct {
	kind   kind
	secure bool
	port   string
}{
	"redis-sentinel":  {sentinel, false, "26379"},
	"rediss-sentinel": {sentinel, true, "26379"},
	"redis-cluster":   {sharded, false, "6379"},
	"rediss-cluster":  {sharded, true, "6379"},
}

// The options in the query of a URL with several hosts.
const (
	sentinelUser     = "sentinel_user"
	sentinelPassword = "sentinel_password"
	skipVerify       = "skip_verify"
)

// upstream is a URL taken apart: where the servers of a source are, and how to talk to
// them.
type upstream struct {
	kind kind
	// opts are for every server that holds data; with an address if there is one.
	opts *goredis.Options
	// addrs are the sentinels, or the nodes of a cluster that are asked for the others.
	addrs  []string
	master string           // What the sentinels call the primary.
	guard  *goredis.Options // For the sentinels themselves.
}

var errNoURL = errors.New("redis URL is missing, want for example redis://127.0.0.1:6379")

// errURL stands for every error of the URL's parser, because each of those may
// quote the part of the URL that holds the password.
var errURL = errors.New("redis URL is not valid, want redis://[user:password@]host[:port][/db], " +
	"rediss:// for TLS, unix://[user:password@]/path/to/socket[?db=N], " +
	"redis-sentinel://[user:password@]host:port[,host:port...]/master[/db] or " +
	"redis-cluster://[user:password@]host:port[,host:port...]; " +
	"write special characters in the password as %XX (@ is %40, / is %2F)")

// upstream takes the URL apart.
func (s SourceConfig) upstream(c Config) (*upstream, error) {
	if s.URL == "" {
		return nil, errNoURL
	}
	u, err := parseURL(s.URL)
	if err != nil {
		return nil, err
	}
	tune(u.opts, c)
	if u.guard != nil {
		tune(u.guard, c)
	}
	return u, nil
}

// parseURL takes a URL apart. Its errors do not repeat any of it.
func parseURL(raw string) (*upstream, error) {
	scheme, _, _ := strings.Cut(raw, "://")
	if k, several := kinds[scheme]; several {
		return parseSeveral(raw, k.kind, k.secure, k.port)
	}
	opts, err := goredis.ParseURL(raw)
	if err != nil {
		return nil, errURL
	}
	return &upstream{opts: opts}, nil
}

// parseSeveral takes a URL with several hosts apart.
func parseSeveral(raw string, k kind, secure bool, port string) (*upstream, error) {
	_, userinfo, hosts, rest, _ := cutURL(raw)
	v, err := url.Parse("redis://" + userinfo + "@host" + rest)
	if err != nil || v.Fragment != "" {
		return nil, errURL
	}
	u := &upstream{kind: k, opts: &goredis.Options{}}
	for host := range strings.SplitSeq(hosts, ",") {
		addr, ok := withPort(host, port)
		if !ok {
			return nil, errURL
		}
		u.addrs = append(u.addrs, addr)
	}
	u.opts.Username = v.User.Username()
	u.opts.Password, _ = v.User.Password()
	if secure {
		u.opts.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	query, err := url.ParseQuery(v.RawQuery)
	if err != nil {
		return nil, errURL
	}
	if query.Has(skipVerify) {
		yes, err := strconv.ParseBool(query.Get(skipVerify))
		if err != nil || !secure {
			return nil, fmt.Errorf("redis URL: want %s=true, with TLS, or nothing", skipVerify)
		}
		u.opts.TLSConfig.InsecureSkipVerify = yes
	}
	path := strings.Split(strings.TrimPrefix(v.Path, "/"), "/")
	if k == sentinel {
		if err := u.parseMaster(path); err != nil {
			return nil, err
		}
		u.guard = &goredis.Options{Username: query.Get(sentinelUser), Password: query.Get(sentinelPassword), TLSConfig: u.opts.TLSConfig}
		query.Del(sentinelUser)
		query.Del(sentinelPassword)
	} else if v.Path != "" && v.Path != "/" {
		return nil, errors.New("redis-cluster URL: want nothing behind the hosts: a Redis Cluster has no databases")
	}
	if query.Del(skipVerify); len(query) > 0 {
		return nil, fmt.Errorf("redis URL: want no options but %s, and for sentinels %s and %s", skipVerify, sentinelUser, sentinelPassword)
	}
	return u, nil
}

const masterChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_"

func (u *upstream) parseMaster(path []string) (err error) {
	// Sentinels take no other names. An @ shows that a password was cut in two by its /.
	if path[0] == "" || len(path) > 2 || strings.Trim(path[0], masterChars) != "" {
		return errors.New("redis-sentinel URL: want the master's name and at most a database behind the hosts, " +
			"for example redis-sentinel://host:26379/mymaster/0")
	}
	u.master = path[0]
	if len(path) == 2 {
		if u.opts.DB, err = strconv.Atoi(path[1]); err != nil || u.opts.DB < 0 {
			return errors.New("redis-sentinel URL: want a number as the database")
		}
	}
	return nil
}

// withPort returns host:port of a host with or without one.
func withPort(host, port string) (string, bool) {
	if h, p, err := net.SplitHostPort(host); err == nil {
		host, port = h, p
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" || strings.ContainsAny(host, "[]/ ") || strings.Contains(host, ":") && net.ParseIP(host) == nil {
		return "", false
	}
	return net.JoinHostPort(host, port), true
}

// at returns the options for the server at addr.
func (u *upstream) at(addr string) *goredis.Options { return at(u.opts, addr) }

func at(o *goredis.Options, addr string) *goredis.Options {
	to := *o
	to.Addr = addr
	if o.TLSConfig != nil {
		to.TLSConfig = o.TLSConfig.Clone()
		to.TLSConfig.ServerName, _, _ = net.SplitHostPort(addr)
	}
	return &to
}

// validateSources looks at all that concerns the sources.
func (c Config) validateSources() (errs []error) {
	if len(c.Sources) == 0 {
		return []error{errNoURL}
	}
	if len(c.Sources) > topics.SourcesMax {
		return []error{fmt.Errorf("redis sources are %d, want at most %d", len(c.Sources), topics.SourcesMax)}
	}
	bad := func(i int, err error) {
		if len(c.Sources) > 1 {
			err = fmt.Errorf("redis source %d: %w", i+1, err)
		}
		errs = append(errs, err)
	}
	seen := make(map[string]bool)
	secure, clustered := false, false
	for i, s := range c.Sources {
		u, err := s.upstream(c)
		if err != nil {
			bad(i, err)
		} else {
			secure = secure || u.opts.TLSConfig != nil
			clustered = clustered || u.kind == sharded
		}
		for _, p := range s.Patterns {
			if err := checkPattern(p); err != nil {
				bad(i, err)
			} else if seen[p] {
				bad(i, fmt.Errorf("pattern %q is there already: the first source that it matches takes a topic", p))
			}
			seen[p] = true
		}
		if len(scope(s.Patterns)) > scopeMax {
			bad(i, fmt.Errorf("its patterns have %d bytes together, want at most %d", len(scope(s.Patterns)), scopeMax))
		}
		switch last := i == len(c.Sources)-1; {
		case last && len(s.Patterns) > 0:
			bad(i, errors.New("the last redis source has to be without patterns, and takes the topics that no other does"))
		case !last && len(s.Patterns) == 0:
			bad(i, errors.New("only the last redis source may be without patterns: want for example fx:*,crypto:*=redis://host:6379"))
		}
	}
	if clustered {
		errs = append(errs, c.validateCluster())
	}
	return append(errs, c.TLS.validate(secure)...)
}

// scopeMax bounds the patterns of a source. Clients are told of them in one message, which
// may have 64 KiB.
const scopeMax = 32 << 10

// checkPattern returns what is wrong with a pattern of topics, or nil.
func checkPattern(p string) error {
	literal := strings.ReplaceAll(p, "*", "")
	switch {
	case p == "":
		return errors.New("a pattern of topics is empty: want for example fx:*,crypto:*=URL")
	case literal == "":
		return errors.New(`pattern "*" takes all topics: leave it out, and put the source last`)
	case !topics.ValidName(literal):
		// It is not repeated: it may be part of a URL with a password.
		return errors.New("a pattern of topics is not valid: want A-Z a-z 0-9 . _ : / - and * for any run of characters")
	}
	return nil
}

// validateCluster looks at what a Redis Cluster needs.
func (c Config) validateCluster() error {
	if c.Mode != ModeChannel {
		return fmt.Errorf("redis mode is %q: a Redis Cluster takes %s only", c.Mode, ModeChannel)
	}
	channel, err := newTemplate("channel", c.Channel)
	if err != nil {
		return nil // It is said elsewhere.
	}
	key, err := newTemplate("key", c.Key)
	if err != nil {
		return nil
	}
	// No template holds this byte, so what is alike with it is alike with any topic.
	const topic = "\x00"
	if hashTag(channel.name(topic)) != hashTag(key.name(topic)) {
		return fmt.Errorf("redis channel is %q and redis key is %q: in a Redis Cluster both have to be in one slot, "+
			"want hash tags, for example channel:prices:{{topic}} and price:{{topic}}", c.Channel, c.Key)
	}
	return nil
}
