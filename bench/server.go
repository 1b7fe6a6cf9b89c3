// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"time"

	"tickedge/bench/internal/procfs"
)

// hostSample is what the kernel says at one moment.
type hostSample struct {
	at     time.Time
	procs  []procfs.Sample // In the order of the pids.
	errs   []error
	tcpMem int64
}

func sampleHost(pids []int) *hostSample {
	h := &hostSample{at: time.Now(), procs: make([]procfs.Sample, len(pids)), errs: make([]error, len(pids))}
	for i, pid := range pids {
		h.procs[i], h.errs[i] = procfs.Read(pid)
	}
	h.tcpMem, _ = procfs.TCPMem()
	return h
}

// serverCost is what one process of the edge used.
type serverCost struct {
	PID         int     `json:"pid"`
	Error       string  `json:"error,omitempty"` // It could not be sampled; the rest is not good.
	CPUSeconds  float64 `json:"cpu_seconds"`     // While holding.
	CPUPercent  float64 `json:"cpu_percent"`     // Of one core, while holding.
	CPUPerFrame float64 `json:"cpu_us_per_frame"`
	RSSPerConn  float64 `json:"rss_bytes_per_conn"` // What came on top of Before, at the end.

	Before procfs.Sample `json:"before"` // The first connect.
	Held   procfs.Sample `json:"held"`   // The beginning of holding.
	After  procfs.Sample `json:"after"`  // The end of holding.
}

// costs compares three samples. frames are those of the holding time.
func costs(pids []int, before, held, after *hostSample, frames uint64, conns int) []serverCost {
	var all []serverCost
	seconds := after.at.Sub(held.at).Seconds()
	for i, pid := range pids {
		c := serverCost{PID: pid, Before: before.procs[i], Held: held.procs[i], After: after.procs[i]}
		for _, h := range []*hostSample{before, held, after} {
			if h.errs[i] != nil && c.Error == "" {
				c.Error = fmt.Sprint(h.errs[i])
			}
		}
		if c.Error != "" {
			all = append(all, c)
			continue
		}
		c.CPUSeconds = (c.After.CPU - c.Held.CPU).Seconds()
		c.CPUPercent = ratio(100*c.CPUSeconds, seconds)
		c.CPUPerFrame = ratio(1e6*c.CPUSeconds, float64(frames))
		c.RSSPerConn = ratio(float64(c.After.RSS-c.Before.RSS), float64(conns))
		all = append(all, c)
	}
	return all
}

// ratio is 0 if there is nothing to divide by, so that it can be written as JSON.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// sum adds up one number of all processes of the server.
func (res *result) sum(of func(s *serverCost) float64) (total float64) {
	for i := range res.Servers {
		total += of(&res.Servers[i])
	}
	return total
}
