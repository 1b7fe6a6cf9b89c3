// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"sync"
	"time"
)

const (
	// crowdConns is how many subscribe while others flood, crowdHold how long they
	// are measured each time, and crowdRounds how often with and without the flood.
	crowdConns  = 5000
	crowdHold   = "10s"
	crowdRounds = 3
	// stalenessMax is by how much the flood may move the 99th percentile of their
	// staleness.
	stalenessMax = 50.0 // Milliseconds.
)

const stalenessDemand = "p99 moves by 50 ms at most"

var stalenessInput = input{
	name:   fmt.Sprintf("staleness: a conn of each kind of flood beside %d subscribers", crowdConns),
	demand: stalenessDemand,
	source: "ARCHITECTURE.md, invariant 9",
	send:   floodBeside,
}

// floodBeside measures subscribers in turns with and without a flood, by bench hold in a
// process of its own, and compares the medians.
func floodBeside(r *run) string {
	bench, err := r.edge.lab.Build("bench")
	if err != nil {
		return err.Error()
	}
	var calm, flooded []float64
	for range crowdRounds {
		p99, err := r.hold(bench)
		if err != nil {
			return err.Error()
		}
		calm = append(calm, p99)
		stop := r.flood()
		p99, err = r.hold(bench)
		if sent := stop(); err == nil && sent == 0 {
			err = fmt.Errorf("there was no flood")
		}
		if err != nil {
			return err.Error()
		}
		flooded = append(flooded, p99)
	}
	a, b := median(calm), median(flooded)
	fmt.Fprintf(r.log, "        p99 of the staleness of %d subscribers: %.0f ms in the calm (%.0f), %.0f ms beside the flood (%.0f)\n", crowdConns, a, calm, b, flooded)
	if b-a > stalenessMax {
		return fmt.Sprintf("p99 moves from %.0f to %.0f ms", a, b)
	}
	return stalenessDemand
}

// hold has bench hold subscribers and returns their p99, in milliseconds.
func (r *run) hold(bench string) (float64, error) {
	ctx, cancel := context.WithTimeout(r.edge.ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bench, "hold", "-json", "-addr", r.edge.addr, "-conns", fmt.Sprint(crowdConns),
		"-for", crowdHold, "-universe", fmt.Sprint(universe), "-topic-name", "GEN-%06d")
	var out, progress bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &progress
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("bench hold: %w\n%s%s", err, progress.String(), out.String())
	}
	var res struct {
		Staleness struct {
			P99 float64 `json:"p99_ms"`
		} `json:"staleness_of_updates"`
	}
	err := json.Unmarshal(out.Bytes(), &res)
	return res.Staleness.P99, err
}

// flood begins to flood: one conn with each kind of flood. All read, and come again at once
// when the edge has ended them. stop ends the flood and returns how many bytes the edge took
// of the kind of which it took the least.
func (r *run) flood() (stop func() int64) {
	ctx, cancel := context.WithCancel(r.edge.ctx)
	kinds := floodsOf()
	sent := make([]int64, len(kinds))
	var going sync.WaitGroup
	for i, f := range kinds {
		going.Go(func() {
			for ctx.Err() == nil {
				sent[i] += floodOnce(ctx, r.edge, f.b)
			}
		})
	}
	return func() int64 {
		cancel()
		going.Wait()
		return slices.Min(sent)
	}
}

// floodOnce floods until the conn or ctx ends.
func floodOnce(ctx context.Context, e *edge, b []byte) (sent int64) {
	p, err := e.upgraded("")
	if err != nil {
		return 0
	}
	_ = p.SetDeadline(time.Time{})
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(io.Discard, p) })
	defer reading.Wait()
	defer p.Close()
	defer context.AfterFunc(ctx, func() { _ = p.Close() })()
	if _, err := p.Write(allTopics()); err != nil {
		return 0
	}
	for {
		n, err := p.Write(b)
		sent += int64(n)
		if err != nil {
			return sent
		}
	}
}

func median(of []float64) float64 {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}
