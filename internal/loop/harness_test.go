// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"tickedge/internal/fanout"
	"tickedge/internal/topics"
)

// childEnv makes the test binary a server instead, see child_test.go.
const childEnv = "TICKEDGE_LOOP_CHILD"

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		child(spec)
		return
	}
	os.Exit(m.Run())
}

// patience is how long a test waits for what must happen soon. It is only reached when that
// fails, or on a machine that has no time for this: so no limit of a server that is not what a
// test is about may be below it (see quick).
const patience = 30 * time.Second

// long is what does not come to its end in a test, as a limit of a server.
const long = time.Hour

// soon fails the test if what has begun then has taken longer than anybody waits for.
func soon(t testing.TB, begin time.Time, what string) {
	t.Helper()
	if took := time.Since(begin); took > patience {
		t.Errorf("%s took %v, want at most %v", what, took, patience)
	}
}

// eventually looks until ok is true. It is the only way in which a test waits.
func eventually(ok func() bool, atMost time.Duration) bool {
	deadline := time.Now().Add(atMost)
	for !ok() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(2 * time.Millisecond)
	}
	return true
}

// until fails the test if ok does not become true soon. what tells what is missing.
func until(t testing.TB, ok func() bool, what string, args ...any) {
	t.Helper()
	if !eventually(ok, patience) {
		t.Fatalf("waited %v for %s", patience, fmt.Sprintf(what, args...))
	}
}

// A quick server: its windows are short, and of the rest no limit ends a test that a busy machine
// holds up.
func quick() Config {
	return Config{
		Listen: "127.0.0.1:0", Loops: 2, MaxConns: 4000,
		Shard: fanout.Config{
			Interval: 100 * time.Millisecond, Heartbeat: long, PingInterval: long, PongTimeout: long,
			SlowRate: 4000, SlowTimeout: 2 * patience, IdleTimeout: long,
			HandshakeTimeout: 2 * patience, CloseTimeout: 2 * patience,
			MaxTopics: 256, Seed: 7,
		},
		RetrySpread: 9 * time.Second,
	}
}

// edge is a server under test with its table and what stands for the feed.
type edge struct {
	*Server
	t       testing.TB
	table   *topics.Table
	log     *testLog
	ended   bool
	endFeed func()
}

// serve starts a server that is ended with the test. It is checked then that nothing
// is left of it.
func serve(t testing.TB, change ...func(*Config)) *edge {
	t.Helper()
	takeBaseline(t)
	e := start(t, change...)
	t.Cleanup(func() {
		e.end(0)
		if t.Failed() {
			return
		}
		wantBaseline(t)
	})
	return e
}

func start(t testing.TB, change ...func(*Config)) *edge {
	t.Helper()
	cfg := quick()
	log := &testLog{}
	cfg.Log = log.logger()
	for _, f := range change {
		f(&cfg)
	}
	table := topics.New(topics.Config{Max: 1 << 18, Linger: time.Minute})
	table.SetSourceState(0, true, 1)
	s, err := Start(cfg, table)
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{Server: s, t: t, table: table, log: log}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		feed(table, stop)
	}()
	e.endFeed = sync.OnceFunc(func() { close(stop); <-stopped })
	return e
}

// feed takes the changes of a table, as a real feed does.
func feed(table *topics.Table, stop <-chan struct{}) {
	sweep := time.NewTicker(50 * time.Millisecond)
	defer sweep.Stop()
	var changes []topics.Change
	for {
		select {
		case <-stop:
			return
		case <-table.Changed():
			changes = table.Changes(0, changes[:0], math.MaxInt)
		case now := <-sweep.C:
			table.Sweep(now)
		}
	}
}

// end shuts the server down and checks what must hold of any server then.
func (e *edge) end(over time.Duration) {
	if e.ended {
		return
	}
	e.ended = true
	begin := time.Now()
	e.Shutdown(context.Background(), over)
	e.endFeed()
	if took, most := time.Since(begin), over+e.cfg.Shard.CloseTimeout+patience; took > most {
		e.t.Errorf("Shutdown over %v took %v, want at most %v", over, took, most)
	}
	if n := e.Conns(); n != 0 {
		e.t.Errorf("%d connections after Shutdown", n)
	}
	if n := e.table.Subscriptions(); n != 0 {
		e.t.Errorf("%d subscriptions after Shutdown", n)
	}
	if n := e.Guard().Prefixes; n != 0 {
		e.t.Errorf("%d sources hold connections after Shutdown", n)
	}
	if n := len(e.sessionsOf()); n != 0 {
		e.t.Errorf("%d users have sessions after Shutdown", n)
	}
	for _, l := range e.loops { // They have ended, so this may look.
		if n := len(l.expiries.list); n != 0 {
			e.t.Errorf("%d expiries after Shutdown", n)
		}
	}
	select {
	case err := <-e.Failed():
		e.t.Errorf("Failed: %v", err)
	default:
	}
	e.log.check(e.t)
}

// onLoops runs f on each loop that had a connection, and waits for it.
func (e *edge) onLoops(f func(l *loop)) {
	e.t.Helper()
	var all sync.WaitGroup
	for _, l := range e.loops {
		if l.events.Load() == nil {
			continue
		}
		all.Add(1)
		l.ask(func() {
			defer all.Done()
			f(l)
		})
	}
	all.Wait()
}

