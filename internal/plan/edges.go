// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"math"

	"tickedge/internal/doctor"
)

// Edges is what edges take, one on each host, when all of them run. Memory is in bytes.
type Edges struct {
	Count   int     `json:"count"`
	Clients int64   `json:"clients_each"`
	Cores   float64 `json:"cores_each"`
	All     float64 `json:"cores_all"`
	Load    float64 `json:"load_each"` // The part of its host's processors.

	Memory   int64   `json:"memory_expected_each"` // RSS of the edge.
	Out      float64 `json:"bytes_out_per_second_each"`
	Packets  float64 `json:"packets_per_second_each"` // Both ways.
	Headroom float64 `json:"headroom"`                // How many times the clients would fit.

	Sums []string `json:"sums"`
}

// OneGone is what the other edges have to hold when one goes.
type OneGone struct {
	Holds   bool    `json:"holds"`
	Clients int64   `json:"clients_each"`
	Load    float64 `json:"load_each"`
	Memory  int64   `json:"memory_to_have_each"`
	Files   int64   `json:"files_each"`
	Back    float64 `json:"seconds_until_back"` // -1 is never.

	Sums []string `json:"sums"`
}

// Comeback is what it takes if all clients come back at once.
type Comeback struct {
	CPU     float64  `json:"cpu_seconds"`
	Seconds float64  `json:"seconds"` // -1 is never.
	Spread  float64  `json:"retry_spread_seconds"`
	Sums    []string `json:"sums"`
}

// feedCores is what an edge takes without clients: to be there, and for its ticks.
func feedCores(ticks float64, wanted int) float64 {
	return baseCores + ticks*tickCost(wanted)
}

// tickCost is in seconds. It grows with the topics, as they leave the caches: it is measured with
// 1,000 and with 100,000, and goes by the logarithm between.
func tickCost(wanted int) float64 {
	few, many := tickFew.Seconds(), tickMany.Seconds()
	return few + (many-few)*min(max(math.Log10(float64(max(wanted, 1))/wantedFew)/math.Log10(wantedMany/wantedFew), 0), 1)
}

// frameCores is what the frames of so many clients take.
func (p *Plan) frameCores(clients float64) float64 {
	l, t := p.Load, p.Traffic
	frames := t.Frames * clients / float64(l.Clients)
	visits := clients * (1 - t.Share) / l.Window.Seconds()
	return frames*l.FrameCost.Seconds() + frames*t.Rows*rowCost.Seconds() + visits*visitCost.Seconds()
}

// cores is what an edge with so many clients takes.
func (p *Plan) cores(clients float64) float64 {
	return feedCores(p.Load.ticks(), p.Load.Symbols) + p.frameCores(clients)
}

// memory is the RSS of an edge with so many clients.
func (p *Plan) memory(clients int64) int64 {
	l := p.Load
	return processMemory + int64(l.Symbols)*topicMemory + int64(l.ticks()*tickMemory) + clients*l.connMemory()
}

// connMemory is what a client takes of the memory of its edge.
func (l Load) connMemory() int64 { return connMemory + int64(float64(l.Topics)*connTopicMemory) }

// edges says how many it takes, so that all clients are held if one goes.
func (p *Plan) edges() {
	l := p.Load
	feed := feedCores(l.ticks(), l.Symbols)
	has := doctor.MostBusy * float64(l.Cores)
	perClient := p.frameCores(1)
	n := l.Edges
	var sums []string
	if n == 0 {
		n = 2
		if perClient > 0 {
			n = int(math.Ceil(float64(l.Clients)*perClient/(has-feed)-1e-9)) + 1
		}
		n = max(n, 2)
		sums = append(sums, fmt.Sprintf(
			"%s cores for frames / (%v × %d cores − %s for the feed of each edge), rounded up, + 1 in case one goes = %s",
			short(float64(l.Clients)*perClient), doctor.MostBusy, l.Cores, short(feed), edges(n)))
	}
	each := ceil(l.Clients, n)
	e := Edges{Count: n, Clients: each, Cores: p.cores(float64(l.Clients) / float64(n)), Memory: p.memory(each)}
	e.All = e.Cores * float64(n)
	e.Load = e.Cores / float64(l.Cores)
	e.Out = p.Traffic.Out / float64(n)
	e.Packets = (p.Traffic.PktsOut + p.Traffic.PktsIn) / float64(n)
	t := p.Traffic
	e.Sums = append([]string{
		fmt.Sprintf("%s frames/s × (%v + %s rows × %v) = %s cores for frames", rate(t.Frames), l.FrameCost, short(t.Rows), rowCost,
			short(float64(l.Clients)*perClient)),
		fmt.Sprintf("%s × (%v + %s ticks/s × %s µs) = %s cores for feeds", edges(n), baseCores, rate(l.ticks()),
			short(1e6*tickCost(l.Symbols)), short(feed*float64(n))),
	}, sums...)
	e.Sums = append(e.Sums, fmt.Sprintf(
		"%s + %s symbols × %d B + %s ticks/s × %d B + %s clients × (%d B + %d topics × %v B) = %s in each edge", doctor.Bytes(processMemory), doctor.Count(int64(l.Symbols)),
		topicMemory, rate(l.ticks()), tickMemory, doctor.Count(each), connMemory, l.Topics, connTopicMemory, doctor.Bytes(e.Memory)))
	p.Edges = e
	if e.Load > doctor.MostBusy {
		p.warn("each edge takes %s of %d cores, more than %.0f %%: its clients are served late; plan for more edges (-edges auto says how many)",
			short(e.Cores), l.Cores, 100*doctor.MostBusy)
	}
}

