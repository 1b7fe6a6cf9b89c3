// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/feed"
	"tickedge/internal/logtest"
	"tickedge/internal/topics"
)

// TestMain lets more tests run side by side than there are processors: those of failovers
// wait for Redis nearly all of their time.
func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "4")
	os.Exit(m.Run())
}

// secret is the password in every test that has one. It must not come out anywhere.
const secret = "open-sesame"

// newLog returns a logger for everything that a test can read, and that must not hold
// the password.
func newLog(t testing.TB) (*slog.Logger, *logtest.Log) {
	log, l := logtest.New(t)
	RouteLog(log)
	t.Cleanup(func() {
		if l.Count(secret) > 0 {
			t.Error("the log holds the password")
		}
	})
	return log, l
}

// config is a Config, and what else a feed is told of its source.
type config struct {
	Config
	VersionField string
	made         broker.Source // Once a feed has it made.
}

// At is a config of one source, with the default of everything else.
func At(url string) config { return config{Config: Config{URL: url}} }

// Source implements [broker.Config].
func (c *config) Source(o broker.Owner, log *slog.Logger) (s broker.Source, err error) {
	c.made, err = c.Config.Source(o, log)
	return c.made, err
}

// feed returns a feed into table, from a source that is made already.
func (c *config) feed(t testing.TB, table *topics.Table, log *slog.Logger) *feed.Feed {
	t.Helper()
	f, err := feed.New(feed.Config{{VersionField: c.VersionField, Broker: c}}, table, log)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// server is the server of the source, nil if that is no single one.
func (c *config) server() *server {
	switch s := c.made.(type) {
	case *stream:
		return s.server
	case *server:
		return s
	}
	return nil // A cluster has several.
}

// lagMax is the lag from which on a feed logs it.
const lagMax = time.Second

// rig is a feed that runs, and its table.
type rig struct {
	*feed.Feed
	config config // Of its first source.
	wants  *wants // Nil if that is no single server.
	t      testing.TB
	table  *topics.Table
	log    *logtest.Log
	ids    map[string]topics.ID
	stop   func() // Ends Run and waits for that.
}

func run(t testing.TB, cfg config, limits topics.Config) *rig {
	t.Helper()
	log, buf := newLog(t)
	table := topics.New(limits)
	r := runFeed(t, cfg.feed(t, table, log), table, buf)
	r.config = cfg
	if s := cfg.server(); s != nil {
		r.wants = s.wants
	}
	return r
}

// runFeed runs a feed until the test ends.
func runFeed(t testing.TB, f *feed.Feed, table *topics.Table, buf *logtest.Log) *rig {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		f.Run(ctx)
		close(done)
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(redistest.Patience):
			t.Error("Run did not return after the end of its context")
		}
	})
	t.Cleanup(stop)
	return &rig{Feed: f, t: t, table: table, log: buf, ids: make(map[string]topics.ID), stop: stop}
}

// limits are those of tests that are about something else.
var limits = topics.Config{Max: 100_000, Linger: time.Minute}

// plain is a config with all its defaults. The timeout is long enough for a machine
// that is busy with other things.
func plain(s *redistest.Server) config { return At(s.URL()) }

func (r *rig) acquire(names ...string) {
	r.t.Helper()
	for _, name := range names {
		id, err := r.table.Acquire([]byte(name), 0)
		if err != nil {
			r.t.Fatal(err)
		}
		r.ids[name] = id
	}
}

func (r *rig) release(name string) {
	r.table.Release(r.ids[name], time.Now())
	delete(r.ids, name)
}

// row is the newest row of a topic, "" while there is none.
func (r *rig) row(name string) string {
	if row := r.table.Row(r.ids[name]); row != nil {
		return string(row.JSON())
	}
	return ""
}

// value is the newest value of a topic, "" while there is none.
func (r *rig) value(name string) string {
	if row := r.table.Row(r.ids[name]); row != nil {
		return string(row.Value())
	}
	return ""
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	redistest.Eventually(r.t, what, ok)
}

// settled waits until everything wanted is subscribed, and its value fetched or refused.
func (r *rig) settled() {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%d channels", len(r.ids)), func() bool {
		r.wants.mu.Lock()
		defer r.wants.mu.Unlock()
		if err := r.wants.check(); err != nil {
			r.t.Fatal(err)
		}
		for name := range r.ids {
			w := r.wants.topics[name]
			if w == nil || w.reading != fetched && w.reading != refusedRead {
				return false
			}
		}
		return true
	})
}

// publish sets and publishes as a publisher has to.
func publish(s *redistest.Server, topic, value string) {
	s.Do("SET", "price:"+topic, value)
	s.Do("PUBLISH", "channel:prices:"+topic, value)
}

// resources counts goroutines and descriptors.
func resources(t *testing.T) (goroutines, descriptors int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return runtime.NumGoroutine(), len(fds)
}

// returnsTo waits until there are no more goroutines and descriptors than before.
func returnsTo(t *testing.T, goroutines, descriptors int) {
	t.Helper()
	redistest.Eventually(t, "goroutines and descriptors are back to what they were", func() bool {
		g, d := resources(t)
		return g <= goroutines && d <= descriptors
	})
}
