// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command hostile does to an edge what hostile, broken and dying clients do, over real
// sockets, while ordinary subscribers look on. Each input has a demanded reaction, from
// docs/PROTOCOL.md, docs/OPERATIONS.md or an RFC. It builds and starts the edge itself,
// with a redis-server and a source of ticks, and shares no code with it. The broken Redis
// is the stand-in of the tests (internal/broker/redis/redistest).
//
//	main.go       the run, its flags and its table
//	plan.go       how much of everything, in the short and the long form
//	edge.go       the edge, and whether it comes back to where it was
//	watch.go      the ordinary subscribers
//	peer.go       one hostile client, and the reaction that it sees; seen.go: how that is told
//	frames.go     inputs of frames          RFC 6455, 5 and 7
//	handshake.go  inputs of request heads   RFC 6455, 4; RFC 9112
//	commands.go   inputs of commands        docs/PROTOCOL.md
//	screens.go    inputs of screens         docs/SCREENS.md
//	http.go       inputs of plain HTTP      RFC 9112, docs/SECURITY.md
//	floods.go     inputs again and again    docs/SECURITY.md
//	squatters.go  names that are made up    docs/OPERATIONS.md
//	conns.go      inputs of connections     docs/OPERATIONS.md
//	redis.go      replies of a broken Redis docs/FEED.md
//	slow.go       clients that read slowly, or next to nothing
//	staleness.go  two that flood beside thousands that subscribe
//	costs.go      what each kind of message costs its sender, and the edge
//	costs_kinds.go, costs_meter.go, costs_payer.go: the kinds, how one is measured, and what sends
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"tickedge/bench/internal/lab"
)

// What hostile exits with.
const (
	exitGood  = 0
	exitBad   = 1 // A reaction was not the demanded one, or the edge did not stay as it was.
	exitUsage = 2
)

// input is something hostile.
type input struct {
	name   string            // What is sent.
	demand string            // The reaction.
	source string            // What demands it.
	send   func(*run) string // Sends it and returns the reaction that was seen.
}

// inputs are a group in the making.
type inputs []input

func (all *inputs) add(demand, source, name string, send func(*run) string) {
	*all = append(*all, input{name, demand, source, send})
}

// group is inputs of one kind.
type group struct {
	name   string
	inputs func(*plan) []input
}

var groups = []group{
	{"topics", topicInputs}, // First: their topics linger while the others have their turn.
	{"frames", frameInputs},
	{"handshake", handshakeInputs},
	{"commands", commandInputs},
	{"screens", screenInputs},
	{"floods", floodInputs},
	{"http", httpInputs},
	{connGroup, connInputs},
	{"redis", redisInputs},
	{"squatters", squatterInputs},
	{"slow readers", slowInputs},
}

// connGroup is looked at after each input: the next one goes by what is counted.
const connGroup = "connections"

// run is one pass over all inputs. Owned by one goroutine, which inputs leave for the
// time of their own crowds.
type run struct {
	*plan
	edge    *edge
	watch   *watch
	out     io.Writer // The table.
	log     io.Writer // Progress.
	results []result
}

// result is what an input has led to.
type result struct {
	input
	seen  string
	wrong []string // Empty: ok.
	gap   time.Duration
	took  time.Duration
}

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

func command(args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("hostile", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	short := f.Bool("short", false, "fewer of everything and shorter timeouts of the edge, in two minutes")
	only := f.String("only", "", "run only inputs whose group or name contains this `text`")
	edgeArgs := f.String("edge", "", "more `flags` of the edge, with blanks between, such as '-slow-timeout 1m' to see how much a crowd pins; inputs that wait for its defaults fail then")
	seed := f.Uint64("seed", 1, "draws what is random; the same seed draws the same")
	costs := f.Bool("costs", false, "measure what each kind of message costs its sender and the edge, in place of all else; on a quiet machine")
	binary := f.String("edge-binary", "", "`path` of another edge to measure or to be hostile to; empty builds the one of this tree")
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(stdout, "usage: hostile [flags], such as: go -C bench run ./hostile -short")
		f.SetOutput(stdout)
		f.PrintDefaults()
		return exitGood
	}
	if err == nil && f.NArg() > 0 {
		err = fmt.Errorf("%q is not a flag: flags are given as -name value, such as -only handshake", f.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(stderr, "hostile: %v\nall flags: hostile -h\n", err)
		return exitUsage
	}
	p := long()
	if *short {
		p = brief()
	}
	p.only, p.seed, p.edgeBinary = *only, *seed, *binary
	p.edgeArgs = append(p.edgeArgs, strings.Fields(*edgeArgs)...)
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	do := p.do
	if *costs {
		do = p.costs
	}
	good, err := do(ctx, stdout, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "hostile: %v\n", err)
		return exitBad
	}
	if !good {
		return exitBad
	}
	return exitGood
}

