// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

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
	for name, start := range map[string]func(b *testing.B) process{
		"batches": func(b *testing.B) process {
			s, _ := startServer(b, b.TempDir(), -1)
			return process{addr: s.Addr().String()}
		},
		"singles": func(b *testing.B) process {
			s, o := startServer(b, b.TempDir(), -1)
			permit(b, s, o, []string{api + "DIRECT.GET." + testStream}, nil)
			return process{addr: s.Addr().String()}
		},
		"singles, Debian's": func(b *testing.B) process { return startDebian(b) },
	} {
		b.Run(name, func(b *testing.B) { benchNewest(b, start(b)) })
	}
}

func benchNewest(b *testing.B, of process) {
	const n = 20_000
	js := makeStream(b, dialAddr(b, of.addr), true)
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
	before := usedCPU(b, of.pid)
	s := runSource(b, fmt.Sprintf("nats://edge:%s@%s", secret, of.addr), c, c.ear)
	for b.Loop() {
		c.left.Store(n)
		s.Apply(wanted)
		<-c.all
		s.Apply(unwanted)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*b.N), "ns/value")
	b.ReportMetric(float64(usedCPU(b, of.pid)-before)/float64(n*b.N), "cpu-ns/value")
}

// usedCPU is what this process, and another if there is one, have used of processors. The other is told in ticks of
// 10 ms (proc(5)).
func usedCPU(b *testing.B, other int) (used time.Duration) {
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		b.Fatal(err)
	}
	used = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	if other == 0 {
		return used
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", other))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')'):])) // Of which the first is the 2nd there.
	for _, field := range fields[12:14] {
		ticks, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		used += time.Duration(ticks) * 10 * time.Millisecond
	}
	return used
}
