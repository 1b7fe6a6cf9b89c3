// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"tickedge/internal/checkpoint/file"
	"tickedge/internal/logtest"
	"tickedge/internal/trade"
)

// limit is how long anything may take, as the machine may be busy.
const limit = 40 * time.Second

// newCluster starts brokers, with a topic of so many partitions, if there are to be any.
func newCluster(t testing.TB, topic string, partitions int32, opts ...kfake.Opt) (*kfake.Cluster, Config) {
	t.Helper()
	opts = append(opts, kfake.NumBrokers(3), kfake.GroupMinSessionTimeout(100*time.Millisecond))
	if partitions > 0 {
		opts = append(opts, kfake.SeedTopics(partitions, topic))
	}
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, Config{URL: "kafka://" + strings.Join(c.ListenAddrs(), ",")}
}

func newTable(t testing.TB, symbols int) *trade.Table {
	t.Helper()
	var entries []trade.Entry
	for i := range symbols {
		entries = append(entries, trade.Entry{Symbol: fmt.Sprintf("SIM:S%d", i), Source: "sim"})
	}
	entries = append(entries, trade.Entry{Symbol: "ALIAS", Of: []string{"SIM:S0"}})
	table, err := trade.NewTable(entries, func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// nth is the trade of an id.
func nth(s *trade.Symbol, id int64) trade.Trade {
	return trade.Trade{Symbol: s, Source: "SIM", Price: 100 + id, Size: id, Time: 1_764_000_000_000_000 + id, Received: 1, ID: id}
}

// network is the connections of one client, which can be cut, for ever too.
type network struct {
	mu    sync.Mutex
	conns []net.Conn
	dead  bool
}

func (n *network) dial(ctx context.Context, kind, host string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, kind, host)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dead {
		c.Close()
		return nil, errors.New("the network is dead")
	}
	n.conns = append(n.conns, c)
	return c, nil
}

func (n *network) cut(dead bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dead = dead
	for _, c := range n.conns {
		c.Close()
	}
	n.conns = nil
}

// world is what all processes of a test have alike: checkpoints, and what the shards were told.
type world struct {
	t       *testing.T
	store   *file.Store
	table   *trade.Table
	mu      sync.Mutex
	changed *sync.Cond
	shards  map[int32]*shard // The newest of each partition.
	each    int              // Trades until a checkpoint is stored.
	poison  int64            // The trade of this id is an error.
	hold    chan struct{}    // Trades of partition 0 wait for it, if it is not nil.
}

func newWorld(t *testing.T, table *trade.Table) *world {
	store, err := file.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	w := &world{t: t, store: store, table: table, shards: make(map[int32]*shard), each: 37}
	w.changed = sync.NewCond(&w.mu)
	return w
}

// await returns when what it waits for holds, which is looked at with mu held, whenever a shard is told something.
func (w *world) await(what string, holds func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(limit)
	stop := time.AfterFunc(limit, w.changed.Broadcast)
	defer stop.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for !holds() {
		if time.Now().After(deadline) {
			for _, s := range w.shards {
				w.t.Logf("partition %d: %+v, at %+v, ended %d times %s", s.partition, s.p.Stats(), s.state.Position, s.ends, s.told)
			}
			w.t.Fatalf("%s has not come", what)
		}
		w.changed.Wait()
	}
}

// counted is how many trades the shards have, those included that are not in a checkpoint. mu is held.
func (w *world) counted() (n int) {
	for _, s := range w.shards {
		for _, ids := range s.state.IDs {
			n += len(ids)
		}
	}
	return n
}

// state is a checkpoint: where the partition was, and the trades that were counted.
type state struct {
	Position Position
	IDs      map[string][]int64
}

// process is one reader and its shards.
type process struct {
	*Reader
	w       *world
	net     network
	killed  bool // Nothing is stored any more. w.mu guards it.
	err     error
	cancel  context.CancelFunc
	ended   chan struct{}
	failing int // So many calls of Assigned fail.
	log     *logtest.Log
}

// start starts a process that reads.
func (w *world) start(c Config, topic string, change ...func(*process)) *process {
	w.t.Helper()
	p := &process{w: w, ended: make(chan struct{})}
	logger, log := logtest.New(w.t)
	p.log = log
	r, err := NewReader(ReaderConfig{Kafka: c, Topic: topic, Group: "g", Table: w.table, Session: 3 * time.Second, Rebalance: limit}, p, logger)
	if err != nil {
		w.t.Fatal(err)
	}
	p.Reader = r
	r.every = 50 * time.Millisecond
	r.opts = append(r.opts, kgo.Dialer(p.net.dial))
	for _, f := range change {
		f(p)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() {
		p.err = r.Run(ctx)
		close(p.ended)
		w.changed.Broadcast()
	}()
	w.t.Cleanup(p.stop)
	return p
}

// stop ends the process as it should be.
func (p *process) stop() {
	p.cancel()
	<-p.ended
}

// kill is what kill -9 is to the others.
func (p *process) kill() {
	p.w.mu.Lock()
	p.killed = true
	p.w.mu.Unlock()
	p.net.cut(true)
	p.cancel()
}

func (p *process) Assigned(ctx context.Context, partition int32) (Shard, Position, error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.failing > 0 {
		p.failing--
		return nil, Position{}, errors.New("the store is away")
	}
	b, epoch, err := p.w.store.Load(ctx, fmt.Sprint("p", partition))
	if err != nil {
		return nil, Position{}, err
	}
	s := &shard{p: p, partition: partition, epoch: epoch, state: state{IDs: make(map[string][]int64)}}
	if b != nil {
		if err := json.Unmarshal(b, &s.state); err != nil {
			return nil, Position{}, err
		}
	}
	p.w.shards[partition] = s
	return s, s.state.Position, nil
}

// shard counts the trades of a partition.
type shard struct {
	p         *process
	partition int32
	epoch     int64
	state     state
	unsaved   int
	gaps      []gap
	caughtUp  int
	at        int64 // Offset when it was caught up.
	told      string
	ends      int
}

// note does something with mu held, and tells who waits.
func (s *shard) note(f func()) {
	s.p.w.mu.Lock()
	defer s.p.w.mu.Unlock()
	if s.ends > 0 {
		s.p.w.t.Errorf("partition %d: a call after the last one", s.partition)
	}
	f()
	s.p.w.changed.Broadcast()
}

func (s *shard) save() {
	if s.p.killed {
		return
	}
	b, err := json.Marshal(s.state)
	if err == nil {
		err = s.p.w.store.Save(context.Background(), fmt.Sprint("p", s.partition), s.epoch, b)
	}
	if err == nil {
		s.unsaved = 0
		go s.p.Stored(s.partition, s.state.Position)
	}
}

var errShard = errors.New("the shard can't go on")

func (s *shard) Trade(ctx context.Context, t trade.Trade, next Position) (err error) {
	if s.p.w.hold != nil && s.partition == 0 {
		select {
		case <-s.p.w.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.note(func() {
		if t.ID == s.p.w.poison {
			err = errShard
			return
		}
		if want := nth(t.Symbol, t.ID); want != t {
			s.p.w.t.Errorf("trade %+v, want %+v", t, want)
		}
		s.state.IDs[t.Symbol.Name] = append(s.state.IDs[t.Symbol.Name], t.ID)
		s.state.Position = next
		if s.unsaved++; s.unsaved >= s.p.w.each {
			s.save()
		}
	})
	return err
}

func (s *shard) Passed(_ context.Context, next Position) error {
	s.note(func() { s.state.Position = next })
	return nil
}

func (s *shard) Gap(from, to int64, why string) {
	s.note(func() { s.gaps = append(s.gaps, gap{from, to, why}) })
}

func (s *shard) CaughtUp() { s.note(func() { s.caughtUp++; s.at = s.state.Position.Offset }) }

func (s *shard) Revoked(context.Context) {
	s.note(func() { s.save(); s.ends++; s.told = "revoked" })
}

func (s *shard) Lost() { s.note(func() { s.ends++; s.told = "lost" }) }

// check holds the checkpoints against the trades that were written: each once, in order.
func (w *world) check(partitions int32, symbols int, each int64) {
	w.t.Helper()
	ids := make(map[string][]int64)
	for partition := range partitions {
		b, _, err := w.store.Load(w.t.Context(), fmt.Sprint("p", partition))
		if err != nil {
			w.t.Fatal(err)
		}
		var s state
		if b != nil {
			if err := json.Unmarshal(b, &s); err != nil {
				w.t.Fatal(err)
			}
		}
		for name, these := range s.IDs {
			ids[name] = append(ids[name], these...)
		}
	}
	if len(ids) != symbols {
		w.t.Errorf("there are trades of %d symbols, want %d", len(ids), symbols)
	}
	var want []int64
	for id := int64(1); id <= each; id++ {
		want = append(want, id)
	}
	for _, name := range slices.Sorted(maps.Keys(ids)) {
		if !slices.Equal(ids[name], want) {
			w.t.Errorf("%s: %d trades were counted, want each of %d once, in order", name, len(ids[name]), each)
		}
	}
}

func startWriter(t *testing.T, c WriterConfig, opts ...kgo.Opt) *Writer {
	t.Helper()
	log, _ := logtest.New(t)
	w, err := newWriter(c, log, opts...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

// write writes trades of all symbols with ids from one to another, and returns when Kafka has them.
func write(t *testing.T, w *Writer, table *trade.Table, from, to int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for id := from; id <= to; id++ {
		for _, s := range table.Source("SIM") {
			if err := w.Trade(ctx, nth(s, id), false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if s := w.Stats(); s.Failed != 0 || s.Dropped != 0 {
		t.Fatalf("writing: %+v", s)
	}
}

func adminOf(t *testing.T, c Config) *kadm.Client {
	t.Helper()
	a, err := c.admin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}
