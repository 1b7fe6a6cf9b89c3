// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"cmp"
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
	"time"

	"tickedge/bench/internal/lab"
)

// reportEvery is shorter than that of hold, so that no hold waits long for the report
// that says that all conns are ready.
const reportEvery = 100 * time.Millisecond

// labConfig is what the modes that start their own servers have in common.
type labConfig struct {
	mode string
	load
	rate     float64 // Ticks per second.
	kind     string  // Of broker, in modes with the flag for it; empty is Redis.
	source   string  // URL of the broker.
	edgeArgs []string
	rounds   int           // How often each thing is measured, in modes with the flag for it.
	every    time.Duration // Between two reports, and thus how exact the time of connecting is; 0 is reportEvery.
	servers  string
	edge     string
	dir      string

	flags   map[string]string // All flags as they are, for the manifest.
	command string            // To get the result again: the mode with the flags that were given.
	targets []target
}

// newLab has the defaults of a mode. edge are more flags for the edge.
func newLab(mode string, conns int, hold time.Duration, edge string) *labConfig {
	return &labConfig{mode: mode, edge: edge, load: load{conns: conns, connRate: 3000, window: 500 * time.Millisecond, hold: hold}}
}

// newLabFlags declares the common flags with the defaults in c.
func newLabFlags(c *labConfig) *flag.FlagSet {
	f := flag.NewFlagSet("bench "+c.mode, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	c.load.flags(f)
	f.Float64Var(&c.rate, "rate", 20000, "ticks per second, all topics together")
	f.StringVar(&c.edge, "edge", c.edge, "more `flags` for the edge, with spaces between them")
	f.StringVar(&c.dir, "dir", "", "`directory` for logs, the manifest, the result and its report; empty makes one in the place for temporary files")
	return f
}

// roundsFlag is for the modes that measure in rounds.
const roundsFlag = "rounds"

// parse reads the flags. The error is flag.ErrHelp or says the right form.
func (c *labConfig) parse(f *flag.FlagSet, args []string, stdout io.Writer) error {
	if err := parseFlags(f, args, ", within the source tree", "flags are given as -name value, such as -conns 5000", stdout); err != nil {
		return err
	}
	c.edgeArgs = strings.Fields(c.edge)
	c.flags = map[string]string{}
	f.VisitAll(func(f *flag.Flag) { c.flags[f.Name] = f.Value.String() })
	c.command = "bench " + c.mode
	f.Visit(func(f *flag.Flag) {
		if f.Name != "dir" && f.Name != "json" {
			c.command += fmt.Sprintf(" -%s=%s", f.Name, quoted(f.Value.String()))
		}
	})
	var all []error
	if !(c.rate > 0) || c.rate > 10e6 {
		all = append(all, fmt.Errorf("-rate %v: want ticks per second above 0, such as -rate 20000", c.rate))
	}
	if f.Lookup(roundsFlag) != nil && c.rounds < 1 {
		all = append(all, fmt.Errorf("-rounds %d: want 1 or more, such as -rounds 5", c.rounds))
	}
	if c.servers != "" {
		var err error
		c.targets, err = findTargets(c.servers)
		all = append(all, err)
	}
	_, err := c.holdConfig(&lab.Server{Addr: "127.0.0.1:1"}, c.conns, c.topics)
	return errors.Join(append(all, err)...)
}

// quoted is text as a shell reads it as one word.
func quoted(text string) string {
	if strings.ContainsAny(text, " *?$") {
		return "'" + text + "'"
	}
	return text
}

// holdConfig is a hold of conns at a server.
func (c *labConfig) holdConfig(s *lab.Server, conns, topics int) (*holdConfig, error) {
	h := &holdConfig{load: c.load, addr: s.Addr, path: "/ws", pattern: lab.TopicPattern, pids: s.PIDs()}
	h.conns, h.topics, h.window = conns, topics, 0 // The window is the server's own.
	if s.Events {
		h.path, h.events = "/sse", true
	}
	err := h.validate()
	if c.window < windowMin || c.window > windowMax {
		err = errors.Join(err, fmt.Errorf("-interval %v: want %v to %v, such as -interval 500ms", c.window, windowMin, windowMax))
	}
	return h, err
}

// session is a run of a mode that starts its own servers. Owned by one goroutine.
type session struct {
	*labConfig
	lab    *lab.Lab
	ctx    context.Context // Ends with a signal.
	stderr io.Writer
}

// run parses the flags of a mode, lets check look at them, which may be nil, and runs the
// mode.
func (c *labConfig) run(f *flag.FlagSet, args []string, stdout, stderr io.Writer, check func() error, measure func(*session) (outcome, error)) int {
	err := c.parse(f, args, stdout)
	if err == nil && check != nil {
		err = check()
	}
	if err != nil {
		return flagError(c.mode, err, stderr)
	}
	return runLab(c, stdout, stderr, measure)
}

// serversFlag is for the modes that compare servers.
func (c *labConfig) serversFlag(f *flag.FlagSet, names ...string) {
	f.StringVar(&c.servers, "servers", strings.Join(names, ","), "`list` of servers out of "+strings.Join(targetNames(), ","))
}

// framesOnly is the check of modes whose clients know WebSockets only.
func (c *labConfig) framesOnly() error {
	if slices.ContainsFunc(c.targets, func(t target) bool { return t.events }) {
		return fmt.Errorf("-servers %s: streams of events are opened by density and fanout only", c.servers)
	}
	return nil
}

// setDefault gives a common flag the default of one mode.
func setDefault(f *flag.FlagSet, name, value string) {
	of := f.Lookup(name)
	of.DefValue = value
	if err := of.Value.Set(value); err != nil {
		panic("bench: default of -" + name + ": " + err.Error())
	}
}

// runLab runs a mode in a lab, which is closed whatever happens, and prints what it
// finds.
func runLab(c *labConfig, stdout, stderr io.Writer, measure func(*session) (outcome, error)) int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	fail := func(err error) int {
		fmt.Fprintf(stderr, "bench %s: %v\n", c.mode, err)
		return exitBad
	}
	l, err := lab.New(ctx, c.dir, c.flags)
	if err != nil {
		return fail(err)
	}
	fmt.Fprintf(stderr, "bench %s: logs, manifest, result and report go to %s\n", c.mode, l.Dir)
	res, err := guarded(l, func() (outcome, error) {
		return measure(&session{labConfig: c, lab: l, ctx: ctx, stderr: stderr})
	})
	if ctx.Err() != nil {
		return fail(errors.New("interrupted; all that was started has been ended"))
	}
	if err != nil {
		return fail(err)
	}
	print, err := writeResult(c, l, res)
	if err != nil {
		return fail(err)
	}
	if _, err := io.WriteString(stdout, print); err != nil {
		return fail(err)
	}
	if !res.ends().Good {
		return exitBad
	}
	return exitGood
}

