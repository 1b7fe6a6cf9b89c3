// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"strings"
	"sync"
	"testing"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
	"tickedge/internal/logtest"
	"tickedge/internal/topics"
)

// runURL runs a source that wants AAPL, and does not wait until it is up.
func runURL(t *testing.T, url string) (*ear, *logtest.Log) {
	t.Helper()
	u, err := Config{URL: url, Timeout: patience}.upstream()
	if err != nil {
		t.Fatal(err)
	}
	logger, log := logtest.New(t)
	e := newEar()
	s := newSource(u, e, logger)
	s.Apply([]topics.Change{{Topic: "AAPL", Wanted: true}})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return e, log
}

// A stream that a URL names is read or waited for, with a line that says what to do, and never passed over.
func TestNamedStream(t *testing.T) {
	s, _ := startServer(t, t.TempDir(), -1)
	nc := dialServer(t, s)
	url := "nats://edge:" + secret + "@" + s.Addr().String() + "?stream=" + testStream
	e, log := runURL(t, url+"&subject=md.{topic}")
	await(t, "what to do is said", func() bool { return strings.Contains(log.String(), "create the stream") })
	js := makeStream(t, nc, true)
	if _, err := js.Publish("md.AAPL", []byte("1")); err != nil {
		t.Fatal(err)
	}
	await(t, "the value is shown", func() bool { return e.of("AAPL") == "1" })
	_, log = runURL(t, url+"&subject=other.{topic}")
	await(t, "other subjects are told of", func() bool {
		return strings.Contains(log.String(), testStream+" has md.>, want other.>") && strings.Contains(log.String(), "correct the option subject")
	})
}

// A bucket of the key-value store is a stream: what is put is shown, and what is deleted is delisted.
func TestBucket(t *testing.T) {
	s, _ := startServer(t, t.TempDir(), -1)
	js, err := dialServer(t, s).JetStream()
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := js.CreateKeyValue(&natsgo.KeyValueConfig{Bucket: "prices", History: 5})
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{`{"p":1}`, `{"p":2}`} {
		if _, err := bucket.Put("AAPL", []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	url := "nats://edge:" + secret + "@" + s.Addr().String() + "?subject=$KV.prices.{topic}"
	e, _ := runURL(t, url)
	await(t, "the newest is shown", func() bool { return e.of("AAPL") == `{"p":2}` })
	p, err := Config{URL: url, Timeout: patience}.Publisher(t.Context(), newLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, c := range []struct {
		ver  int64
		want broker.Fate
	}{{7, broker.Taken}, {6, broker.Outdated}} {
		tick := []broker.Tick{{Topic: "AAPL", Value: []byte(`{"p":3}`), Ver: c.ver}}
		if !p.Publish(t.Context(), tick) || tick[0].Fate != c.want {
			t.Errorf("version %d has the fate %d, want %d", c.ver, tick[0].Fate, c.want)
		}
	}
	await(t, "what a publisher wrote is shown", func() bool { return e.of("AAPL") == `{"p":3,"ver":7}` })
	if err := bucket.Delete("AAPL"); err != nil {
		t.Fatal(err)
	}
	await(t, "it is delisted", func() bool { return e.of("AAPL") == "null" })
}

// Who may not ask for streams is a publisher without one, as an edge is, and does not wait for an answer.
func TestPublisherMayNotAsk(t *testing.T) {
	s, o := startServer(t, "", -1)
	permit(t, s, o, []string{api + ">"}, nil)
	sub, err := dialServer(t, s).SubscribeSync("AAPL")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Config{URL: "nats://edge:" + secret + "@" + s.Addr().String(), Timeout: 10 * patience}.Publisher(t.Context(), newLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if !p.Publish(ctx, []broker.Tick{{Topic: "AAPL", Value: []byte("1")}}) {
		t.Fatal("nothing was published")
	}
	if m, err := sub.NextMsg(patience); err != nil || string(m.Data) != "1" {
		t.Errorf("%v, %v", m, err)
	}
}

// A publisher that makes a stream of subjects that another has, or of all, says what to do.
func TestOverlappingStream(t *testing.T) {
	s, _ := startServer(t, t.TempDir(), -1)
	makeStream(t, dialServer(t, s), true)
	for _, subject := range []string{"{topic}", "md.eu.{topic}"} {
		logger, log := logtest.New(t)
		url := "nats://edge:" + secret + "@" + s.Addr().String() + "?stream=OTHER&subject=" + subject
		p, err := Config{URL: url, Timeout: patience}.Publisher(t.Context(), logger)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { p.Publish(ctx, []broker.Tick{{Topic: "AAPL", Value: []byte("1")}}) })
		await(t, "what to do is said", func() bool { return strings.Contains(log.String(), "name the stream that has the subjects") })
		cancel()
		wg.Wait()
	}
}
