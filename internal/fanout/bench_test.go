// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

const (
	benchTopics = 1000
	benchConns  = 1000
)

// perVisit reports the time of one visit of one conn, and what it wrote.
func perVisit(b *testing.B, m *market, before Stats) {
	st := m.shard.Stats()
	visits := float64(st.Count[Visits] - before.Count[Visits])
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/visits, "ns/visit")
	b.ReportMetric(float64(st.Count[UpdateRows]-before.Count[UpdateRows])/visits, "rows/visit")
}

// A window in which all topics of all conns have ticked: 10 of 1,000 topics each. An
// operation is a window of 1,000 conns.
func BenchmarkFlush(b *testing.B) {
	m := newMarket(b, steadyConfig(), benchTopics, benchConns, 10)
	m.turns()
	before := m.shard.Stats()
	b.ReportAllocs()
	for b.Loop() {
		m.forget()
		m.tick(500 * time.Millisecond)
	}
	perVisit(b, m, before)
}

// A window in which none of a conn's topics has ticked, but some other has.
func BenchmarkNothingNew(b *testing.B) {
	m := newMarket(b, steadyConfig(), benchTopics, benchConns, 10)
	m.turns()
	if _, err := m.table.Acquire([]byte("OTHER"), 0); err != nil {
		b.Fatal(err)
	}
	m.table.Publish("OTHER", "1", topics.Meta{})
	watermark := m.table.Watermark()
	before := m.shard.Stats()
	b.ReportAllocs()
	for b.Loop() {
		// Served up to just before that tick.
		for _, id := range m.ids {
			m.shard.conn(id).served = watermark - 1
		}
		m.tick(500 * time.Millisecond)
	}
	perVisit(b, m, before)
}

// A window in which nothing has ticked at all.
func BenchmarkQuiet(b *testing.B) {
	m := newMarket(b, steadyConfig(), benchTopics, benchConns, 10)
	m.turns()
	before := m.shard.Stats()
	b.ReportAllocs()
	for b.Loop() {
		m.tick(500 * time.Millisecond)
	}
	perVisit(b, m, before)
}

// Ten topics with rows are subscribed, their snapshot is made, and they are given up.
func BenchmarkSubscribe(b *testing.B) {
	m := newMarket(b, steadyConfig(), benchTopics, benchConns, 10)
	m.turns()
	other := m.shard.Add()
	m.shard.Open(other, WebSocket, 1, 0, nil)
	on := protocol.Command{Op: protocol.OpSubscribe, Topics: byteNames(m.names[:10])}
	off := protocol.Command{Op: protocol.OpUnsubscribe, Topics: on.Topics}
	out := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		m.command(other, &on, out)
		m.command(other, &off, out)
	}
}

// An update of a megabyte, in pieces of different sizes: 256 topics of 4 KiB that have all
// ticked. An operation is one such update.
func BenchmarkPieces(b *testing.B) {
	for _, piece := range []int{16 << 10, pieceMax, 64 << 10, 2 << 20} {
		b.Run(strconv.Itoa(piece>>10)+"KiB", func(b *testing.B) {
			m := newMarket(b, steadyConfig(), 257, 1, 256)
			m.shard.piece = piece
			for _, name := range m.names {
				m.table.Publish(name, `"`+strings.Repeat("v", 4<<10-2)+`"`, topics.Meta{})
			}
			m.turns()
			before := m.shard.Stats()
			b.ReportAllocs()
			for b.Loop() {
				m.forget()
				m.tick(500 * time.Millisecond)
				for m.shard.conn(m.ids[0]).topics.pending&passing != 0 {
					m.tick(SlotTime)
				}
			}
			st := m.shard.Stats()
			b.ReportMetric(float64(st.Count[Flushes]-before.Count[Flushes])/float64(b.N), "pieces")
		})
	}
}
