// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// share is a part of the CPU time of a profile.
type share struct {
	Of      string  `json:"of"`
	Percent float64 `json:"percent"`
}

// layer is a part of a program, known by functions that have it on their stack.
type layer struct {
	name  string
	marks []string // Beginnings of the full names of functions.
}

// edgeLayers are the parts of an edge. A sample belongs to the first one that is on its
// stack, so that the shares add up.
var edgeLayers = []layer{
	{"collector", []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart", "runtime.gcMarkTermination"}},
	{"system calls of reading", []string{"internal/poll.(*FD).Read"}},
	{"reading messages", []string{"tickedge/internal/resp.", "tickedge/internal/broker/nats.(*tap).parse", "tickedge/internal/broker/nats.(*tap).passed"}},
	{"go-redis", []string{"github.com/redis/go-redis"}},
	{"is it JSON, is it UTF-8", []string{"tickedge/internal/broker.Inspect"}},
	{"the topic table", []string{"tickedge/internal/topics."}},
	{"the rest of the feed", []string{"tickedge/internal/feed.", "tickedge/internal/broker"}},
	{"nats.go", []string{"github.com/nats-io/nats%2ego"}}, // Behind the feed, as its goroutine reads for that.
	{"clients: visits, frames, sockets", []string{"tickedge/internal/loop.", "tickedge/internal/fanout.", "github.com/panjf2000/gnet"}},
	{"the Go scheduler", []string{"runtime.mcall", "runtime.schedule", "runtime.findRunnable", "runtime.mstart", "runtime.sysmon", "runtime.goexit0", "runtime.morestack"}},
	{"the rest", []string{""}},
}

// layerOf finds the part of layers that a stack, the called function first, belongs to.
func layerOf(layers []layer, stack []string) int {
	on := func(mark string) bool {
		return slices.ContainsFunc(stack, func(f string) bool { return strings.HasPrefix(f, mark) })
	}
	for i, l := range layers {
		if slices.ContainsFunc(l.marks, on) {
			return i
		}
	}
	panic("bench: a stack of no layer")
}

// buildPprof has the tool built, as its first use does otherwise: while something is measured.
func buildPprof(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-h").CombinedOutput(); err != nil {
		return fmt.Errorf("go tool pprof: %w\n%s", err, out)
	}
	return nil
}

// profileShares is what an edge spent its CPU on, by the profile in a file.
func profileShares(ctx context.Context, file string, layers []layer) ([]share, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "pprof", "-traces", "-unit", "us", "-symbolize", "none", file)
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go tool pprof: %w", err)
	}
	return sharesOf(string(text), layers)
}

// sharesOf adds up what go tool pprof -traces prints: a head, and then for each stack a
// line of dashes, a line with the time and the called function, and one for each caller.
func sharesOf(traces string, layers []layer) ([]share, error) {
	_, blocks, ok := strings.Cut(traces, "-----------+")
	times, total := make([]float64, len(layers)), 0.0
	for ok {
		var block string
		block, blocks, ok = strings.Cut(blocks, "-----------+")
		_, block, _ = strings.Cut(block, "\n") // The rest of the dashes.
		var stack []string
		us := 0.0
		for line := range strings.Lines(block) {
			words := strings.Fields(line)
			if len(stack) == 0 && len(words) >= 2 {
				n, err := strconv.ParseFloat(strings.TrimSuffix(words[0], "us"), 64)
				if err != nil {
					return nil, fmt.Errorf("go tool pprof -traces: no time in %q", line)
				}
				us, words = n, words[1:]
			}
			if len(words) > 0 {
				stack = append(stack, words[0])
			}
		}
		if len(stack) > 0 {
			times[layerOf(layers, stack)] += us
			total += us
		}
	}
	if total == 0 {
		return nil, nil // An edge with next to nothing to do leaves none.
	}
	var all []share
	for i, us := range times {
		all = append(all, share{layers[i].name, 100 * us / total})
	}
	return all, nil
}
