//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"tickedge/bench/internal/lab"
)

// density is the memory of a conn, in the server and in the kernel.
type density struct {
	Good     bool           `json:"good"`
	Conns    int            `json:"conns"`
	Topics   int            `json:"topics"`
	Rate     float64        `json:"ticks_per_second"`
	Servers  []densityPoint `json:"servers"`
	Problems []string       `json:"problems,omitempty"`
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
	c := &labConfig{mode: "density", conns: densityConns(), hold: 10 * time.Second}
	f := newLabFlags(c)
	f.StringVar(&c.servers, "servers", edgeName+","+gnetName, "`list` of servers out of "+targetNames())
	if err := c.parse(f, args, stderr); err != nil {
		return flagError(c.mode, err, stderr)
	}
	return runLab(c, stdout, stderr, (*session).density)
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
			if _, err := s.lab.Ticks(s.redis, s.universe, s.rate); err != nil {
				return nil, err
			}
		}
		for _, t := range s.targets {
			set := s.setting
			if state == idleState && !t.feed {
				set.window, set.rate = windowMax, 1 // They flush whether there are ticks or not.
			}
			s.progress("density: %s, %s", t.name, state)
			p, err := s.densityOf(t, set)
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
func (s *session) densityOf(t target, set setting) (*densityPoint, error) {
	server, err := t.start(s.lab, set)
	if err != nil {
		return nil, err
	}
	var kernel [2]lab.Kernel
	var memory [2]map[string]float64 // Of the edge.
	var watchErr error
	res, err := s.hold(server, s.conns, s.topics, func(moment int) {
		if moment == atHold {
			return
		}
		i := moment / atEnd
		var kernelErr, metricsErr error
		kernel[i], kernelErr = lab.ReadKernel()
		// The first scrape costs the edge some memory; before the conns it does no harm.
		memory[i], metricsErr = server.Metrics()
		watchErr = errors.Join(watchErr, kernelErr, metricsErr)
	})
	if err := errors.Join(err, watchErr, s.lab.StopServer(server)); err != nil {
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

// conclude forms the ratios and gathers the problems.
func (d *density) conclude() {
	for i := range d.Servers {
		p := &d.Servers[i]
		for _, of := range d.Servers {
			if of.Server == gnetName && of.State == p.State {
				p.RSSToGnet = ratio(p.RSS, of.RSS)
			}
		}
		for _, problem := range p.Raw.Problems {
			d.Problems = append(d.Problems, fmt.Sprintf("%s, %s: %s", p.Server, p.State, problem))
		}
	}
	d.Good = len(d.Problems) == 0
}

func (d *density) good() bool { return d.Good }

func (d *density) headline() string {
	return fmt.Sprintf("%d conns with %d topics each; fan-out: %.0f ticks/s. Bytes per conn; kernel: both ends of the conn.",
		d.Conns, d.Topics, d.Rate)
}

func (d *density) table() *table {
	t := newTable("server", "state", "RSS", "to gnet", "Pss", "heap", "stacks", "slab", "TCP buffers", "fds", "goroutines", "CPU %", "frames")
	for _, p := range d.Servers {
		number := func(v float64) string { return fmt.Sprintf("%.0f", v) }
		t.row(p.Server, p.State, number(p.RSS), orDash("%.2f", p.RSSToGnet), number(p.PSS), orDash("%.0f", p.Heap), orDash("%.0f", p.Stack),
			number(p.Slab), number(p.TCPMem), fmt.Sprintf("%.2f", p.FDs), orDash("%.0f", p.Goroutines), fmt.Sprintf("%.1f", p.CPUPercent), fmt.Sprint(p.Frames))
	}
	return t
}

func (d *density) writeText(w io.Writer) error {
	fmt.Fprintln(w, d.headline())
	if err := d.table().writeText(w, tabwriter.AlignRight); err != nil {
		return err
	}
	return verdict(w, d.Problems)
}

// verdict is the last line of a result.
func verdict(w io.Writer, problems []string) error {
	text := "good"
	if len(problems) > 0 {
		text = "NOT GOOD: " + strings.Join(problems, "; ")
	}
	_, err := fmt.Fprintln(w, "result:", text)
	return err
}

// orDash is the number, or a dash if there is none.
func orDash(format string, v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf(format, v)
}
