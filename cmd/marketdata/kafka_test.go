// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/exchange/exchangetest"
	"tickedge/internal/pgtest"
)

// An exchange, a program that writes its trades to Kafka, and two that share the partitions and a database: whichever is
// killed, no trade is lost or counted twice, and the newest price does not go back.
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
	make(20)
	shown()
	for i := range 4 {
		make(20)
		victim := two[i%2]
		victim.end([]syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[i/2])
		make(20)
		two[i%2] = start(t, processor...)
		shown()
	}
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
