// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/broker/memory"
	"tickedge/internal/broker/nats"
	"tickedge/internal/topics"
)

// More topics than any broker has room for at a time come over one broker of a pair while the other can't be reached.
func TestPairServesManyTopicsBesideADeadBroker(t *testing.T) {
	const many = 5000
	alive, dead := memory.Private(), nats.Config{URL: "nats://127.0.0.1:1?subject=md.{topic}"} // Port 1 is nobody's.
	table, log := topics.New(topics.Config{Max: many}), slog.New(slog.DiscardHandler)
	f, err := New(Config{{Broker: Pair{alive, dead}}}, table, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.Run(ctx)
	}()
	defer func() {
		end()
		<-ended
	}()
	p, err := alive.Publisher(ctx, log)
	if err != nil {
		t.Fatal(err)
	}
	var ids []topics.ID
	var ticks []broker.Tick
	for i := range many {
		name := fmt.Sprint("T", i)
		id, err := table.Acquire([]byte(name), 0)
		if err != nil {
			t.Fatal(err)
		}
		ids, ticks = append(ids, id), append(ticks, broker.Tick{Topic: name, Value: []byte("{}"), Ver: 1})
	}
	p.Publish(ctx, ticks)
	late := time.Now().Add(30 * time.Second)
	for i, id := range ids {
		for table.Row(id) == nil {
			if time.Now().After(late) {
				t.Fatalf("topic %d of %d has no value", i, many)
			}
			time.Sleep(time.Millisecond)
		}
	}
}
