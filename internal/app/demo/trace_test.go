// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	natsserver "github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"tickedge/internal/app"
	"tickedge/internal/app/edge"
	"tickedge/internal/app/marketdata"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/exchange/exchangetest"
	"tickedge/internal/logtest"
	"tickedge/internal/tracing/tracingtest"
)

const followed = "COINBASE:BTC-USD"

// rig is an exchange, what brings its trades to an edge, and a client.
type rig struct {
	t      *testing.T
	ex     *exchangetest.Server
	client *websocket.Conn
	stop   func() // Ends all, and waits for that.
}

// chain starts a rig. With Kafka a program writes the trades there, and another one reads them.
func chain(t *testing.T, broker, kafka string, args ...string) *rig {
	t.Helper()
	r := &rig{t: t, ex: exchangetest.Start(t, exchangetest.Config{Vendor: "coinbase", Products: []string{"BTC-USD"}})}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	r.stop = func() { cancel(); all.Wait() }
	t.Cleanup(r.stop)
	log, said := logtest.New(t)
	market := func(args []string, more ...string) {
		c, err := marketdata.Parse(append(append([]string{"-admin=", "-listen=", "-symbols=" + followed}, args...), more...))
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			if code := marketdata.Run(ctx, c, log); code != app.OK {
				t.Errorf("marketdata: code %d", code)
			}
		})
	}
	var of []string // Flags of an edge and of a reader of Kafka too.
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-trace-one-in") {
			of = append(of, arg)
		}
	}
	from := []string{"-in=coinbase", "-coinbase-ws=" + r.ex.WS, "-coinbase-rest=" + r.ex.REST}
	if kafka == "" {
		market(args, append(from, "-broker="+broker)...)
	} else {
		market(args, append(from, "-kafka="+kafka)...)
		market(of, "-in=kafka", "-kafka="+kafka, "-broker="+broker, "-checkpoints="+t.TempDir())
	}
	c, err := edge.Parse(append([]string{"-listen=127.0.0.1:0", "-admin=", "-loops=2", "-source=" + broker, "-drain=0s", "-interval=100ms"}, of...))
	if err != nil {
		t.Fatal(err)
	}
	listens := make(chan net.Addr, 1)
	c.OnListen(func(addr net.Addr) { listens <- addr })
	all.Go(func() { _ = edge.Run(ctx, c, log) })
	if r.client, _, err = websocket.Dial(ctx, "ws://"+(<-listens).String()+"/ws", nil); err != nil {
		t.Fatal(err)
	}
	if err := r.client.Write(ctx, websocket.MessageText, []byte(`{"op":"subscribe","topics":["`+followed+`"]}`)); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, "the product is subscribed, and the edge has its feed", func() bool {
		return r.ex.Subscribers("BTC-USD") > 0 && said.Count("feed up") > 0
	})
	return r
}

// price is a value of the topic.
type price struct {
	ID int64  `json:"id"`
	TP string `json:"tp"`
}

// prices reads until the client has a price of the newest trade, and returns those that came.
func (r *rig) prices() (all []price) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	trades := r.ex.Trades("BTC-USD")
	for {
		_, b, err := r.client.Read(ctx)
		if err != nil {
			r.t.Fatal(err)
		}
		var m struct {
			Rows []struct {
				V price `json:"v"`
			} `json:"d"`
		}
		if err := json.Unmarshal(b, &m); err != nil {
			r.t.Fatalf("%s: %v", b, err)
		}
		for _, row := range m.Rows {
			if all = append(all, row.V); row.V.ID == trades[len(trades)-1].ID {
				return all
			}
		}
	}
}

// settle has the client get prices by updates: its snapshot has come, and the topic is subscribed everywhere.
func (r *rig) settle() {
	r.t.Helper()
	r.ex.Make("BTC-USD", 1)
	r.prices()
}

var stages = []string{"exchange", "marketdata", "broker", "table", "flush"}

