// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestGroup has a second reader join, the first one killed, and a third one come: no trade is lost or counted
// twice, though what was counted since the last checkpoint was lost with the process.
func TestGroup(t *testing.T) {
	const symbols, partitions = 12, 6
	_, c := newCluster(t, "trades", partitions)
	table := newTable(t, symbols)
	w := newWorld(t, table)
	writer := startWriter(t, WriterConfig{Kafka: c, Trades: "trades"})
	has := func(p *process) (n int) {
		for _, s := range w.shards {
			if s.p == p && s.ends == 0 {
				n++
			}
		}
		return n
	}

	write(t, writer, table, 1, 50)
	first := w.start(c, "trades", func(p *process) { p.failing = 2 })
	w.await("all of the trades", func() bool { return w.counted() == 50*symbols })
	w.await("being caught up", func() bool {
		n := 0
		for _, s := range w.shards {
			n += s.caughtUp
		}
		return n == partitions
	})
	second := w.start(c, "trades")
	write(t, writer, table, 51, 150)
	w.await("half of the partitions", func() bool { return has(first) == partitions/2 && has(second) == partitions/2 })
	w.await("what was written since", func() bool { return w.counted() == 150*symbols })
	// A machine at a standstill costs the reader its session: then partitions are lost, and taken again.
	s := first.Stats()
	if s.Partitions != partitions/2 || s.Taken-s.Revoked-s.Lost != partitions/2 || s.Taken < partitions || s.Failures < 2 {
		t.Errorf("the first reader has %+v", s)
	}
	if s.Lost == 0 && s.Revoked != partitions/2 {
		t.Errorf("the first reader has %+v, want %d partitions revoked", s, partitions/2)
	}

	first.kill()
	write(t, writer, table, 151, 250)
	w.await("all of the partitions", func() bool { return has(second) == partitions })
	third := w.start(c, "trades")
	w.await("half of the partitions", func() bool { return has(third) == partitions/2 })
	write(t, writer, table, 251, 300)
	w.await("all of the trades", func() bool { return w.counted() == 300*symbols })
	second.stop()
	w.await("all of the partitions", func() bool { return has(third) == partitions })
	third.stop()
	if second.err != nil || third.err != nil {
		t.Errorf("the readers end with %v and %v", second.err, third.err)
	}
	w.check(partitions, symbols, 300)
}

// TestNetworkFaults writes and reads while connections of both are cut, brokers leave and partitions move: each trade
// is in the topic once, in order, and is counted once.
func TestNetworkFaults(t *testing.T) {
	const symbols, partitions = 8, 4
	cluster, c := newCluster(t, "trades", partitions)
	table := newTable(t, symbols)
	w := newWorld(t, table)
	var net network
	writer := startWriter(t, WriterConfig{Kafka: c, Trades: "trades", Format: JSON}, kgo.Dialer(net.dial))
	p := w.start(c, "trades")
	for round := range int64(6) {
		written := make(chan struct{})
		go func() {
			defer close(written)
			write(t, writer, table, round*50+1, round*50+50)
		}()
		switch round {
		case 1, 3:
			net.cut(false)
		case 2, 5:
			p.net.cut(false)
			cluster.ShufflePartitionLeaders()
		case 4:
			if err := cluster.RemoveNode(2); err != nil {
				t.Error(err)
			}
		}
		<-written
		if t.Failed() {
			return
		}
	}
	w.await("all of the trades", func() bool { return w.counted() == 300*symbols })
	p.stop()
	w.check(partitions, symbols, 300)
	if s := p.Stats(); s.Trades < 300*symbols || s.Gaps != 0 { // More, if partitions were lost meanwhile.
		t.Errorf("the reader has %+v", s)
	}
}

