// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"math"

	"tickedge/internal/doctor"
)

// Broker is what the broker has to bring. Rates are per second.
type Broker struct {
	Wanted    float64 `json:"topics_wanted_by_an_edge"`
	Published float64 `json:"messages_in_per_second"`
	Out       float64 `json:"messages_out_per_second"`
	Bytes     float64 `json:"bytes_out_per_second"`
	Cores     float64 `json:"redis_cores"` // Of one Redis, which has one for all it does.
	Enough    bool    `json:"one_redis_is_enough"`

	Sums []string `json:"sums"`
}

// broker counts a message for each edge that wants its topic.
func (p *Plan) broker() {
	l, n := p.Load, p.Edges.Count
	share := float64(l.Topics) / float64(l.Symbols)
	wanted := float64(l.Symbols) * -math.Expm1(float64(p.Edges.Clients)*math.Log1p(-share))
	if share >= 1 {
		wanted = float64(l.Symbols)
	}
	b := Broker{Wanted: wanted, Published: l.ticks(), Out: float64(n) * wanted * l.TickRate}
	b.Bytes = b.Out * float64(l.RowBytes+messageEnvelope)
	b.Cores = b.Published*redisPublish.Seconds() + b.Out*redisOut.Seconds()
	b.Enough = b.Cores <= doctor.MostBusy
	b.Sums = []string{
		fmt.Sprintf("%s × %s topics × %v ticks/s = %s messages/s out of the broker", edges(n), rate(wanted), l.TickRate, rate(b.Out)),
		fmt.Sprintf("%s/s × (%d B + %d B around them) = %s", rate(b.Out), l.RowBytes, messageEnvelope, bits(b.Bytes)),
		fmt.Sprintf("%s in × %v + %s out × %v = %s cores of Redis", rate(b.Published), redisPublish, rate(b.Out), redisOut, short(b.Cores)),
	}
	p.Broker = b
	if !b.Enough {
		p.warn("one Redis has one core for all, and this takes %s: use sharded Pub/Sub of a cluster (-source redis-cluster://…), "+
			"several -source with a part of the topics each (-source 'A*=redis://…'), or NATS (-source nats://…)", short(b.Cores))
	}
	if l.ticks() > feedMost {
		p.warn("%s ticks/s are more than the %s that were measured through one connection of an edge: "+
			"give it several -source with a part of the topics each", rate(l.ticks()), doctor.Count(feedMost))
	}
}
