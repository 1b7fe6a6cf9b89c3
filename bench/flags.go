// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tickedge/bench/internal/swarm"
)

const (
	connsMax = 1_000_000
	// workerConns is what one poll loop holds with ease: at two frames a second and conn
	// it takes a fifth of a core.
	workerConns = 20_000
	// Windows that a server takes, see docs/PROTOCOL.md.
	windowMin, windowMax = 100 * time.Millisecond, 60 * time.Second

	// Defaults. They are long for a server, and short for one in a guest whose CPU is
	// emulated.
	handshakeTimeout = 10 * time.Second
	ackTimeout       = 10 * time.Second
)

// load is what conns do, in hold and in the modes with servers of their own.
type load struct {
	conns    int
	connRate float64
	topics   int // Per conn.
	universe int
	seed     uint64
	window   time.Duration
	hold     time.Duration
	workers  int // Of bench itself; 0 lets it choose.
	json     bool
	churn    float64  // Conns replaced per second of holding.
	apart    bool     // The conns have topics of their own, see swarm.Config.
	screens  []string // Conditions of which each conn has one instead of topics, see swarm.Config.

	handshakeTimeout time.Duration
	ackTimeout       time.Duration
}

// flags declares the flags that hold and the other modes have, with the defaults in l.
func (l *load) flags(f *flag.FlagSet) {
	f.IntVar(&l.conns, "conns", l.conns, "how many conns to hold")
	f.Float64Var(&l.connRate, "connect-rate", l.connRate, "connects per second")
	f.IntVar(&l.topics, "topics", 10, "topics per conn")
	f.IntVar(&l.universe, "universe", 1000, "topics there are, of which each conn draws its own")
	f.Uint64Var(&l.seed, "seed", 1, "draws the topics; the same seed draws the same")
	f.DurationVar(&l.window, "interval", l.window, "window of every server")
	f.DurationVar(&l.hold, "for", l.hold, "how long to hold each time")
	f.DurationVar(&l.handshakeTimeout, "handshake-timeout", handshakeTimeout, "how long a handshake may take; raise it for a slow machine")
	f.DurationVar(&l.ackTimeout, "ack-timeout", ackTimeout, "how long the ack of a command may take; raise it for a slow machine")
	f.BoolVar(&l.json, "json", false, "print the result as JSON")
}

// holdConfig is what the flags of hold say.
type holdConfig struct {
	load
	addr    string
	path    string
	events  bool // They are streams of server-sent events.
	pattern string
	pids    []int
}

// parseFlags reads the flags of a mode. where says where it can be run, behind its
// usage; form is for a user that gives it something else. The error is flag.ErrHelp, when the
// help is printed to stdout, or says the right form.
func parseFlags(f *flag.FlagSet, args []string, where, form string, stdout io.Writer) error {
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(stdout, "usage: %s [flags]%s\n", f.Name(), where)
		f.SetOutput(stdout)
		f.PrintDefaults()
	} else if err == nil && f.NArg() > 0 {
		err = fmt.Errorf("%q is not a flag: %s", f.Arg(0), form)
	}
	return err
}

// flagError says what is wrong with the flags of a mode, unless it was help that was asked
// for, and returns the exit code.
func flagError(mode string, err error, stderr io.Writer) int {
	if errors.Is(err, flag.ErrHelp) {
		return exitGood
	}
	fmt.Fprintf(stderr, "bench %[1]s: %[2]v\nall flags: bench %[1]s -h\n", mode, err)
	return exitUsage
}

// parseHold reads the flags. The error is flag.ErrHelp or says the right form.
func parseHold(args []string, stdout io.Writer) (*holdConfig, error) {
	c := &holdConfig{load: load{conns: 1000, connRate: 2000, hold: time.Minute}}
	f := flag.NewFlagSet("bench hold", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&c.addr, "addr", "127.0.0.1:8080", "`host:port` of the edge")
	f.StringVar(&c.path, "path", "", "path of the handshake; empty is /ws, or /sse")
	f.BoolVar(&c.events, "sse", false, "open streams of server-sent events in place of WebSockets")
	c.flags(f)
	f.Lookup("connect-rate").Usage += "; lower it if the edge refuses with 503"
	f.Lookup("interval").Usage = "window to ask for; 0 takes the edge's own"
	f.Lookup("for").Usage = "how long to hold, after all conns are open"
	f.StringVar(&c.pattern, "topic-name", "SYM%04d", "`pattern` of topic names, filled with numbers from 0; has to be that of the source of ticks")
	f.IntVar(&c.workers, "workers", 0, "processes to spread the conns over; 0 takes as many as the file limit demands, and on a machine with cores for them one per 20,000 conns")
	pids := f.String("pid", "", "`processes` of the edge, with commas between them; their CPU and memory are measured")
	if err := parseFlags(f, args, "", "flags are given as -name value, such as -conns 10000", stdout); err != nil {
		return nil, err
	}
	if c.path == "" {
		c.path = map[bool]string{false: "/ws", true: "/sse"}[c.events]
	}
	return c, errors.Join(c.readPIDs(*pids), c.validate())
}

