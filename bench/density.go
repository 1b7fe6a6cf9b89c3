// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"tickedge/bench/internal/chart"
	"tickedge/bench/internal/lab"
)

// density is the memory of a conn, in the server and in the kernel.
type density struct {
	conclusion
	Conns   int            `json:"conns"`
	Topics  int            `json:"topics"`
	Rate    float64        `json:"ticks_per_second"`
	Servers []densityPoint `json:"servers"`
}

// densityPoint is one server in one state. All sizes are bytes per conn: what came on
// top of the server without conns.
type densityPoint struct {
	Server     string  `json:"server"`
	State      string  `json:"state"`
	RSS        float64 `json:"rss"`
	PSS        float64 `json:"pss"`
	Heap       float64 `json:"heap_in_use,omitempty"` // Of the edge, garbage included.
	Stack      float64 `json:"stack_in_use,omitempty"`
	Slab       float64 `json:"kernel_slab"` // Both ends of the conn, as is TCPMem.
	TCPMem     float64 `json:"kernel_tcp_buffers"`
	FDs        float64 `json:"fds"`
	Goroutines float64 `json:"goroutines,omitempty"` // In all, not per conn.
	GoBefore   float64 `json:"goroutines_without_conns,omitempty"`
	CPUPercent float64 `json:"cpu_percent"` // Of one core, while held.
	RSSToGnet  float64 `json:"rss_to_gnet,omitempty"`
	Frames     uint64  `json:"frames"`
	Raw        *result `json:"raw"`
}

const (
	idleState   = "idle"
	fanoutState = "fan-out"
)

func runDensity(args []string, stdout, stderr io.Writer) int {
	c := newLab("density", densityConns(), 10*time.Second, "")
	f := newLabFlags(c)
	c.serversFlag(f, edgeName, gnetName)
	return c.run(f, args, stdout, stderr, nil, (*session).density)
}

// densityConns is three quarters of the file limit, and no more than 15,000, so that
// a run takes a minute.
func densityConns() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 500
	}
	return int(min(limit.Cur/4*3, 15_000))
}

// density holds conns at each server, first without ticks, then with them. Each time
// the server is a new process, so that nothing of the state before is in its memory.
func (s *session) density() (outcome, error) {
	d := &density{Conns: s.conns, Topics: s.topics, Rate: s.rate}
	if err := s.ticks(0); err != nil {
		return nil, err
	}
	for _, state := range []string{idleState, fanoutState} {
		if state == fanoutState {
			if _, err := s.lab.Ticks(s.source, s.universe, s.rate); err != nil {
				return nil, err
			}
		}
		for _, t := range s.targets {
			set := *s.labConfig
			if state == idleState && !t.feed {
				set.window, set.rate = windowMax, 1 // They flush whether there are ticks or not.
			}
			s.progress("density: %s, %s", t.name, state)
			p, err := s.densityOf(t, &set)
			if err != nil {
				return nil, err
			}
			p.State = state
			d.Servers = append(d.Servers, *p)
		}
	}
	d.conclude()
	return d, nil
}

