// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"tickedge/internal/app"
	"tickedge/internal/flags"
	capacity "tickedge/internal/plan"
)

const planHelp = `edge plan says what a number of clients takes: hosts, processors, memory,
network, the load on the broker, and what happens if an edge goes.

  edge plan -clients 1000000 -topics 20 -symbols 5000 -tick-rate 2
  edge plan -clients 50000 -tls -egress-price 0.08 -json

It asks nothing of this host, and prints how each number follows;
docs/OPERATIONS.md has plans beside what was measured. Its flags are for the
command line alone. edge doctor -max-conns looks at a host that is to hold so
many clients.

Exit code: 0; 1 it can't be written; 2 a flag is wrong.
`

// edgeCount is the flag -edges: a number, or auto.
type edgeCount int

func (e *edgeCount) String() string {
	if *e == 0 {
		return "auto"
	}
	return strconv.Itoa(int(*e))
}

func (e *edgeCount) Set(s string) error {
	if s == "auto" {
		*e = 0
		return nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 || s[0] == '0' {
		return fmt.Errorf("%s is neither auto nor a number above 0", flags.Quote(s))
	}
	*e = edgeCount(n)
	return nil
}

// planFlags are the flags of edge plan, which are not those of the edge: a plan is for many.
func planFlags() (fs *flags.Set, l *capacity.Load, asJSON *bool) {
	c := newConfig()
	def := func(name string) string { return c.flags.Lookup(name).DefValue }
	l = &capacity.Load{Transport: capacity.WebSocket}
	l.Limits.Topics, _ = strconv.Atoi(def("max-topics"))
	l.Limits.TopicsTotal, _ = strconv.Atoi(def("max-topics-total"))
	asJSON = new(bool)
	fs = flags.New("edge plan", envPrefix+"_PLAN", nil, nil)
	fs.Group("What is planned for")
	clients := int64Value{&l.Clients}
	l.Clients = 100_000
	fs.Var(clients, "clients", "`number` of clients of all edges, such as 100000")
	fs.IntVar(&l.Topics, "topics", 10, "topics of each client")
	fs.IntVar(&l.Symbols, "symbols", 1000, "topics that there are")
	fs.Float64Var(&l.TickRate, "tick-rate", 2, "`ticks` per second of each of them")
	fs.DurationVar(&l.Window, "window", c.loop.Shard.Interval, "`time` between two frames of a client, -interval of the edge")
	fs.IntVar(&l.RowBytes, "row-bytes", 107, "`bytes` of a row in a frame: value, name and number; those of tickgen have 107")
	fs.StringVar((*string)(&l.Transport), "transport", string(capacity.WebSocket), "what clients speak: `ws or sse`")
	fs.BoolVar(&l.TLS, "tls", false, "a proxy in front ends TLS, as edges speak none")
	fs.Group("What is there for it")
	fs.Var((*edgeCount)(&l.Edges), "edges", "`number or auto`: auto is as many as it takes so that one may go")
	fs.IntVar(&l.Cores, "cores-per-host", 8, "processors of a host, which has one edge")
	fs.DurationVar(&l.FrameCost, "frame-cost", capacity.FrameCost,
		"`time` of a processor for a frame without rows: set what bench hold measures on your hosts, less the feed")
	fs.Float64Var(&l.EgressPrice, "egress-price", 0, "`price` of a GB (10^9 bytes) that leaves, such as 0.08; 0 leaves it out")
	fs.DurationVar(&l.RetrySpread, "retry-spread", c.loop.RetrySpread,
		"that of the edges: `time` over which clients that are refused come back")
	fs.BoolVar(asJSON, "json", false, "print JSON")
	for name := range fs.Names {
		fs.OnlyArgs(name)
	}
	return fs, l, asJSON
}

// int64Value is a flag of package flag that [flags.Set] does not declare.
type int64Value struct{ p *int64 }

func (v int64Value) Get() any { return *v.p }

func (v int64Value) String() string {
	if v.p == nil {
		return "0"
	}
	return strconv.FormatInt(*v.p, 10)
}

func (v int64Value) Set(s string) (err error) {
	*v.p, err = strconv.ParseInt(s, 10, 64)
	return err
}

// readPlan returns what is planned for. The error is one of a help that was asked for, or all
// that is wrong.
func readPlan(args []string) (fs *flags.Set, l capacity.Load, asJSON bool, err error) {
	fs, of, json := planFlags()
	if err := fs.Parse(args); err != nil {
		return fs, *of, *json, err
	}
	c := newConfig()
	c.loop.Loops = of.Cores
	of.Limits.Reserve = int64(c.fileReserve())
	return fs, *of, *json, of.Validate()
}

// planned is the sub-command plan. It returns the exit code.
func planned(args []string, stdout, stderr io.Writer) (code int) {
	fs, l, asJSON, err := readPlan(args)
	if flags.Asked(err) {
		return tell(stdout, err, func(w io.Writer) { fs.WriteHelp(w, planHelp) })
	}
	if err = fs.Locate(err); err != nil {
		complain(stderr, "edge plan", err)
		fmt.Fprintln(stderr, "edge plan -h lists its flags")
		return app.Usage
	}
	p := capacity.Make(l)
	if asJSON {
		out := json.NewEncoder(stdout)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		err = out.Encode(p)
	} else {
		err = p.WriteText(stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "edge plan:", err)
		return app.Failed
	}
	return app.OK
}