// writeResult writes the result and its report into the run's directory, and returns
// what to print.
func writeResult(c *labConfig, l *lab.Lab, res outcome) (print string, err error) {
	var text, machine strings.Builder
	err = errors.Join(writeText(&text, res), writeJSON(&machine, res),
		l.WriteFile("result.json", []byte(machine.String())), l.WriteFile("result.txt", []byte(text.String())),
		writeReport(c, l, res))
	if c.json {
		return machine.String(), err
	}
	return text.String(), err
}

// guarded closes the lab after measure, also if that panics.
func guarded(l *lab.Lab, measure func() (outcome, error)) (res outcome, err error) {
	defer func() { err = errors.Join(err, l.Close()) }()
	return measure()
}

// ticks starts a broker, and a source of ticks if rate is above 0.
func (s *session) ticks(rate float64) error {
	if s.kind == lab.Memory { // They are posted to each edge.
		s.source = lab.Memory
		return nil
	}
	broker, err := s.lab.Broker(cmp.Or(s.kind, lab.Redis))
	if err != nil {
		return err
	}
	s.source = broker.URL
	switch {
	case rate <= 0:
	case broker.Kind == lab.Redis:
		_, err = s.lab.Ticks(s.source, s.universe, rate)
	default:
		_, err = s.lab.Publisher(s.source, s.universe, rate)
	}
	return err
}