// check holds a trace to what it should be, whose last stages a client's value belongs to.
func check(t *testing.T, c *tracingtest.Collector, tp string) {
	t.Helper()
	parts := strings.Split(tp, "-")
	if len(parts) != 4 || parts[0] != "00" || parts[3] != "01" {
		t.Fatalf("tp is %q", tp)
	}
	redistest.Eventually(t, "the trace is whole", func() bool { return len(c.Trace(parts[1])) == len(stages) })
	of := c.Trace(parts[1])
	t.Logf("\n%s", tracingtest.Text(of))
	for i, s := range of {
		want := "marketdata"
		if i >= 3 {
			want = "edge"
		}
		switch {
		case s.Name != stages[i] || s.Service != want:
			t.Errorf("stage %d is %s of %s, want %s of %s", i, s.Name, s.Service, stages[i], want)
		case i == 0 && s.Parent != "", i > 0 && s.Parent != of[i-1].ID:
			t.Errorf("the parent of %s is %q", s.Name, s.Parent)
		case i > 0 && s.Start.Before(of[i-1].Start):
			t.Errorf("%s begins before %s", s.Name, of[i-1].Name)
		case i == 0 && s.Attributes["symbol"] != followed, i > 0 && s.Attributes["topic"] != followed, s.Name == "broker" && s.Attributes["taken"] != "true":
			t.Errorf("%s has %v", s.Name, s.Attributes)
		}
	}
	if of[2].ID != parts[2] {
		t.Errorf("the client has the span %s, want that of the broker, %s", parts[2], of[2].ID)
	}
}

// A trade is followed from its exchange to a client, through each broker: one trace, whose parents are right, and whose id is what
// the client has in its value, and Kafka and NATS in a header.
func TestATradeIsFollowed(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		c := tracingtest.Start(t)
		r := chain(t, "memory", "", "-trace-endpoint="+c.URL, "-trace-one-in=1")
		r.settle()
		r.ex.Make("BTC-USD", 1)
		all := r.prices()
		check(t, c, all[len(all)-1].TP)
	})
	t.Run("Redis", func(t *testing.T) {
		c := tracingtest.Start(t)
		r := chain(t, "redis://"+redistest.Start(t).Addr(), "", "-trace-endpoint="+c.URL, "-trace-one-in=1")
		r.settle()
		r.ex.Make("BTC-USD", 1)
		all := r.prices()
		check(t, c, all[len(all)-1].TP)
	})
	t.Run("Kafka and NATS", func(t *testing.T) {
		c := tracingtest.Start(t)
		k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DefaultNumPartitions(2))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(k.Close)
		n, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true})
		if err != nil {
			t.Fatal(err)
		}
		n.Start()
		t.Cleanup(n.Shutdown)
		nc, err := natsgo.Connect(n.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		heard := make(chan *natsgo.Msg, 100)
		if _, err := nc.ChanSubscribe("prices.>", heard); err != nil {
			t.Fatal(err)
		}
		r := chain(t, n.ClientURL()+"?subject=prices.{topic}", "kafka://"+strings.Join(k.ListenAddrs(), ","), "-trace-endpoint="+c.URL, "-trace-one-in=1")
		r.settle()
		r.ex.Make("BTC-USD", 1)
		all := r.prices()
		tp := all[len(all)-1].TP
		check(t, c, tp)
		for m := (*natsgo.Msg)(nil); m == nil || m.Header.Get("traceparent") != tp; {
			select {
			case m = <-heard:
			case <-time.After(time.Minute):
				t.Fatalf("no message of NATS has the header %s", tp)
			}
		}
		client, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.ConsumeTopics("trades"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		exchange := c.Trace(tp[3:35])[0]
		want := "00-" + exchange.Trace + "-" + exchange.ID + "-01"
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for has := ""; has != want; {
			fetches := client.PollFetches(ctx)
			if ctx.Err() != nil {
				t.Fatalf("no record of Kafka has the header %s", want)
			}
			fetches.EachRecord(func(rec *kgo.Record) {
				for _, h := range rec.Headers {
					if h.Key == "traceparent" && string(h.Value) == want {
						has = want
					}
				}
			})
		}
	})
}

// Without an endpoint nothing is followed, and values have no more than they had.
func TestNothingIsFollowed(t *testing.T) {
	r := chain(t, "memory", "")
	r.settle()
	r.ex.Make("BTC-USD", 3)
	for _, p := range r.prices() {
		if p.TP != "" {
			t.Errorf("a value has the parent %q", p.TP)
		}
	}
}

// Of N trades one is followed, and what follows it has no parent.
func TestFewAreFollowed(t *testing.T) {
	c := tracingtest.Start(t)
	r := chain(t, "memory", "", "-trace-endpoint="+c.URL, "-trace-one-in=10")
	const trades = 41 // With the first one of settle.
	r.settle()
	with := 0
	for range trades - 1 {
		r.ex.Make("BTC-USD", 1)
		for _, p := range r.prices() {
			if p.TP != "" {
				with++
			}
		}
	}
	r.stop()
	count := make(map[string]int)
	for _, s := range c.Spans() {
		count[s.Name]++
	}
	if want := (trades + 9) / 10; count["exchange"] != want || count["marketdata"] != want || count["broker"] != want || count["flush"] > count["table"] || count["table"] > want || with < 4 || with > want {
		t.Errorf("of %d trades there are %v, and %d values with a parent; want %d", trades, count, with, want)
	}
}
