// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
)

// login is where users and passwords are from that may change.
type login struct {
	url     string
	renewed *broker.Renewed
}

// now is the URL that was set last, taken apart, or nil if none was, or it is for other servers.
func (l login) now() *upstream {
	url := l.renewed.URL(l.url)
	if url == l.url || !SameServers(url, l.url) {
		return nil
	}
	u, _ := parseURL(url) // It was valid a moment ago.
	return u
}

// SameServers reports whether two URLs are valid, and differ in users and passwords alone.
func SameServers(a, b string) bool {
	p, errA := bare(a)
	q, errB := bare(b)
	return errA == nil && errB == nil && p == q
}

// bare is a URL without users and passwords.
func bare(raw string) (string, error) {
	if _, err := parseURL(raw); err != nil {
		return "", err
	}
	p, err := cutURL(raw)
	p.query.Del(sentinelUser)
	p.query.Del(sentinelPassword)
	return p.scheme + "://" + p.hosts + "/" + p.path + "?" + p.query.Encode(), err
}

// credentials are the user and the password of servers now, for clients of go-redis that last.
func (u *upstream) credentials() (user, password string) {
	if now := u.login.now(); now != nil {
		return now.opts.Username, now.opts.Password
	}
	return u.opts.Username, u.opts.Password
}

// secrets is the veil of all passwords that are shown, or were.
func (u *upstream) secrets() veil {
	v := veil{u.opts.Password}
	if u.sentinelOpts != nil {
		v = append(v, u.sentinelOpts.Password)
	}
	if now := u.login.now(); now != nil {
		v = append(v, now.opts.Password)
	}
	return v
}

// lasting is a veil for a client of go-redis that outlives its passwords.
type lasting struct{ *upstream }

// DialHook implements [goredis.Hook], as do the next two.
func (lasting) DialHook(next goredis.DialHook) goredis.DialHook { return next }

func (l lasting) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error { return l.secrets().ProcessHook(next)(ctx, cmd) }
}

func (l lasting) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		return l.secrets().ProcessPipelineHook(next)(ctx, cmds)
	}
}
