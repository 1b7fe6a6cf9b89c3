// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/flags"
	"tickedge/internal/panics"
	"tickedge/internal/topics"
)

// revokedLook is how often the topic of revoked tokens is looked at. What the table has of it is the newest value, by its version.
const revokedLook = 250 * time.Millisecond

// validateRevoked looks at the flags of revoked tokens, and reads the file. The names of the edges themselves are the only ones that
// no client has, whatever its token says.
func (c *Config) validateRevoked() error {
	var errs problems
	if c.revokedFile != "" {
		if err := auth.CheckRevokedFile(c.revokedFile); err != nil {
			errs.bad("-jwt-revoked-file %s: %w", flags.Quote(c.revokedFile), err)
		}
	}
	if name := c.revokedTopic; name != "" &&
		(!topics.ValidName(name) || !strings.HasPrefix(name, topics.Reserved) || len(name) == len(topics.Reserved) || name == controlTopic) {
		errs.bad("-jwt-revoked-topic is %s, want a name that no client can have: %s and more, such as %srevoked, and not %s",
			flags.Quote(name), topics.Reserved, topics.Reserved, controlTopic)
	}
	return errors.Join(errs...)
}

// loadRevoked reads the file of revoked tokens, before anybody is let in.
func (e *edge) loadRevoked() error {
	if e.cfg.revokedFile == "" && e.cfg.revokedTopic == "" {
		return nil
	}
	e.revoked = auth.NewRevocations()
	if path := e.cfg.revokedFile; path != "" {
		if _, err := e.revoked.ReadFile(path, time.Now()); err != nil {
			return fmt.Errorf("-jwt-revoked-file %s: %w", flags.Quote(path), err)
		}
	}
	e.cfg.tokens.Revoked = e.revoked
	return nil
}

// startRevoked keeps the lists up to date, and ends the connections whose tokens are in them.
func (e *edge) startRevoked() error {
	if e.revoked == nil {
		return nil
	}
	keep := func(f func(context.Context)) {
		e.working.Go(func() { panics.Keep(e.work, panics.Tokens, e.log, f) })
	}
	if path := e.cfg.revokedFile; path != "" {
		keep(func(ctx context.Context) { e.revoked.WatchFile(ctx, path, e.log) })
	}
	if name := e.cfg.revokedTopic; name != "" {
		id, err := e.table.AcquireKnown([]byte(name), 0)
		if err != nil {
			return err
		}
		e.revokedTopic.name, e.revokedTopic.id = name, id
		keep(e.watchRevoked)
	}
	keep(e.endRevoked)
	return nil
}

// endRevoked ends connections whenever a list has changed.
func (e *edge) endRevoked(ctx context.Context) {
	for ctx.Err() == nil {
		changed := e.revoked.Changed()
		if ended, _ := e.server.EndRevoked(ctx); ended > 0 {
			e.log.Info("connections were ended whose tokens are revoked", "connections", ended)
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// revokedTopic is the topic of revoked tokens, as it was looked at last.
type revokedTopic struct {
	name  string
	id    topics.ID
	seq   uint64
	value string
	good  bool // The value is a list.
	told  bool // The log says that a newer one was dropped.

	dropped atomic.Uint64 // One more than the watermark when a value was dropped last; 0 is never. Written by the feed.
}

// droppedRevoked notes that a value was dropped that was to be the list: it is no JSON, or too long.
func (e *edge) droppedRevoked(topic string) {
	if topic == e.cfg.revokedTopic {
		e.revokedTopic.dropped.Store(e.table.Watermark() + 1)
	}
}

func (e *edge) watchRevoked(ctx context.Context) {
	look := time.NewTicker(revokedLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			e.lookAtRevoked(&e.revokedTopic)
		}
	}
}

// lookAtRevoked takes a newer value. While the broker is away, and where it has none, or one that is no list, the last one stays.
func (e *edge) lookAtRevoked(t *revokedTopic) {
	if row := e.table.Row(t.id); row != nil && row.Seq != t.seq {
		t.seq = row.Seq
		if value := string(row.Value()); value != t.value {
			t.value = value
			err := e.revoked.TakeValue(value)
			if t.good = err == nil; t.good {
				ids, users := e.revoked.Entries(auth.RevokedTopic)
				e.log.Info("the topic of revoked tokens was read", "topic", t.name, "jti", ids, "sub", users)
			} else {
				e.log.Error("the topic of revoked tokens can't be taken: the list that was read before it stays", "topic", t.name, "error", err,
					"hint", "publish the whole list, which may be empty")
			}
		}
	}
	newer := t.dropped.Load() > t.seq // A value that was dropped behind it is in no row.
	if newer && !t.told {
		e.log.Error("the topic of revoked tokens can't be taken: the list that was read before it stays", "topic", t.name,
			"error", "its value was dropped, see the line of the feed", "hint", "publish the whole list as JSON of at most 4096 bytes; a longer one belongs in -jwt-revoked-file")
	}
	t.told = newer
	e.revoked.SetCurrent(auth.RevokedTopic, t.good && !newer && e.table.SourceUp(t.name))
}

// revokedMetrics are those of revoked tokens.
var revokedMetrics = []metric{
	{"revoked_tokens", "Entries of the lists of revoked tokens, by what they name.", "kind", ofRevoked(func(s *auth.RevokedStats, _ *Config, to sink) {
		to.put(float64(s.IDs), "jti")
		to.put(float64(s.Users), "sub")
	})},
	{"revoked_list_current", "1 while a list of revoked tokens is the newest that there is, and 0 while an older one has to do.", "list",
		ofRevoked(func(s *auth.RevokedStats, c *Config, to sink) {
			if c.revokedFile != "" {
				to.put(oneIf(s.Current[auth.RevokedFile]), "file")
			}
			if c.revokedTopic != "" {
				to.put(oneIf(s.Current[auth.RevokedTopic]), "topic")
			}
		})},
}

// ofRevoked reads a metric that there is with a list of revoked tokens.
func ofRevoked(read func(s *auth.RevokedStats, c *Config, to sink)) func(*scrape, sink) {
	return func(s *scrape, to sink) {
		if s.revoked != nil {
			stats := s.revoked.Stats()
			read(&stats, s.cfg, to)
		}
	}
}
