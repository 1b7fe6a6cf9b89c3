// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"strings"
	"testing"
)

// traces is what go tool pprof -traces -unit us prints, cut short.
const traces = `File: cmd-edge
Type: cpu
Duration: 5s, Total samples = 100000us (2.00%)
-----------+-------------------------------------------------------
   10000us   internal/runtime/syscall/linux.Syscall6
             syscall.read
             internal/poll.(*FD).Read
             tickedge/internal/broker/redis.(*link).Read
             tickedge/internal/resp.(*Reader).Next
             tickedge/internal/broker/redis.(*link).receive
-----------+-------------------------------------------------------
   20000us   runtime.mallocgc
             runtime.makeslice
             github.com/redis/go-redis/v9/internal/proto.(*Reader).readSlice
             tickedge/internal/broker/redis.(*fetcher).run
-----------+-------------------------------------------------------
   20000us   tickedge/internal/resp.header (inline)
             tickedge/internal/resp.(*Reader).Next
             tickedge/internal/broker/redis.(*link).receive
-----------+-------------------------------------------------------
   30000us   runtime.mapaccess2_faststr
             tickedge/internal/topics.(*Table).Publish
             tickedge/internal/broker/redis.(*link).receive
-----------+-------------------------------------------------------
   10000us   runtime.scanObject
             runtime.gcAssistAlloc
             runtime.mallocgc
             tickedge/internal/topics.newRow
-----------+-------------------------------------------------------
   10000us   somebody.else
`

func TestSharesOf(t *testing.T) {
	shares, err := sharesOf(traces, edgeLayers)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	sum := 0.0
	for _, s := range shares {
		got[s.Of] = s.Percent
		sum += s.Percent
	}
	for of, want := range map[string]float64{
		"system calls of reading": 10, "go-redis": 20, "reading messages": 20,
		"the topic table": 30, "collector": 10, "the rest": 10, "is it JSON, is it UTF-8": 0,
	} {
		if p, ok := got[of]; !ok || p < want-0.01 || p > want+0.01 {
			t.Errorf("%s: %v %%, want %v", of, p, want)
		}
	}
	if sum < 99.9 || sum > 100.1 {
		t.Errorf("all together are %v %%", sum)
	}
	if shares, err := sharesOf("File: cmd-edge\nType: cpu\n", edgeLayers); shares != nil || err != nil {
		t.Errorf("of an empty profile: %v, %v", shares, err)
	}
	if _, err := sharesOf(strings.Replace(traces, "10000us", "ten", 1), edgeLayers); err == nil {
		t.Error("a line without a time is taken")
	}
}
