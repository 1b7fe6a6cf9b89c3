// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestFullShard has a shard that takes nothing: its partition is not read any further, and the others are; then
// all comes, but for what Kafka has deleted meanwhile, which is told.
func TestFullShard(t *testing.T) {
	_, c := newCluster(t, "trades", 2)
	table := newTable(t, 6)
	w := newWorld(t, table)
	w.hold, w.each = make(chan struct{}), 1<<30
	writer := startWriter(t, WriterConfig{Kafka: c, Trades: "trades"})
	write(t, writer, table, 1, 10)
	a := adminOf(t, c)
	end := func(partition int32) int64 {
		all, err := a.ListEndOffsets(t.Context(), "trades")
		if err != nil {
			t.Fatal(err)
		}
		o, _ := all.Lookup("trades", partition)
		return o.Offset
	}
	if end(0) == 0 || end(1) == 0 {
		t.Fatal("a partition has no trades")
	}
	p := w.start(c, "trades")
	const each = 3000
	write(t, writer, table, 11, each)
	other := int(end(1))
	w.await("the other partition", func() bool {
		s := w.shards[1]
		n := 0
		if s != nil {
			for _, ids := range s.state.IDs {
				n += len(ids)
			}
		}
		return n == other
	})
	for deadline := time.Now().Add(limit); p.Stats().Paused != 1; {
		if time.Now().After(deadline) {
			t.Fatal("the partition is not paused")
		}
	}
	part := p.snapshot()[0]
	part.mu.Lock()
	held := part.records
	part.mu.Unlock()
	// What it holds is bounded, however much there is: the bound, and what one poll brings.
	if held <= partAhead || held > partAhead+pollMax || int64(held) >= end(0) {
		t.Errorf("the reader holds %d of %d records", held, end(0))
	}
	gone := end(0) - 50
	o := kadm.Offsets{}
	o.AddOffset("trades", 0, gone, -1)
	if _, err := a.DeleteRecords(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	close(w.hold)
	want := Position{Offset: end(0)}
	w.await("all of the trades", func() bool { return w.shards[0].state.Position.Offset == want.Offset })
	p.stop()
	s := w.shards[0]
	if len(s.gaps) != 1 || s.gaps[0].to != gone || s.gaps[0].from < int64(held) || s.gaps[0].why != retention {
		t.Errorf("the gaps are %+v, want one up to %d", s.gaps, gone)
	}
	n := int64(0)
	for _, ids := range s.state.IDs {
		n += int64(len(ids))
	}
	if stats := p.Stats(); len(s.gaps) == 1 && n != end(0)-(s.gaps[0].to-s.gaps[0].from) || stats.Missed != uint64(end(0)-n) {
		t.Errorf("%d of %d trades have come, %+v", n, end(0), stats)
	}
}

// TestFlawedRecords are counted and skipped, and the checkpoint goes on behind them.
func TestFlawedRecords(t *testing.T) {
	_, c := newCluster(t, "trades", 1)
	table := newTable(t, 1)
	w := newWorld(t, table)
	good := nth(table.Named("SIM:S0"), 1)
	asJSON, asProto := string(encodeTrade(nil, &good, JSON)), string(encodeTrade(nil, &good, Protobuf))
	change := func(s, from, to string) string {
		if !strings.Contains(s, from) {
			t.Fatalf("%q is not in %q", from, s)
		}
		return strings.Replace(s, from, to, 1)
	}
	bad := []string{
		"", "x", "{}", "{", "null", "[]", asJSON + "x", asProto[:len(asProto)-1], "{" + asProto,
		change(asJSON, "SIM:S0", "SIM:S1"), change(asProto, "SIM:S0", "SIM:S1"), change(asJSON, "SIM:S0", "ALIAS"),
		change(asJSON, `"price":`, `"price":-`), change(asJSON, `"price":`, `"price":99999999999999999999`),
		change(asJSON, `"price":`, `"price":"x","p":`), change(asJSON, `"price":`, `"price":null,"p":`),
		change(asJSON, `"price":`, `"price":1e-9,"p":`), change(asJSON, `"size":`, `"p":`), change(asJSON, `"time":`, `"time":9`),
		change(asJSON, `{`, `{"side":"both",`), change(asJSON, `{`, `{"symbol":"SIM:S0",`),
		change(asJSON, `{`, `{"more":"`+strings.Repeat("x", RecordMax)+`",`),
	}
	var records []*kgo.Record
	for _, v := range bad {
		records = append(records, &kgo.Record{Topic: "trades", Value: []byte(v)})
	}
	records = append(records,
		&kgo.Record{Topic: "trades", Value: []byte(asJSON), Headers: headerProtobuf},
		&kgo.Record{Topic: "trades", Value: []byte(asProto), Headers: headerJSON},
		&kgo.Record{Topic: "trades", Value: []byte(asProto), Headers: []kgo.RecordHeader{{Key: contentType, Value: []byte("text/csv")}}},
	)
	flawed := len(records)
	records = append(records, // And good ones.
		&kgo.Record{Topic: "trades", Value: []byte(asProto)},
		&kgo.Record{Topic: "trades", Value: []byte(change(asJSON, `{`, `{"more":[1],"side":"",`))},
		&kgo.Record{Topic: "trades", Value: []byte("\n" + asJSON), Headers: []kgo.RecordHeader{{Key: contentType, Value: []byte("application/json; charset=utf-8")}}},
		&kgo.Record{Topic: "trades", Value: []byte("bad at the end")})
	opts, err := c.options()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	p := w.start(c, "trades")
	w.await("the end", func() bool {
		return w.shards[0] != nil && w.shards[0].state.Position.Offset == int64(len(records))
	})
	p.stop()
	if s := p.Stats(); s.Trades != 3 || s.Flawed != uint64(flawed+1) || s.Unknown != 3 {
		t.Errorf("the reader has %+v, want 3 trades and %d flawed records, of which 3 have no symbol that is known\n%s", s, flawed+1, p.log)
	}
	if w.shards[0].caughtUp != 1 {
		t.Error("it has not caught up")
	}
}

// TestTransactions reads what was committed, and catches up behind what was not.
func TestTransactions(t *testing.T) {
	_, c := newCluster(t, "trades", 1)
	table := newTable(t, 1)
	w := newWorld(t, table)
	opts, err := c.options()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(append(opts, kgo.TransactionalID("x"))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for id := int64(1); id <= 3; id++ {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		good := nth(table.Named("SIM:S0"), id)
		if err := client.ProduceSync(t.Context(), newRecord("trades", "SIM:S0", encodeTrade(nil, &good, ""), "")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(t.Context(), id != 3); err != nil {
			t.Fatal(err)
		}
	}
	p := w.start(c, "trades")
	w.await("being caught up", func() bool { return w.shards[0] != nil && w.shards[0].caughtUp == 1 })
	p.stop()
	w.check(1, 1, 2)
	if s := w.shards[0]; s.state.Position.Offset != 6 || len(s.gaps) != 0 {
		t.Errorf("it is at %+v with gaps %v, want 6 and none", s.state.Position, s.gaps)
	}
}

// TestShardFails ends the reader with the error of a shard.
func TestShardFails(t *testing.T) {
	_, c := newCluster(t, "trades", 2)
	table := newTable(t, 1)
	w := newWorld(t, table)
	w.poison = 2
	writer := startWriter(t, WriterConfig{Kafka: c, Trades: "trades"})
	write(t, writer, table, 1, 3)
	p := w.start(c, "trades")
	<-p.ended
	if !errors.Is(p.err, errShard) || !strings.Contains(p.err.Error(), "of kafka topic trades: ") {
		t.Errorf("the reader ends with %v", p.err)
	}
	for _, s := range w.shards {
		if ids := s.state.IDs["SIM:S0"]; len(ids) > 1 || s.ends != 1 {
			t.Errorf("a shard has the trades %d after its error, and ended %d times", ids, s.ends)
		}
	}
}
