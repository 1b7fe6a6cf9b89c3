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

	"tickedge/internal/broker/redis/redistest"
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
	t.Cleanup(func() {
		if l.Count(secret) > 0 {
			t.Error("the log holds the password")
		}
	})
	return log, l
}

// rig is a Redis feed that runs, and its table.
type rig struct {
	*Feed
	*server // Its first source; nil if that is no single server.
	t       testing.TB
	table   *topics.Table
	log     *logtest.Log
	ids     map[string]topics.ID
	stop    func() // Ends Run and waits for that.
}

func run(t testing.TB, cfg Config, limits topics.Config) *rig {
	t.Helper()
	log, buf := newLog(t)
	table := topics.New(limits)
	r, err := New(cfg, table, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run returned %v, want nil", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run did not return within 10 s of the end of its context")
		}
	})
	t.Cleanup(stop)
	return &rig{Feed: r, server: serverOf(r), t: t, table: table, log: buf, ids: make(map[string]topics.ID), stop: stop}
}

// serverOf is the server of a feed's first source, nil if that is no single one.
func serverOf(f *Feed) *server {
	switch s := f.sources[0].source.(type) {
	case *stream:
		return s.server
	case *server:
		return s
	}
	return nil // A cluster has several.
}

// limits are those of tests that are about something else.
var limits = topics.Config{Max: 100_000, Linger: time.Minute}

// plain is a config with all its defaults. The timeout is long enough for a machine
// that is busy with other things.
func plain(s *redistest.Server) Config { return At(s.URL()) }

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

// settled waits until everything wanted is subscribed and fetched.
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
			if w == nil || w.reading != fetched {
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