// holdAt starts a server, holds conns at it and ends it. watch may be nil.
func (s *session) holdAt(t target, set *labConfig, conns, topics int, watch func(server *lab.Server, moment int) error) (*result, error) {
	server, err := t.start(s.lab, set)
	if err != nil {
		return nil, err
	}
	res, err := s.hold(server, conns, topics, func(moment int) error {
		if watch == nil {
			return nil
		}
		return watch(server, moment)
	})
	return res, errors.Join(err, s.lab.StopServer(server))
}

// holdBeside holds the conns at a new edge. meanwhile begins when they are connected, and
// is to end soon after over is closed, when they are no longer held. It may be nil.
func (s *session) holdBeside(meanwhile func(server *lab.Server, over <-chan struct{}) error) (*result, error) {
	server, err := edgeTarget.start(s.lab, s.labConfig)
	if err != nil {
		return nil, err
	}
	over := make(chan struct{})
	var ended chan error
	res, err := s.hold(server, s.conns, s.topics, func(moment int) error {
		if moment == atHold && meanwhile != nil {
			ended = make(chan error, 1)
			go func() { ended <- meanwhile(server, over) }()
		}
		return nil
	})
	close(over)
	if ended != nil {
		err = errors.Join(err, <-ended)
	}
	return res, errors.Join(err, s.lab.StopServer(server))
}

// hold opens conns at a server, holds them and says what came of it. watch may be nil.
func (s *session) hold(server *lab.Server, conns, topics int, watch func(moment int) error) (*result, error) {
	cfg, err := s.holdConfig(server, conns, topics)
	if err != nil {
		return nil, err
	}
	shares, err := cfg.swarms()
	if err != nil {
		return nil, err
	}
	for i := range shares {
		shares[i].Every = cmp.Or(s.every, reportEvery)
	}
	r := newHoldRun(cfg, s.stderr)
	r.watch = watch
	if err := errors.Join(r.run(shares), r.watchErr, s.ctx.Err(), s.lab.Failed()); err != nil {
		return nil, err
	}
	return r.judge(), nil
}

// progress says what is measured next.
func (s *session) progress(format string, args ...any) {
	fmt.Fprintf(s.stderr, "== "+format+"\n", args...)
}

// repeated is something that is done again and again, in a goroutine of its own.
type repeated struct {
	quit  chan struct{}
	ended chan error
}

// repeat does something every so often, until stop is called or an error comes.
func repeat(every time.Duration, do func() error) *repeated {
	r := &repeated{quit: make(chan struct{}), ended: make(chan error, 1)}
	go func() {
		for {
			select {
			case <-r.quit:
				r.ended <- nil
				return
			case <-time.After(every):
			}
			if err := do(); err != nil {
				r.ended <- err
				return
			}
		}
	}()
	return r
}

// stop waits for the end, and returns the error. It may be called once.
func (r *repeated) stop() error {
	close(r.quit)
	return <-r.ended
}

// pause waits. The error is that of ctx, if it ends meanwhile.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// until asks again and again whether something holds, and returns when it does or an error
// comes. If it does not for too long, the error is what late returns.
func until(ctx context.Context, patience, every time.Duration, holds func() (bool, error), late func() error) error {
	for deadline := time.Now().Add(patience); ; {
		if ok, err := holds(); ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return late()
		}
		if err := pause(ctx, every); err != nil {
			return err
		}
	}
}
