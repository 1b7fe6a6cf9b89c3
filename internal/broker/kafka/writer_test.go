// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	tickedgev1 "tickedge/gen/tickedge/v1"
	"tickedge/internal/bars"
	"tickedge/internal/trade"
)

// read returns the first so many records of a topic with one partition.
func read(t *testing.T, c Config, topic string, n int) (all []*kgo.Record) {
	t.Helper()
	opts, err := c.options()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(append(opts, kgo.ConsumeTopics(topic))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for len(all) < n && ctx.Err() == nil {
		all = append(all, client.PollFetches(ctx).Records()...)
	}
	if len(all) != n {
		t.Fatalf("%s has %d records, want %d", topic, len(all), n)
	}
	return all
}

// TestKafkaIsAway fills a writer while no broker can be reached: live trades give way to newer ones, others wait for
// room; when a broker comes the newest are there, in order.
func TestKafkaIsAway(t *testing.T) {
	_, c := newCluster(t, "trades", 1)
	s := newTable(t, 1).Named("SIM:S0")
	net := network{dead: true}
	const waiting = 100
	w := startWriter(t, WriterConfig{Kafka: c, Trades: "trades", Waiting: waiting}, kgo.Dialer(net.dial), kgo.MaxBufferedRecords(10))
	// 10 are on their way, one is in the hand of Run, and the others wait: those behind the first 11 come when Run has these.
	const total = 500
	for id := int64(1); id <= total; id++ {
		if err := w.Trade(t.Context(), nth(s, id), true); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(limit); id == 11 && w.Stats().Waiting > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("Run does not take what waits: %+v", w.Stats())
			}
		}
	}
	stats := w.Stats()
	held := stats.Waiting + stats.InFlight
	if stats.Waiting != waiting || stats.InFlight > 11 || stats.Dropped < total-waiting-11 || stats.Dropped > total-waiting || stats.Failed != 0 {
		t.Errorf("the writer has %+v", stats)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waits := make(chan error, 1)
	go func() { waits <- w.Trade(ctx, nth(s, 1000), false) }()
	cancel()
	if err := <-waits; !errors.Is(err, context.Canceled) {
		t.Errorf("a trade that is not live, while there is no room: %v", err)
	}
	go func() { waits <- w.Trade(t.Context(), nth(s, 2000), false) }()
	if err := w.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Flush: %v", err)
	}
	net.cut(false)
	if err := <-waits; err != nil {
		t.Errorf("a trade that has waited for room: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := w.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	n := int(w.Stats().Trades)
	if n < held+1 || n != total+1-int(w.Stats().Dropped) {
		t.Errorf("%d trades were written, %+v", n, w.Stats())
	}
	last := int64(0)
	for i, r := range read(t, c, "trades", n) {
		var m tickedgev1.Trade
		if err := proto.Unmarshal(r.Value, &m); err != nil || string(r.Key) != "SIM:S0" {
			t.Fatalf("record %q: %v", r.Key, err)
		}
		if m.Id <= last || i >= n-waiting && m.Id != total+1-int64(n-i)+1 && m.Id != 2000 {
			t.Errorf("record %d is trade %d after %d", i, m.Id, last)
		}
		last = m.Id
	}
	if last != 2000 {
		t.Errorf("the last trade is %d", last)
	}
}

func testBar(t *testing.T) bars.Bar {
	minute, err := bars.ParseInterval("1m")
	if err != nil {
		t.Fatal(err)
	}
	return bars.Bar{
		Symbol: newTable(t, 1).Named("SIM:S0"), Interval: minute, Start: 1_764_000_000_000, Open: 2, High: 9_007_199_254_740_993,
		Low: 1, Close: 150_000_000, Volume: bars.Sum{Lo: 5}, Turnover: bars.Sum{Hi: 1, Lo: 2}, Count: 3, Rev: 4, Closed: true,
		First: trade.Key{Time: 5, ID: 6}, Last: trade.Key{Time: 7, ID: 8},
	}
}

// TestBars writes a bar in both formats.
func TestBars(t *testing.T) {
	_, c := newCluster(t, "bars", 1)
	bar := testBar(t)
	for _, f := range []Format{Protobuf, JSON} {
		w := startWriter(t, WriterConfig{Kafka: c, Bars: "bars", Format: f})
		if err := w.Bars(t.Context(), []bars.Bar{bar}); err != nil {
			t.Fatal(err)
		}
		if s := w.Stats(); s.Bars != 1 || s.Failed != 0 {
			t.Errorf("the writer has %+v", s)
		}
	}
	records := read(t, c, "bars", 2)
	var m tickedgev1.Bar
	if err := proto.Unmarshal(records[0].Value, &m); err != nil {
		t.Fatal(err)
	}
	if want := (&tickedgev1.Bar{
		Symbol: "SIM:S0", Interval: "1m", Start: bar.Start, End: bar.Start + 60_000, Open: 2, High: bar.High, Low: 1, Close: bar.Close,
		PriceScale: 8, SizeScale: 8, Volume: &tickedgev1.Uint128{Lo: 5}, Turnover: &tickedgev1.Uint128{Hi: 1, Lo: 2}, Count: 3, Rev: 4,
		Closed: true, First: &tickedgev1.TradeKey{Time: 5, Id: 6}, Last: &tickedgev1.TradeKey{Time: 7, Id: 8},
	}); !proto.Equal(want, &m) {
		t.Errorf("the bar is %v, want %v", &m, want)
	}
	const want = `{"symbol":"SIM:S0","interval":"1m","start":1764000000000,"end":1764000060000,"open":0.00000002,` +
		`"high":90071992.54740993,"low":0.00000001,"close":1.5,"volume":0.00000005,"turnover":1844.6744073709551618,` +
		`"count":3,"rev":4,"closed":true,"first":{"time":5,"id":6},"last":{"time":7,"id":8}}`
	if string(records[1].Value) != want {
		t.Errorf("the bar is %s\nwant %s", records[1].Value, want)
	}
	for i, kind := range []string{"application/x-protobuf", "application/json"} {
		if r := records[i]; string(r.Key) != "1m:SIM:S0" || string(r.Headers[0].Value) != kind || r.Headers[0].Key != "content-type" {
			t.Errorf("record %d has the key %s and the headers %s", i, r.Key, r.Headers)
		}
	}
}

// TestRefusedRecords are an error of Bars, and counted of trades.
func TestRefusedRecords(t *testing.T) {
	_, c := newCluster(t, "other", 1)
	s := newTable(t, 1).Named("SIM:S0")
	w := startWriter(t, WriterConfig{Kafka: c, Trades: "trades", Bars: "bars"}, kgo.UnknownTopicRetries(0))
	if err := w.Bars(t.Context(), []bars.Bar{testBar(t)}); err == nil || !strings.HasPrefix(err.Error(), "kafka bars: UNKNOWN_TOPIC") {
		t.Errorf("Bars without its topic: %v", err)
	}
	if err := w.Trade(t.Context(), nth(s, 1), false); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if stats := w.Stats(); stats.Failed != 2 || stats.Trades != 0 || stats.Bars != 0 || stats.LastError == "" {
		t.Errorf("the writer has %+v", stats)
	}
}