// oneGone is what the others hold then. It sizes memory and files, which must not run out.
func (p *Plan) oneGone() {
	l, n := p.Load, p.Edges.Count
	if n == 1 {
		p.OneGone = OneGone{Clients: l.Clients, Sums: []string{"there is no other edge: no client is served until it is back"}}
		p.warn("with one edge nobody is served while it is away: plan for two")
		n = 2 // Its own memory and files are those of one.
	}
	each := ceil(l.Clients, n-1)
	cores := p.cores(float64(l.Clients) / float64(n-1))
	user := max(doctor.UserPerConn, l.connMemory())
	pages := max(doctor.BusyPages, int64(math.Ceil(p.Traffic.Bytes/pageSize)))
	perConn := user + doctor.IdlePerConn + pages*pageSize
	base := int64(doctor.ProcessBase) + max(0, int64(l.Symbols-wantedMany))*topicMemory
	g := OneGone{Clients: each, Load: cores / float64(l.Cores), Memory: doctor.ToHave(base + each*perConn), Files: each + l.Limits.Reserve}
	g.Holds = p.Edges.Count > 1 && g.Load <= doctor.MostBusy+1e-9
	moved := ceil(l.Clients, p.Edges.Count)
	free := max(float64(l.Cores)*float64(n-1)-cores*float64(n-1), 0)
	g.Back = backIn(moved, free)
	g.Sums = append(p.OneGone.Sums,
		fmt.Sprintf("%s clients / %d = %s each, %s of %d cores", doctor.Count(l.Clients), n-1, doctor.Count(each), short(cores), l.Cores),
		fmt.Sprintf("(%s + %s clients × (%d B in the edge + %d B of the kernel + %d B on their way)) × 10/9 = %s of memory",
			doctor.Bytes(base), doctor.Count(each), user, int64(doctor.IdlePerConn), pages*pageSize, doctor.Bytes(g.Memory)),
		fmt.Sprintf("%s clients + %d for everything else = %s files", doctor.Count(each), l.Limits.Reserve, doctor.Count(g.Files)))
	if p.Edges.Count == 1 || math.IsInf(g.Back, 0) {
		g.Back = -1 // JSON has no other number for it.
	}
	if p.Edges.Count > 1 {
		if g.Back >= 0 {
			g.Sums = append(g.Sums, fmt.Sprintf("its %s clients × %v of CPU / %s free cores = back in %s, if they come at once",
				doctor.Count(moved), comebackCost, short(free), span(g.Back)))
		}
		if !g.Holds && p.Edges.Load <= doctor.MostBusy {
			p.warn("if one edge goes, the others are used for %.0f %%: plan for more edges (-edges auto says how many)", 100*g.Load)
		}
	}
	if g.Files > nrOpenDefault {
		p.warn("%s files for one edge are more than fs.nr_open of Linux (%s): raise it, or plan for more edges", doctor.Count(g.Files),
			doctor.Count(nrOpenDefault))
	}
	p.OneGone = g
}

// comeback is for a balancer, or all edges, that were away.
func (p *Plan) comeback() {
	l := p.Load
	free := float64(p.Edges.Count) * max(float64(l.Cores)-p.Edges.Cores, 0)
	c := Comeback{CPU: float64(l.Clients) * comebackCost.Seconds(), Spread: l.RetrySpread.Seconds()}
	at := backIn(l.Clients, free)
	c.Seconds = max(at, c.Spread)
	if math.IsInf(at, 0) {
		c.Seconds = -1 // The edges have no processor left for it.
		p.Comeback = c
		return
	}
	c.Sums = []string{fmt.Sprintf("%s clients × %v of CPU = %s, / %s free cores = %s", doctor.Count(l.Clients), comebackCost, span(c.CPU),
		short(free), span(at)),
		fmt.Sprintf("who is refused meanwhile comes back within -retry-spread, %v", l.RetrySpread)}
	if at > c.Spread {
		p.warn("all clients at once take %s to come back: set -retry-spread %.0fs, so that they are not refused again and again", span(at),
			math.Ceil(at))
	}
	p.Comeback = c
}

// backIn is how many seconds so many clients take to connect, subscribe and have a snapshot.
func backIn(clients int64, cores float64) float64 {
	return float64(clients) * comebackCost.Seconds() / cores
}

func edges(n int) string {
	if n == 1 {
		return "1 edge"
	}
	return doctor.Count(int64(n)) + " edges"
}

func ceil(a int64, n int) int64 { return (a + int64(n) - 1) / int64(n) }