// TestRestart has a reader go on from a checkpoint, not from what was committed; the group is told what was
// stored, and no more.
func TestRestart(t *testing.T) {
	_, c := newCluster(t, "trades", 1)
	table := newTable(t, 1)
	w := newWorld(t, table)
	writer := startWriter(t, WriterConfig{Kafka: c, Trades: "trades"})
	write(t, writer, table, 1, 100)
	a := adminOf(t, c)
	committed := func() int64 {
		offsets, err := a.FetchOffsets(t.Context(), "g")
		if err != nil {
			t.Fatal(err)
		}
		o, _ := offsets.Lookup("trades", 0)
		return o.At
	}

	w.each = 80
	p := w.start(c, "trades")
	w.await("all of the trades", func() bool { return w.counted() == 100 })
	for deadline := time.Now().Add(limit); committed() != 80 && time.Now().Before(deadline); {
	}
	if at := committed(); at != 80 {
		t.Fatalf("the offset of the group is %d, want that of the checkpoint, 80", at)
	}
	p.kill() // Between what it has counted, and storing it.
	<-p.ended
	write(t, writer, table, 101, 120)
	// Somebody commits what was never counted.
	o := kadm.Offsets{}
	o.AddOffset("trades", 0, 120, -1)
	for deadline := time.Now().Add(limit); committed() != 120 && time.Now().Before(deadline); { // Once the group has no member.
		_, _ = a.CommitOffsets(t.Context(), "g", o)
	}
	p = w.start(c, "trades")
	w.await("all of the trades", func() bool { return w.counted() == 120 })
	p.stop()
	w.check(1, 1, 120)
	if s := w.shards[0]; s.caughtUp != 1 || s.at != 120 || s.told != "revoked" {
		t.Errorf("it caught up %d times, at %d, and ended as %q; want once, at 120, revoked", s.caughtUp, s.at, s.told)
	}
}

// TestMissed has positions that a partition does not have any more: what is missing is told, and the rest comes.
func TestMissed(t *testing.T) {
	_, c := newCluster(t, "trades", 1)
	table := newTable(t, 1)
	writer := startWriter(t, WriterConfig{Kafka: c, Trades: "trades"})
	write(t, writer, table, 1, 100)
	a := adminOf(t, c)
	o := kadm.Offsets{}
	o.AddOffset("trades", 0, 60, -1)
	if _, err := a.DeleteRecords(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	d, err := describe(t.Context(), a, "trades")
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("%x", d.ID[:])
	for name, test := range map[string]struct {
		at    Position
		gaps  []gap
		first int64 // Trade that comes; 0 is none.
	}{
		"new":       {Position{}, nil, 61},
		"known":     {Position{id, 70}, nil, 71},
		"end":       {Position{id, 100}, nil, 0},
		"retention": {Position{id, 20}, []gap{{20, 60, retention}}, 61},
		"beginning": {Position{id, 0}, []gap{{0, 60, retention}}, 61},
		"truncated": {Position{id, 130}, []gap{{100, 130, "Kafka has lost records that were read already"}}, 0},
		"no id":     {Position{"", 80}, nil, 81},
		"anew":      {Position{"another", 80}, []gap{{60, 60, "the topic was made anew"}}, 61},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, table)
			_, epoch, _ := w.store.Load(t.Context(), "p0")
			if test.at != (Position{}) {
				b, _ := json.Marshal(state{test.at, map[string][]int64{}})
				if err := w.store.Save(t.Context(), "p0", epoch, b); err != nil {
					t.Fatal(err)
				}
			}
			p := w.start(c, "trades")
			w.await("being caught up", func() bool { return w.shards[0] != nil && w.shards[0].caughtUp == 1 })
			p.stop()
			s := w.shards[0]
			if !slices.Equal(s.gaps, test.gaps) {
				t.Errorf("the gaps are %+v, want %+v", s.gaps, test.gaps)
			}
			first := int64(0)
			if ids := s.state.IDs["SIM:S0"]; len(ids) > 0 {
				if first = ids[0]; ids[len(ids)-1] != 100 || len(ids) != int(101-first) {
					t.Errorf("the trades are %d", ids)
				}
			}
			if first != test.first {
				t.Errorf("the first trade is %d, want %d", first, test.first)
			}
		})
	}
}
