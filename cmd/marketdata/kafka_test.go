// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/exchange/exchangetest"
	"tickedge/internal/pgtest"
)

// An exchange, a program that writes its trades to Kafka, and two that share the partitions and a database: whichever is
// killed, and whenever, whether brokers are slow or go away, no trade is lost or counted twice, and the newest price does not go
// back.
func TestKafkaBetween(t *testing.T) {
	products := []string{"BTC-USD", "ETH-USD", "SOL-USD"}
	ex := exchangetest.Start(t, exchangetest.Config{Vendor: "coinbase", Products: products})
	k, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.DefaultNumPartitions(4), kfake.SleepOutOfOrder())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	db := pgtest.New(t)
	redis := redistest.Start(t)
	w := watch(t, redis)
	symbols := "-symbols=COINBASE:" + strings.Join(products, ",COINBASE:")
	kafka := "-kafka=kafka://" + strings.Join(k.ListenAddrs(), ",")
	url := db.Database(t)
	ingest := []string{"-in=coinbase", symbols, "-coinbase-ws=" + ex.WS, "-coinbase-rest=" + ex.REST, kafka, "-checkpoints=" + t.TempDir(), "-checkpoint-interval=1s"}
	processor := []string{"-in=kafka", symbols, kafka, "-broker=redis://" + redis.Addr(), "-history=" + url, "-checkpoint-interval=1s", "-kafka-bars=bars"}

	in := start(t, ingest...)
	two := [2]*process{start(t, processor...), start(t, processor...)}
	make := func(n int) {
		t.Helper()
		for _, p := range products {
			in.eventually("the product is subscribed", func() bool { return ex.Subscribers(p) > 0 })
			ex.Make(p, n)
		}
	}
	shown := func() {
		t.Helper()
		for _, p := range products {
			shows(ex, p, "COINBASE:"+p, "1m", 60_000, two[:]...) // The open bar has the one that has its partition.
		}
	}
	// A member that is killed while it joins is one for ever to kfake, with partitions: of Kafka's it would be none after its session.
	settled := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if g, err := k.WaitGroupStable(ctx, "marketdata", len(two)); err != nil {
			t.Fatalf("the group does not settle: %+v", g)
		}
	}
	make(20)
	shown()
	for i := range 4 {
		settled()
		make(20)
		victim := two[i%2]
		victim.end([]syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[i/2])
		make(20)
		two[i%2] = start(t, processor...)
		shown()
	}
	// Both are killed when what they have read is stored, and Kafka has not been told of it.
	settled()
	between := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.NotCoordinator, Count: -1, When: func(kmsg.Request) bool {
		for _, p := range two {
			_ = p.cmd.Process.Kill()
		}
		return true
	}})
	make(20)
	for i, p := range two {
		<-p.ended
		two[i] = nil
	}
	if between.Hits() == 0 {
		t.Error("they ended before they had told Kafka of anything")
	}
	between.Remove()
	make(20)
	for i := range two {
		two[i] = start(t, processor...)
	}
	shown()
	// Brokers are slow, and then there is one less.
	settled()
	for _, key := range []kmsg.Key{kmsg.Produce, kmsg.Fetch, kmsg.OffsetCommit, kmsg.Heartbeat} {
		k.ControlKey(key.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
			k.KeepControl()
			k.SleepControl(func() { time.Sleep(300 * time.Millisecond) })
			return nil, nil, false
		})
	}
	make(20)
	two[0].end(syscall.SIGKILL)
	if err := k.RemoveNode(2); err != nil {
		t.Fatal(err)
	}
	make(20)
	two[0] = start(t, processor...)
	in.end(syscall.SIGTERM)
	for _, p := range products {
		ex.Lose(p, 5)
	}
	in = start(t, ingest...)
	make(5)
	shown()
	for _, p := range products {
		trades := ex.Trades(p)
		id := strconv.FormatInt(trades[len(trades)-1].ID, 10)
		in.eventually("the newest price is that of the newest trade", func() bool {
			return strings.Contains(redis.Do("GET", "price:COINBASE:"+p), `"id":`+id+",")
		})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.wrong) > 0 {
		t.Errorf("%d values are wrong: %v", len(w.wrong), w.wrong[:min(3, len(w.wrong))])
	}
}
