// SPDX-License-Identifier: Apache-2.0

package push

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"tickedge/bench/yard/bare"
)

// fromRedis routes what is published on the channels that begin with prefix. All
// topics come over one connection. It waits for the first confirmation.
func fromRedis(ctx context.Context, url, prefix string, r *router) error {
	opts, err := redis.ParseURL(url)
	if err != nil {
		return fmt.Errorf("-redis %s: %w", url, err)
	}
	opts.Protocol = 2
	ps := redis.NewClient(opts).PSubscribe(ctx, prefix+"*")
	if _, err := ps.Receive(ctx); err != nil {
		return fmt.Errorf("-redis %s: %w", url, err)
	}
	go func() {
		for {
			// Not by way of ps.Channel, which is one more goroutine and queue.
			m, err := ps.ReceiveMessage(ctx)
			if err != nil {
				fmt.Fprintln(os.Stderr, "redis:", err)
				time.Sleep(time.Second) // The next call connects anew.
				continue
			}
			if value := []byte(m.Payload); json.Valid(value) {
				r.route(strings.TrimPrefix(m.Channel, prefix), value)
			}
		}
	}()
	return nil
}

// fromMarket routes made-up ticks of topics with these names.
func fromMarket(names []string, rate float64, r *router) {
	market := bare.NewMarket(len(names), rate, time.Now())
	for now := range time.Tick(bare.Turn) {
		for range market.Due(now) {
			topic := market.Topic()
			r.route(names[topic], append([]byte(nil), market.Tick(topic, now.UnixMilli())...))
		}
	}
}