// do starts everything, runs the inputs and ends everything. It reports whether all was
// well. The directory with the logs stays if it was not.
func (p *plan) do(ctx context.Context, out, log io.Writer) (good bool, err error) {
	l, err := lab.New(ctx, "", map[string]string{"short": fmt.Sprint(p.short), "seed": fmt.Sprint(p.seed)})
	if err != nil {
		return false, err
	}
	defer func() {
		err = errors.Join(err, l.Close())
		if err == nil && good {
			err = os.RemoveAll(l.Dir)
		} else {
			fmt.Fprintf(log, "logs of all processes: %s\n", l.Dir)
		}
	}()
	if p.edgeBinary != "" {
		l.Use("cmd/edge", p.edgeBinary)
	}
	r := &run{plan: p, out: out, log: log}
	fmt.Fprintln(log, "building and starting redis-server, tickgen and edge")
	if r.edge, err = startEdge(ctx, l, p.edgeArgs); err != nil {
		return false, err
	}
	defer r.edge.broken.end()
	if r.watch, err = startWatch(r.edge); err != nil {
		return false, err
	}
	defer r.watch.end()
	if err := r.edge.takeBaseline(); err != nil {
		return false, err
	}
	for _, g := range groups {
		if err := r.group(g); err != nil {
			return false, errors.Join(err, r.table())
		}
	}
	if !p.short && p.wants("staleness", stalenessInput.name) {
		if err := r.one(stalenessInput, true); err != nil {
			return false, errors.Join(err, r.table())
		}
	}
	if err := r.last(); err != nil {
		return false, errors.Join(err, r.table())
	}
	err = r.table()
	return len(r.bad()) == 0, err
}

// group runs the inputs of a group. The error means that the edge is gone.
func (r *run) group(g group) error {
	var inputs []input
	for _, in := range g.inputs(r.plan) {
		if r.wants(g.name, in.name) {
			inputs = append(inputs, in)
		}
	}
	for i, in := range inputs {
		in.name = g.name + ": " + in.name
		// In the short form the edge is looked at after each group, which then is to blame.
		settle := !r.short || i == len(inputs)-1 || g.name == connGroup
		if err := r.one(in, settle); err != nil {
			return err
		}
	}
	return nil
}

// one runs an input and looks at what it has done to the others.
func (r *run) one(in input, settle bool) error {
	r.watch.reset()
	res := result{input: in}
	begin := time.Now()
	res.seen = in.send(r)
	res.took = time.Since(begin)
	if res.seen != in.demand {
		res.wrong = append(res.wrong, "reaction")
	}
	if settle {
		if err := r.edge.settled(false); err != nil {
			res.wrong = append(res.wrong, err.Error())
		}
	}
	var allowed time.Duration
	res.gap, allowed = r.watch.worst(r.gapMax)
	if res.gap > allowed {
		res.wrong = append(res.wrong, fmt.Sprintf("a subscriber heard nothing for %.1f s, allowed are %.1f", res.gap.Seconds(), allowed.Seconds()))
	}
	if lost := r.watch.lost(); lost != "" {
		res.wrong = append(res.wrong, "a subscriber was lost: "+lost)
	}
	r.results = append(r.results, res)
	fmt.Fprintf(r.log, "%-7s %5.1f s, gap %4.0f ms  %s\n", res.verdict(), res.took.Seconds(), float64(res.gap.Milliseconds()), in.name)
	for _, w := range res.wrong {
		fmt.Fprintf(r.log, "        %s; demanded %q, seen %q\n", w, in.demand, res.seen)
	}
	return r.edge.lab.Failed()
}

// last looks at what may take longer than an input: the topics are to be gone.
func (r *run) last() error {
	return r.one(input{
		name: "after all of them", demand: "as before, lingering topics gone", source: "docs/OPERATIONS.md, Redis",
		send: func(r *run) string {
			if err := r.edge.settled(true); err != nil {
				return err.Error()
			}
			return "as before, lingering topics gone"
		},
	}, false)
}

func (res *result) verdict() string {
	if len(res.wrong) > 0 {
		return "FAILED"
	}
	return "ok"
}

func (r *run) bad() []result {
	return slices.DeleteFunc(slices.Clone(r.results), func(res result) bool { return len(res.wrong) == 0 })
}

// table writes what was demanded and what was seen.
func (r *run) table() error {
	t := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "input\tdemanded\tby\tseen\t")
	worst := time.Duration(0)
	for _, res := range r.results {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", res.name, res.demand, res.source, res.seen, strings.Join(append([]string{res.verdict()}, res.wrong...), ": "))
		worst = max(worst, res.gap)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(r.out, "\n%d inputs, %d failed. The longest gap of %d subscribers: %.0f ms. %s\n",
		len(r.results), len(r.bad()), watchers, float64(worst.Milliseconds()), r.edge.summary())
	return err
}

func (p *plan) wants(group, name string) bool {
	return strings.Contains(group, p.only) || strings.Contains(name, p.only)
}
