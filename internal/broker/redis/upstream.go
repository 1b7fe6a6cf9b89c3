// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// redact returns a URL without its passwords, and nothing of one that is not valid: there is no
// telling where in it a password is.
func redact(raw string) string {
	p, err := cutURL(raw)
	if err == nil {
		_, err = parseURL(raw)
	}
	if err != nil {
		return "xxxxx"
	}
	u := url.URL{Scheme: p.scheme, Host: p.hosts, Path: p.path}
	if p.password != "" {
		u.User = url.UserPassword(p.user, "xxxxx")
	}
	if p.query.Has(sentinelPassword) {
		p.query.Set(sentinelPassword, "xxxxx")
	}
	u.RawQuery = p.query.Encode()
	return u.String()
}

// kind is what there is at a URL.
type kind uint8

const (
	single kind = iota
	sentinel
	sharded
)

// kinds are what the schemes stand for, and the port where a host has none.
var kinds = map[string]struct {
	kind   kind
	secure bool
	port   string
}{
	"redis":           {single, false, "6379"},
	"rediss":          {single, true, "6379"},
	"redis-sentinel":  {sentinel, false, "26379"},
	"rediss-sentinel": {sentinel, true, "26379"},
	"redis-cluster":   {sharded, false, "6379"},
	"rediss-cluster":  {sharded, true, "6379"},
}

// schemeUnix is that of a socket.
const schemeUnix = "unix"

func isScheme(s string) bool { return kinds[s].port != "" || s == schemeUnix }

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
	login        login
}

// upstream takes the URL apart.
func (c Config) upstream() (*upstream, error) {
	if c.URL == "" {
		return nil, errors.New("redis URL is missing, want for example redis://127.0.0.1:6379")
	}
	u, err := parseURL(c.URL)
	if err != nil {
		return nil, err
	}
	u.tls, u.login = c.TLS, login{c.URL, c.Renewed}
	tune(u.opts, c)
	if u.sentinelOpts != nil {
		tune(u.sentinelOpts, c)
	}
	return u, nil
}

// parseURL takes a URL apart. Its errors do not repeat any of it.
func parseURL(raw string) (*upstream, error) {
	p, err := cutURL(raw)
	if err != nil {
		return nil, err
	}
	u := &upstream{kind: kinds[p.scheme].kind}
	if u.kind == single {
		err = u.parseSingle(p)
	} else {
		err = u.parseSeveral(p)
	}
	if err != nil {
		return nil, err
	}
	u.opts.Username, u.opts.Password = p.user, p.password
	return u, nil
}

// parseSingle takes the URL of one server. go-redis, which knows its options, gets to see it
// without user and password.
func (u *upstream) parseSingle(p place) (err error) {
	bare := url.URL{Scheme: p.scheme, Path: p.path, RawQuery: p.query.Encode()}
	if p.scheme == schemeUnix {
		if p.hosts != "" || p.path == "" {
			return errURL
		}
	} else {
		if strings.Contains(p.hosts, ",") {
			return errors.New("redis URL is not valid: there are several hosts, want redis-sentinel:// or redis-cluster://, " +
				"or a -redis for each server")
		}
		var ok bool
		// As in other clients, a URL without a host is of this one.
		if bare.Host, ok = withPort(cmp.Or(p.hosts, "localhost"), kinds[p.scheme].port); !ok && p.hosts[0] == ':' {
			bare.Host, ok = withPort("localhost"+p.hosts, "")
		}
		if !ok {
			return errHost
		}
	}
	if u.opts, err = goredis.ParseURL(bare.String()); err != nil && len(p.query) > 0 {
		return errors.New("redis URL is not valid: an option behind the ? is not known, or its value is wrong; want for example ?db=3")
	} else if err != nil {
		return errDB
	}
	if u.opts.DB < 0 || p.scheme != schemeUnix && strings.Trim(p.path, "/") != "" && p.query.Has("db") {
		return errDB
	}
	return nil
}

// parseSeveral takes a URL with several hosts.
func (u *upstream) parseSeveral(p place) (err error) {
	k := kinds[p.scheme]
	u.opts = &goredis.Options{}
	for host := range strings.SplitSeq(p.hosts, ",") {
		addr, ok := withPort(host, k.port)
		if !ok {
			return errHost
		}
		u.addrs = append(u.addrs, addr)
	}
	if k.secure {
		u.opts.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if p.query.Has(skipVerify) {
		yes, err := strconv.ParseBool(p.query.Get(skipVerify))
		if err != nil || !k.secure {
			return fmt.Errorf("redis URL: want %s=true, with TLS, or nothing", skipVerify)
		}
		u.opts.TLSConfig.InsecureSkipVerify = yes
	}
	known := []string{skipVerify}
	if u.kind == sentinel {
		known = append(known, sentinelUser, sentinelPassword)
		err = u.parseSentinels(p)
	} else if p.path != "" && p.path != "/" {
		err = errors.New("redis-cluster URL: want nothing behind the hosts: a Redis Cluster has no databases")
	}
	for option := range p.query {
		if !slices.Contains(known, option) {
			err = fmt.Errorf("redis URL: want no options but %s, and for sentinels %s and %s. If a password is cut in two write & as %%26",
				skipVerify, sentinelUser, sentinelPassword)
		}
	}
	return err
}

// parseSentinels takes what only sentinels have.
func (u *upstream) parseSentinels(p place) error {
	o := &goredis.Options{Username: p.query.Get(sentinelUser), Password: p.query.Get(sentinelPassword), TLSConfig: u.opts.TLSConfig}
	if o.Username != "" && o.Password == "" {
		return fmt.Errorf("redis URL: there is a %s without a %s", sentinelUser, sentinelPassword)
	}
	u.sentinelOpts = o
	return u.parseMaster(strings.Split(strings.TrimPrefix(p.path, "/"), "/"))
}

const masterChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_"

func (u *upstream) parseMaster(path []string) (err error) {
	// Sentinels take no other names.
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

// withPort returns host:port of a host with or without one. An address of IPv6 has brackets, as
// its last part can't be told from a port.
func withPort(host, port string) (string, bool) {
	switch h, p, err := net.SplitHostPort(host); {
	case err == nil:
		host, port = h, p
	case strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]"):
		host = host[1 : len(host)-1]
	case strings.Contains(host, ":"):
		return "", false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || !isHost(host) {
		return "", false
	}
	return net.JoinHostPort(host, port), true
}

// at returns o for the server at addr, or for that of the URL if it is "", with what the files
// for TLS hold now, and the user that there is now.
func (u *upstream) at(addr string, o *goredis.Options) (*goredis.Options, error) {
	to := *o
	if now := u.login.now(); now != nil && o == u.sentinelOpts {
		to.Username, to.Password = now.sentinelOpts.Username, now.sentinelOpts.Password
	} else if now != nil {
		to.Username, to.Password = now.opts.Username, now.opts.Password
	}
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
