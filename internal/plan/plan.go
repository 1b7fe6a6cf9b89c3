// SPDX-License-Identifier: Apache-2.0

// Package plan says what a number of clients takes of processors, memory, network and broker. It
// is arithmetic over what was measured, and asks nothing of the host.
//
//	plan.go    Plan, and Make
//	load.go    Load: what is planned for, and the ranges of it
//	costs.go   what was measured, with the commands
//	traffic.go frames, rows, bytes and packets
//	edges.go   processors, memory and files; how many edges, and what happens if one goes
//	broker.go  what the broker has to bring
//	text.go    the plan for people
package plan

import (
	"fmt"
	"strconv"
	"time"

	"tickedge/internal/doctor"
)

// Plan is what [Make] finds. Each part has its sums: how its numbers follow, in words.
type Plan struct {
	Load     Load     `json:"load"`
	Traffic  Traffic  `json:"traffic"`
	Edges    Edges    `json:"edges"`
	OneGone  OneGone  `json:"one_edge_gone"`
	Comeback Comeback `json:"comeback"`
	Broker   Broker   `json:"broker"`
	Proxy    *Proxy   `json:"proxy,omitempty"`
	Price    *Price   `json:"price,omitempty"`

	Warnings    []string `json:"warnings,omitempty"` // What does not fit, and what to do.
	Assumptions []string `json:"assumptions"`
}

// Proxy is what ends TLS before the edges, which speak none.
type Proxy struct {
	Cores  float64  `json:"cores"`
	Memory int64    `json:"memory_expected"`
	Files  int64    `json:"files"`
	Opens  float64  `json:"comeback_cpu_seconds"` // Handshakes, if all clients come back.
	Sums   []string `json:"sums"`
}

// Price is what egress costs.
type Price struct {
	PerGB float64  `json:"per_gb"`
	GB    float64  `json:"gb_per_month"`
	Month float64  `json:"per_month"`
	Sums  []string `json:"sums"`
}

// Make plans for a load that [Load.Validate] has found good.
func Make(l Load) Plan {
	p := Plan{Load: l}
	p.traffic()
	p.edges()
	p.oneGone()
	p.comeback()
	p.broker()
	if l.TLS {
		p.proxy()
	}
	if l.EgressPrice > 0 {
		p.price()
	}
	p.limits()
	p.assume()
	return p
}

func (p *Plan) proxy() {
	frames, clients := p.Traffic.Frames, p.Load.Clients
	cores := frames * proxyFrame.Seconds()
	p.Proxy = &Proxy{Cores: cores / doctor.MostBusy, Memory: clients * proxyMemory, Files: 2 * clients,
		Opens: float64(clients) * proxyOpen.Seconds()}
	p.Proxy.Sums = []string{
		fmt.Sprintf("%s frames/s × %v = %s cores of HAProxy for TLS, / %v to have", rate(frames), proxyFrame, short(cores), doctor.MostBusy),
		fmt.Sprintf("%s clients × (%d B, 2 files) in proxies", doctor.Count(clients), proxyMemory),
		fmt.Sprintf("%s clients × %v = %s of CPU of proxies, if all come back", doctor.Count(clients), proxyOpen, span(p.Proxy.Opens)),
	}
}

func (p *Plan) price() {
	l, out := p.Load, p.Traffic.Out
	gb := out * secondsPerMonth / 1e9
	p.Price = &Price{PerGB: l.EgressPrice, GB: gb, Month: gb * l.EgressPrice, Sums: []string{
		fmt.Sprintf("%s/s × %s s × %v per GB", decimal(out), doctor.Count(secondsPerMonth), l.EgressPrice),
	}}
}

// limits warns of limits that edges have by default.
func (p *Plan) limits() {
	l := p.Load
	if l.Topics > l.Limits.Topics {
		p.warn("a client may have %d topics: set -max-topics %d", l.Limits.Topics, l.Topics)
	}
	if l.Symbols > l.Limits.TopicsTotal {
		p.warn("an edge holds %d topics: set -max-topics-total %d", l.Limits.TopicsTotal, l.Symbols)
	}
}

func (p *Plan) warn(format string, a ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, a...))
}

// assume says what the arithmetic takes for granted.
func (p *Plan) assume() {
	p.Assumptions = []string{
		"ticks of a topic come at random (Poisson), and each client draws its topics at random, evenly",
		"all clients read as fast as they are written to, and stay; none has a screen",
		"processors like those of docs/BUDGET.md, where the times were measured over the loopback: measure yours with bench hold",
		fmt.Sprintf("edge doctor counts %v a frame, as on processors that others use too: %s cores", doctor.FlushCost,
			short(p.Traffic.Frames*doctor.FlushCost.Seconds())),
		fmt.Sprintf("processors are used for %.0f %% at most, and memory for 9/10", 100*doctor.MostBusy),
		fmt.Sprintf("a packet has %d bytes of payload at most, %d of TCP and IP, and every other one is acknowledged", segment, headers),
	}
	if p.Load.TLS {
		p.Assumptions = append(p.Assumptions,
			"TLS ends at a proxy on other processors, and the way from there to the edges is not counted as egress")
	}
}

// rate writes a number per second.
func rate(n float64) string {
	if n < 100 {
		return short(n)
	}
	return doctor.Count(int64(n + 0.5))
}

// short writes a number with three digits.
func short(n float64) string {
	if n >= 100 {
		return doctor.Count(int64(n + 0.5))
	}
	return strconv.FormatFloat(n, 'g', 3, 64)
}

// decimal writes bytes by thousands, as networks and their prices count.
func decimal(n float64) string { return scaled(n, "B", "kB", "MB", "GB", "TB", "PB") }

// bits writes bytes a second as networks name their speed.
func bits(n float64) string {
	return scaled(8*n, "bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s")
}

// scaled writes a number in the unit that fits, each of which is a thousand of the one before it.
func scaled(n float64, units ...string) string {
	for n >= 1000 && len(units) > 1 {
		n, units = n/1000, units[1:]
	}
	return short(n) + " " + units[0]
}

// span writes a time of some seconds.
func span(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(100 * time.Millisecond).String()
}
