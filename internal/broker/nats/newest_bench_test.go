// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"fmt"
	"sync/atomic"
	"testing"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/topics"
)

// counting is an owner that counts the values it was handed, and says when it has so many.
type counting struct {
	*ear
	left atomic.Int64
	all  chan struct{}
}

func (c *counting) Repair(string, string, uint64, topics.Meta) (o topics.Outcome) {
	if c.left.Add(-1) == 0 {
		c.all <- struct{}{}
	}
	return o
}

// BenchmarkNewest is what the newest value of a topic takes, of 20,000 that are wanted at once.
func BenchmarkNewest(b *testing.B) {
	for name, start := range map[string]func(b *testing.B) (addr string){
		"batches": func(b *testing.B) string {
			s, _ := startServer(b, b.TempDir(), -1)
			return s.Addr().String()
		},
		"singles": func(b *testing.B) string {
			s, o := startServer(b, b.TempDir(), -1)
			permit(b, s, o, []string{api + "DIRECT.GET." + testStream}, nil)
			return s.Addr().String()
		},
		"singles, Debian's": func(b *testing.B) string { return startDebian(b) },
	} {
		b.Run(name, func(b *testing.B) { benchNewest(b, start(b)) })
	}
}

func benchNewest(b *testing.B, addr string) {
	const n = 20_000
	js := makeStream(b, dialAddr(b, addr), true)
	wanted, unwanted := make([]topics.Change, n), make([]topics.Change, n)
	for i := range n {
		topic := fmt.Sprintf("GEN-%06d", i)
		wanted[i], unwanted[i] = topics.Change{Topic: topic, Wanted: true}, topics.Change{Topic: topic}
		if _, err := js.PublishAsync("md."+topic, []byte(`{"p":189.87,"ts":1732181723411}`), natsgo.StallWait(patience)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	c := &counting{ear: newEar(), all: make(chan struct{}, 1)}
	s := runSource(b, fmt.Sprintf("nats://edge:%s@%s", secret, addr), c, c.ear)
	for b.Loop() {
		c.left.Store(n)
		s.Apply(wanted)
		<-c.all
		s.Apply(unwanted)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*b.N), "ns/value")
}
