// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"testing"

	"tickedge/internal/resp"
	"tickedge/internal/topics"
)

// deaf is an owner that takes ticks and does nothing with them.
type deaf struct{ deskOwner }

func (*deaf) Tick(string, string, int64) {}

// BenchmarkReceive is what a message costs between the reader and the owner, where nothing is covered.
func BenchmarkReceive(b *testing.B) {
	for name, c := range map[string]struct {
		verbs verbs
		kind  resp.Kind
	}{"channel": {channels, resp.Message}, "pattern, unwanted": {patterns, resp.PMessage}} {
		b.Run(name, func(b *testing.B) {
			sh := &shared{owner: &deaf{deskOwner{Table: topics.New(limits), more: make(chan struct{}, 1)}}}
			sh.channel, _ = newTemplate("channel", DefaultChannel)
			s := newServer(sh, nil, c.verbs, nil)
			e := resp.Event{Kind: c.kind, Channel: []byte("channel:prices:AAPL"), Payload: []byte(benchValue)}
			b.ReportAllocs()
			for b.Loop() {
				s.receive(e, 1)
			}
		})
	}
}

// BenchmarkCovered is the same by a pattern beside channels: of a topic that nobody wants, of one that has a subscription
// of its own, and of none that is covered.
func BenchmarkCovered(b *testing.B) {
	for name, channel := range map[string]string{"told": "channel:prices:AAPL", "wanted": "channel:prices:AWANTED", "not covered": "channel:prices:B"} {
		b.Run(name, func(b *testing.B) {
			sh := &shared{owner: &deaf{deskOwner{Table: topics.New(limits), more: make(chan struct{}, 1)}}}
			sh.channel, _ = newTemplate("channel", DefaultChannel)
			s := newServer(sh, nil, channels, nil)
			if err := s.Cover([]string{"A"}); err != nil {
				b.Fatal(err)
			}
			s.Apply([]topics.Change{{Topic: "AWANTED", Wanted: true}})
			s.copies.expected = true
			e := resp.Event{Kind: resp.PMessage, Channel: []byte(channel), Pattern: []byte("channel:prices:A*"), Payload: []byte(benchValue)}
			b.ReportAllocs()
			for b.Loop() {
				s.receive(e, 1)
			}
		})
	}
}
