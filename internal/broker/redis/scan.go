// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
	"tickedge/internal/panics"
)

// scanLimits bound what a pass over the keys asks of Redis.
type scanLimits struct {
	count int64         // Keys that Redis looks at for a page.
	pages int           // Of a pass, all primaries together.
	pause time.Duration // Behind each page, if 4 times as long as it took is not more.
}

// edgeScan is some 50,000 keys a second at most, so a pass over all of its pages takes 7 minutes.
var edgeScan = scanLimits{count: 1000, pages: 20_000, pause: 20 * time.Millisecond}

// List implements [broker.Lister] by SCAN over the keys, on one connection at a time that is not
// that of the feed. In a cluster it goes to one primary after the other. It does not look at what
// is in the keys: TYPE would cost Redis a look-up for each.
//
// The URL's user needs SCAN besides what the source needs.
func (c Config) List(ctx context.Context, each func(topic string) bool) (all bool, err error) {
	err = panics.Try(panics.Feed, func() error {
		all, err = c.list(ctx, edgeScan, each)
		return err
	})
	return all && err == nil, err
}

// Cure implements [broker.Lister].
func (c Config) Cure(err error) string {
	if causeOf(err) == broker.NotPermitted {
		return "permit the Redis user to list keys: ACL SETUSER <user> +scan"
	}
	return hint(err)
}

func (c Config) list(ctx context.Context, limits scanLimits, each func(topic string) bool) (all bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c = c.withDefaults()
	u, err := c.upstream()
	if err != nil {
		return false, err
	}
	key, err := newTemplate("key", c.Key)
	if err != nil {
		return false, err
	}
	servers, err := u.primaries(ctx)
	if err != nil {
		return false, err
	}
	s := scan{limits: limits, key: key, each: each}
	var errs []error
	for _, opts := range servers {
		// A primary that is away does not hide the names of the others.
		all, err := s.server(ctx, opts)
		if err != nil {
			errs = append(errs, err)
		} else if !all {
			return false, errors.Join(errs...)
		}
	}
	return len(errs) == 0, errors.Join(errs...)
}

// primaries are the servers that hold keys, as of now.
func (u *upstream) primaries(ctx context.Context) (all []*goredis.Options, err error) {
	if u.kind != sharded {
		var to target = fixed{u}
		if u.kind == sentinel {
			to = sentinels{u}
		}
		opts, err := to.resolve(ctx)
		return []*goredis.Options{opts}, err
	}
	nodes := &scout{ctx: ctx, upstream: u}
	slots, err := nodes.slots(ctx)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for _, of := range slots {
		if len(of.Nodes) == 0 || seen[of.Nodes[0].Addr] {
			continue
		}
		seen[of.Nodes[0].Addr] = true
		name, where, err := nodes.locate(of.Nodes[0].Addr)
		if err != nil {
			return nil, err
		}
		opts, err := u.at(name, u.opts)
		if err != nil {
			return nil, err
		}
		opts.Addr = where // A certificate is still for the name.
		all = append(all, opts)
	}
	return all, nil
}

// scan is a pass over the keys.
type scan struct {
	limits scanLimits
	key    template
	each   func(topic string) bool
	pages  int // So far.
}

// server looks through one server. It is false if that ended before its end, by a limit or by each.
func (s *scan) server(ctx context.Context, opts *goredis.Options) (all bool, err error) {
	opts.Dialer = dialer(ctx, opts)
	client := newClient(opts)
	defer client.Close()
	pattern, cursor := s.key.glob(), uint64(0)
	for ; s.pages < s.limits.pages; s.pages++ {
		begin := time.Now()
		var keys []string
		if keys, cursor, err = client.Scan(ctx, cursor, pattern, s.limits.count).Result(); err != nil {
			return false, fmt.Errorf("SCAN at %s: %w", opts.Addr, err)
		}
		for _, key := range keys {
			if topic, ok := s.key.topic(key); ok && !s.each(topic) {
				return false, nil
			}
		}
		if cursor == 0 {
			s.pages++
			return true, nil
		}
		if !broker.Sleep(ctx, max(s.limits.pause, 4*time.Since(begin))) {
			return false, context.Cause(ctx)
		}
	}
	return false, nil
}
