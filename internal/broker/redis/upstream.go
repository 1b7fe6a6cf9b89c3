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
)

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
	addrs        []string
	master       string           // What the sentinels call the primary.
	sentinelOpts *goredis.Options // For the sentinels themselves.
	tls          TLSFiles
}

// errURL stands for every error of the URL's parser, because each of those may
// quote the part of the URL that holds the password.
var errURL = errors.New("redis URL is not valid, want redis://[user:password@]host[:port][/db], " +
	"rediss:// for TLS, unix://[user:password@]/path/to/socket[?db=N], " +
	"redis-sentinel://[user:password@]host:port[,host:port...]/master[/db] or " +
	"redis-cluster://[user:password@]host:port[,host:port...]; " +
	"write special characters in the password as %XX (@ is %40, / is %2F)")

// upstream takes the URL apart.
func (c Config) upstream() (*upstream, error) {
	if c.URL == "" {
		return nil, errors.New("redis URL is missing, want for example redis://127.0.0.1:6379")
	}
	u, err := parseURL(c.URL)
	if err != nil {
		return nil, err
	}
	u.tls = c.TLS
	tune(u.opts, c)
	if u.sentinelOpts != nil {
		tune(u.sentinelOpts, c)
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
		u.sentinelOpts = &goredis.Options{Username: query.Get(sentinelUser), Password: query.Get(sentinelPassword), TLSConfig: u.opts.TLSConfig}
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

// at returns o for the server at addr, or for that of the URL if it is "", with what the files
// for TLS hold now.
func (u *upstream) at(addr string, o *goredis.Options) (*goredis.Options, error) {
	to := *o
	if o.TLSConfig != nil {
		to.TLSConfig = o.TLSConfig.Clone()
		if err := u.tls.load(to.TLSConfig); err != nil {
			return nil, err
		}
	}
	if addr != "" {
		to.Addr = addr
		if to.TLSConfig != nil {
			to.TLSConfig.ServerName, _, _ = net.SplitHostPort(addr)
		}
	}
	return &to, nil
}

// validateCluster looks at what a Redis Cluster needs, if the source is one.
func (c Config) validateCluster() error {
	if u, err := c.upstream(); err != nil || u.kind != sharded {
		return nil
	}
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