// eachConn runs f for each open conn, on its loop.
func (e *edge) eachConn(f func(l *loop, c *conn)) {
	e.t.Helper()
	var mu sync.Mutex
	e.onLoops(func(l *loop) {
		mu.Lock()
		defer mu.Unlock()
		for _, slab := range l.slabs {
			for i := range slab {
				if slab[i].gc != nil {
					f(l, &slab[i])
				}
			}
		}
	})
}

// sessionsOf is how many sessions each user has in the registry.
func (e *edge) sessionsOf() map[string]int {
	all := map[string]int{}
	for i := range e.sessions.shards {
		shard := &e.sessions.shards[i]
		shard.Lock()
		for user, list := range shard.users {
			all[user] = len(list)
		}
		shard.Unlock()
	}
	return all
}

// read is how many bytes the loops have read.
func (e *edge) read() (n uint64) {
	e.t.Helper()
	var mu sync.Mutex
	e.onLoops(func(l *loop) {
		mu.Lock()
		defer mu.Unlock()
		n += l.counts.Loop[BytesIn]
	})
	return n
}

// closed is how many connections were closed for a reason, with a code.
func (e *edge) closed(reason, code string) uint64 { return e.Stats().Closed[Closed{reason, code}] }

func (e *edge) refused(reason string) uint64 { return e.Stats().Refused[reason] }

// wantClosed waits for a count of closed connections.
func (e *edge) wantClosed(reason, code string, n uint64) {
	e.t.Helper()
	if !eventually(func() bool { return e.closed(reason, code) == n }, patience) {
		e.t.Fatalf("%d closed for %s (%s), want %d; all: %+v", e.closed(reason, code), reason, code, n, e.Stats().Closed)
	}
}

// publish commits a tick that somebody wants.
func (e *edge) publish(topic, value string) {
	e.t.Helper()
	if e.table.Publish(topic, value, topics.Meta{}) != topics.Committed {
		e.t.Errorf("nobody wants %s", topic)
	}
}

// testLog keeps what a server logs at warn and error. Nothing is expected, but for
// lines that hold one of the strings allowed, and those of clients that were turned away, as most tests
// of limits do.
type testLog struct {
	mu      sync.Mutex
	b       bytes.Buffer
	allowed []string
}

func (l *testLog) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *testLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *testLog) allow(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.allowed = append(l.allowed, s)
}

// await waits for a line with s, which is allowed then.
func (l *testLog) await(t testing.TB, s string) {
	t.Helper()
	l.allow(s)
	until(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return strings.Contains(l.b.String(), s)
	}, "the log to say %q", s)
}

func (l *testLog) check(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	allowed := l.allowed
	for _, k := range turnedTable {
		allowed = append(allowed, k.line)
	}
lines:
	for line := range strings.Lines(l.b.String()) {
		for _, s := range allowed {
			if strings.Contains(line, s) {
				continue lines
			}
		}
		t.Errorf("logged: %s", line)
	}
}

// baseline is what the process holds while no server runs. It is taken after a
// first server, as gnet and the runtime start what stays.
var baseline struct {
	once       sync.Once
	goroutines int
	files      int
}

func takeBaseline(t testing.TB) {
	baseline.once.Do(func() {
		e := start(t)
		dialRaw(t, e.Addr()).upgrade("").close()
		e.end(0)
		// What has begun to end may take a moment.
		last, same := -1, 0
		until(t, func() bool {
			n := len(goroutines())
			if n != last {
				last, same = n, 0
			}
			same++
			return same == 50
		}, "a steady number of goroutines")
		baseline.goroutines, baseline.files = last, len(openFiles())
	})
}

// wantBaseline checks that goroutines and descriptors are back to what they were.
func wantBaseline(t testing.TB) {
	t.Helper()
	if !eventually(func() bool { return len(goroutines()) <= baseline.goroutines }, patience) {
		list := goroutines()
		t.Errorf("%d goroutines, had %d before:\n%s", len(list), baseline.goroutines, strings.Join(list, "\n\n"))
	}
	if !eventually(func() bool { return len(openFiles()) <= baseline.files }, patience) {
		files := openFiles()
		t.Errorf("%d descriptors, had %d before: %v", len(files), baseline.files, files)
	}
}

// goroutines returns the stacks of all goroutines but those of the tests themselves.
func goroutines() (list []string) {
	b := make([]byte, 4<<20)
	b = b[:runtime.Stack(b, true)]
	for g := range strings.SplitSeq(string(b), "\n\n") {
		if !strings.Contains(g, "\ntesting.") {
			list = append(list, g)
		}
	}
	return list
}

// openFiles tells what the descriptors of this process stand for, where /proc does.
func openFiles() []string {
	entries, _ := os.ReadDir("/proc/self/fd")
	var list []string
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			list = append(list, e.Name()+" "+target)
		}
	}
	return list
}

func tcpAddr(a net.Addr) *net.TCPAddr { return a.(*net.TCPAddr) }