func (c *holdConfig) readPIDs(list string) error {
	if list == "" {
		return nil
	}
	for s := range strings.SplitSeq(list, ",") {
		pid, err := strconv.Atoi(s)
		if err != nil || pid < 1 {
			return fmt.Errorf("-pid %s: want numbers with commas between them, such as -pid 4711 or -pid 4711,4712", list)
		}
		c.pids = append(c.pids, pid)
	}
	return nil
}

// validate returns all problems at once. It fills in workers.
func (c *holdConfig) validate() error {
	var all []error
	bad := func(format string, args ...any) { all = append(all, fmt.Errorf(format, args...)) }
	if _, port, err := net.SplitHostPort(c.addr); err != nil || port == "" || port == "0" {
		bad("-addr %s: want host:port, such as -addr 127.0.0.1:8080", c.addr)
	}
	if !strings.HasPrefix(c.path, "/") || strings.ContainsAny(c.path, " \r\n") {
		bad("-path %q: want a path, such as -path /ws", c.path)
	}
	if c.conns < 1 || c.conns > connsMax {
		bad("-conns %d: want 1 to %d, such as -conns 10000", c.conns, connsMax)
	}
	if !(c.connRate > 0) || math.IsInf(c.connRate, 0) {
		bad("-connect-rate %v: want connects per second above 0, such as -connect-rate 2000", c.connRate)
	}
	if c.universe < 1 || c.universe > 1_000_000 {
		bad("-universe %d: want 1 to 1000000, such as -universe 1000", c.universe)
	} else if _, err := swarm.Names(c.pattern, c.universe); err != nil {
		bad("-topic-name: %w; want one %%d in it, such as -topic-name SYM%%04d", err)
	}
	if c.topics < 1 || c.topics > min(c.universe, swarm.TopicsMax) {
		bad("-topics %d: want 1 to %d and no more than -universe, such as -topics 10", c.topics, swarm.TopicsMax)
	}
	if c.window != 0 && (c.window < windowMin || c.window > windowMax) {
		bad("-interval %v: want %v to %v, such as -interval 500ms", c.window, windowMin, windowMax)
	}
	if c.hold <= 0 {
		bad("-for %v: want a time above 0, such as -for 30s or -for 5m", c.hold)
	}
	if c.handshakeTimeout <= 0 {
		bad("-handshake-timeout %v: want a time above 0, such as -handshake-timeout 10s", c.handshakeTimeout)
	}
	if c.ackTimeout <= 0 {
		bad("-ack-timeout %v: want a time above 0, such as -ack-timeout 10s", c.ackTimeout)
	}
	each, err := connsPerProcess()
	need := (c.conns + each - 1) / max(each, 1)
	switch {
	case err != nil:
		bad("%w", err)
	case c.workers == 0:
		c.workers = workersFor(c.conns, each, runtime.NumCPU())
	case c.workers < need || c.workers > c.conns:
		bad("-workers %d: %d conns need at least %d processes of %d; -workers 0 chooses", c.workers, c.conns, need, each)
	}
	return errors.Join(all...)
}

// workersFor is how many processes hold conns, of which one may hold each: as many as
// that demands, or one per workerConns if there are cores for them. Half of the cores
// are left to the server. With more swarms than cores they would wait for each other,
// and their frames with them.
func workersFor(conns, each, cores int) int {
	useful := min((conns+workerConns-1)/workerConns, cores/2)
	return max((conns+each-1)/each, useful, 1)
}

// connsPerProcess is what the file limit allows one process.
func connsPerProcess() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1, fmt.Errorf("getrlimit: %w", err)
	}
	const others = 100 // Descriptors of the process itself.
	if limit.Cur <= others {
		return 1, fmt.Errorf("the file limit is %d, which is too low: raise it with ulimit -n", limit.Cur)
	}
	return int(min(limit.Cur-others, connsMax)), nil
}

// swarms is the share of each worker.
func (c *holdConfig) swarms() ([]swarm.Config, error) {
	tcp, err := net.ResolveTCPAddr("tcp", c.addr)
	if err != nil {
		return nil, fmt.Errorf("-addr %s: %w", c.addr, err)
	}
	addr := tcp.AddrPort()
	target := c.path
	if c.window > 0 {
		target = swarm.WithQuery(target, "interval="+strconv.FormatInt(c.window.Milliseconds(), 10))
	}
	var shares []swarm.Config
	for w, first := 0, 0; w < c.workers; w++ {
		share := (c.conns - first) / (c.workers - w)
		shares = append(shares, swarm.Config{
			Addr: netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), Host: c.addr, Target: target, Events: c.events,
			First: first, Conns: share, Rate: c.connRate * float64(share) / float64(c.conns),
			Topics: c.topics, Universe: c.universe, Pattern: c.pattern, Seed: c.seed, Apart: c.apart, Screens: c.screens,
			Churn: c.churn * float64(share) / float64(c.conns),
			Every: time.Second, HandshakeTimeout: c.handshakeTimeout, AckTimeout: c.ackTimeout,
		})
		first += share
	}
	return shares, nil
}
