// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// everything is a guard with all limits, none of which is met.
func everything() *Guard {
	return New(Config{ConnsPerPrefix: 1 << 20, PerPrefix: Rate{RateMax, RateMax}, Total: Rate{RateMax, RateMax}}, epoch)
}

func BenchmarkEnterLeave(b *testing.B) {
	g := everything()
	var begin atomic.Uint64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		n := begin.Add(1)
		random := rand.New(rand.NewPCG(n, 0))
		var sources [1024]Prefix
		for i := range sources {
			sources[i] = randomSource(random)
		}
		now := epoch
		for i := 0; pb.Next(); i++ {
			now = now.Add(2 * time.Microsecond)
			s := sources[i%len(sources)]
			if g.Enter(s, now).Outcome == OK {
				g.Leave(s)
			}
		}
	})
}

// A million addresses in turn, so that neither table is in the cache.
func BenchmarkEnterFlood(b *testing.B) {
	g := everything()
	random := rand.New(rand.NewPCG(1, 2))
	sources := make([]Prefix, 1<<20)
	for i := range sources {
		sources[i] = randomSource(random)
	}
	now := epoch
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		now = now.Add(2 * time.Microsecond)
		s := sources[i%len(sources)]
		if g.Enter(s, now).Outcome == OK && i >= len(sources)/4 {
			g.Leave(sources[(i-len(sources)/4)%len(sources)])
		}
	}
}

func BenchmarkRefuse(b *testing.B) {
	g := New(Config{ConnsPerPrefix: 1, PerPrefix: Rate{1, 1}}, epoch)
	s := src("192.0.2.1")
	g.Enter(s, epoch)
	b.ReportAllocs()
	for b.Loop() {
		g.Enter(s, epoch)
	}
}

func BenchmarkTake(b *testing.B) {
	l := NewLimit(Rate{10, 50}, 20)
	var bucket Bucket
	at := time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		at += 10 * time.Millisecond
		l.Take(&bucket, 1, at)
	}
}

func BenchmarkClientAddr(b *testing.B) {
	tr := trust(b, "10.0.0.0/8,2001:db8:ffff::/48,192.168.0.0/16")
	peer := netip.MustParseAddr("10.0.0.1")
	forwarded := []string{"203.0.113.9, 198.51.100.1, 10.0.0.2"}
	b.ReportAllocs()
	for b.Loop() {
		tr.ClientAddr(peer, forwarded)
	}
}