// densityOf measures one server in one state.
func (s *session) densityOf(t target, set *labConfig) (*densityPoint, error) {
	var kernel [2]lab.Kernel
	var memory [2]lab.Metrics // Of the edge.
	res, err := s.holdAt(t, set, s.conns, s.topics, func(server *lab.Server, moment int) (err error) {
		if moment == atHold {
			return nil
		}
		i := moment / atEnd
		if kernel[i], err = lab.ReadKernel(); err == nil {
			// The first scrape costs the edge some memory; before the conns it does no harm.
			memory[i], err = server.Metrics()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	grown := func(name string) float64 { return ratio(memory[1][name]-memory[0][name], float64(res.Open)) }
	p := densityPointOf(res, kernel[0], kernel[1])
	p.Server = t.name
	p.Heap = grown("go_memstats_heap_inuse_bytes")
	p.Stack = grown("go_memstats_stack_inuse_bytes")
	p.Goroutines, p.GoBefore = memory[1]["go_goroutines"], memory[0]["go_goroutines"]
	return p, nil
}

// densityPointOf divides by the conns that were open.
func densityPointOf(res *result, before, after lab.Kernel) *densityPoint {
	p := &densityPoint{Frames: res.Frames, Raw: res}
	per := func(n int64) float64 { return ratio(float64(n), float64(res.Open)) }
	for _, s := range res.Servers {
		p.RSS += per(s.After.RSS - s.Before.RSS)
		p.PSS += per(s.After.PSS - s.Before.PSS)
		p.FDs += per(int64(s.After.FDs - s.Before.FDs))
		p.CPUPercent += s.CPUPercent
	}
	p.Slab, p.TCPMem = per(after.Slab-before.Slab), per(after.TCPMem-before.TCPMem)
	return p
}

// to is the RSS of one server to that of another in the same state, 0 if that did not take part.
func (d *density) to(name string, p *densityPoint) float64 {
	for _, of := range d.Servers {
		if of.Server == name && of.State == p.State {
			return ratio(p.RSS, of.RSS)
		}
	}
	return 0
}

// conclude forms the ratios and gathers the problems.
func (d *density) conclude() {
	for i := range d.Servers {
		p := &d.Servers[i]
		p.RSSToGnet = d.to(gnetName, p)
		d.take(p.name(), p.Raw.Problems, nil)
	}
	d.conclusion.conclude()
}

func (d *density) headline() string {
	return fmt.Sprintf("%d conns with %d topics each; fan-out: %.0f ticks/s. Bytes per conn; kernel: both ends of the conn.",
		d.Conns, d.Topics, d.Rate)
}

func (d *density) tables() []*table {
	t := newTable("server", "state", "RSS:%.0f", "to gnet:%.2f", "Pss:%.0f", "heap:%.0f", "stacks:%.0f", "slab:%.0f", "TCP buffers:%.0f",
		"fds:%.2f", "goroutines:%.0f", "CPU %:%.1f", "frames")
	t.right = true
	for _, p := range d.Servers {
		t.row(p.Server, p.State, p.RSS, number(p.RSSToGnet), p.PSS, number(p.Heap), number(p.Stack), p.Slab, p.TCPMem,
			p.FDs, number(p.Goroutines), p.CPUPercent, p.Frames)
	}
	return []*table{t}
}

func (d *density) report(r *report) {
	for _, p := range d.Servers {
		if to := d.to(edgeName, &p); to != 0 && p.Server == eventsName {
			r.atMost(limit{"RSS per stream of events, " + p.State, single(to), "%.2f", " × WebSockets", framingGoal, 0, false})
		}
		if p.Server != edgeName {
			continue
		}
		if d.Topics == topicsOfGoals {
			r.atMost(limit{"RSS per conn, " + p.State, single(p.RSS), "%.0f", " B", rssGoal, rssFar, false})
		}
		what := fmt.Sprintf("goroutines with %d conns, %s; %.0f without", d.Conns, p.State, p.GoBefore)
		r.atMost(limit{what, single(p.Goroutines), "%.0f", "", p.GoBefore + goroutinesMore, 0, false})
	}
	r.picture("rss", "RSS per conn", d.rssChart())
	r.picture("memory", "memory per conn with that of the kernel", d.memoryChart())
}

func (p *densityPoint) name() string { return p.Server + ", " + p.State }

func (d *density) rssChart() chart.Bars {
	c := chart.Bars{Title: fmt.Sprintf("Memory per conn with %d topics", d.Topics), Axis: "bytes of RSS per conn", Series: one}
	for _, p := range d.Servers {
		note := ""
		if p.RSSToGnet != 0 && p.Server != gnetName {
			note = fmt.Sprintf(" (%.2f × gnet)", p.RSSToGnet)
		}
		c.Rows = append(c.Rows, serverRow(p.Server, p.name(), chart.Bar{Value: p.RSS, Label: chart.Number(p.RSS, 1) + note}))
	}
	return c
}

func (d *density) memoryChart() chart.Bars {
	c := chart.Bars{
		Title: "Whose memory that is, and what the kernel adds", Axis: "bytes per conn; the kernel's are those of both ends", Stack: true,
		Series: []chart.Series{{Name: "Go heap", Colour: chart.Blue}, {Name: "stacks", Colour: chart.Sky}, {Name: "rest of RSS", Colour: chart.Light},
			{Name: "kernel: slab", Colour: chart.Grey}, {Name: "kernel: TCP buffers", Colour: chart.Orange}},
	}
	for _, p := range d.Servers {
		// What the heap has grown by can be more than RSS has: memory that was there before.
		heap := min(max(0, p.Heap), p.RSS)
		stack := min(max(0, p.Stack), p.RSS-heap)
		kernel := max(0, p.Slab) + max(0, p.TCPMem)
		c.Rows = append(c.Rows, chart.Row{Name: p.name(), Bars: []chart.Bar{
			{Value: heap}, {Value: stack}, {Value: p.RSS - heap - stack}, {Value: p.Slab},
			{Value: p.TCPMem, Label: chart.Number(p.RSS, 1) + " + " + chart.Number(kernel, 1)},
		}})
	}
	return c
}
