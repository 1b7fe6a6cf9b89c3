// SPDX-License-Identifier: Apache-2.0

// Package edge is the program edge: its flags, its wiring, and what operators see of it.
//
//	run.go        Main, and Run, which another program can call: what is started, and stopped in reverse
//	reload.go     the configuration read anew; reload_plan.go says what of it may change
//	drain.go      the way from the signal to the end
//	config.go     what can be set: lists, ranges, and what follows from the host
//	flags.go      the flags
//	paths.go      which paths the client port has
//	ports.go      which ports can't be had beside each other
//	effect.go     flags that have no effect beside others
//	doctor.go     the sub-command doctor
//	plan.go       the sub-command plan
//	health.go     the sub-command healthcheck
//	ready.go      whether clients should be sent here
//	headroom.go   how much is left, and of what
//	agent.go      the port for HAProxy, which asks how much is left
//	metrics.go    /metrics
//	histograms.go how long things take, and what loops have to do, on /metrics
//	api.go        the back office
//	rpc.go        the port for gRPC
//	control.go    what edges of one broker tell each other
//	debug.go      connections and evictions, for operators; top.go has the topics that cost most
//	trace.go      spans of ticks that are followed
//	collector.go  how often garbage is collected
//	revoked.go    revoked tokens
//	screens.go    screens, their limits and metrics
//	page.go       the live board
package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tickedge/internal/admin"
	"tickedge/internal/app"
	"tickedge/internal/auth"
	"tickedge/internal/backoffice"
	"tickedge/internal/broker"
	"tickedge/internal/broker/memory"
	"tickedge/internal/broker/redis"
	"tickedge/internal/fanout"
	"tickedge/internal/feed"
	"tickedge/internal/flags"
	"tickedge/internal/guard"
	"tickedge/internal/httphead"
	"tickedge/internal/loop"
	"tickedge/internal/market"
	"tickedge/internal/panics"
	"tickedge/internal/rpc"
	"tickedge/internal/screen"
	"tickedge/internal/topics"
)

// commands may stand in place of flags. Main knows what they do.
var commands = []string{"completion", "doctor", "healthcheck", "help", "plan", "version"}

// Main is the program: flags, help, version and -check, and the commands. It fits the process to an edge,
// which a program that calls [Run] does as it likes: what happens to signals, GOMAXPROCS, the
// garbage collector, and what go-redis says.
func Main(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) (code int) {
	command, rest := "", args
	if len(args) > 0 {
		command, rest = args[0], args[1:]
	}
	switch command {
	case "doctor":
		return examine(rest, stdout, stderr)
	case "plan":
		return planned(rest, stdout, stderr)
	case "healthcheck":
		return healthcheck(ctx, rest, stdout, stderr)
	case "completion":
		return complete(rest, stdout, stderr)
	case "help":
		args = []string{"-h"}
	case "version":
		args = append([]string{"-version"}, rest...)
	}
	// A terminal that was closed is no reason to end, nor is a configuration that changes while it is read.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	c, err := Parse(args)
	switch {
	case flags.Asked(err):
		return tell(stdout, err, c.help)
	case err != nil:
		return misused(stderr, "edge", c, err)
	case c.check:
		warn(stderr, "edge", c)
		c.print(stdout)
		return app.OK
	}
	log, level := c.log.Leveled(stderr)
	c.level = level
	slog.SetDefault(log) // Libraries that log by package log must not wait for standard error either.
	v := app.BuildVersion()
	log.Info("starting", "version", v.Version, "commit", v.Commit, "go", v.Go)
	for _, warning := range c.flags.Warnings() {
		log.Warn(warning)
	}
	tuneRuntime(c.loop.Loops)
	c.hangups = hangups
	tuning, stop := context.WithCancel(context.Background())
	defer stop()
	redis.RouteLog(log)
	rpc.Quiet()
	go panics.Keep(tuning, panics.Collector, log, fitCollector)
	c.supervisor = app.FindSupervisor(log)
	return Run(ctx, c, log)
}

// complete is the sub-command completion.
func complete(args []string, stdout, stderr io.Writer) (code int) {
	if len(args) != 1 || !newConfig(commands...).flags.WriteCompletion(stdout, args[0]) {
		fmt.Fprintf(stderr, "edge completion: want a shell: edge completion %s\n", flags.Shells)
		return app.Usage
	}
	return app.OK
}

// tell writes what was asked for: the version, or a help.
func tell(stdout io.Writer, asked error, help func(io.Writer)) (code int) {
	if errors.Is(asked, flags.ErrVersion) {
		fmt.Fprintln(stdout, "edge", app.BuildVersion())
	} else {
		help(stdout)
	}
	return app.OK
}

// warn says what was noticed and is no mistake, a line each.
func warn(stderr io.Writer, program string, c *Config) {
	for _, warning := range c.flags.Warnings() {
		fmt.Fprintf(stderr, "%s: warning: %s\n", program, warning)
	}
}

// misused says what is wrong with the flags, a line each.
func misused(stderr io.Writer, program string, c *Config, err error) (code int) {
	warn(stderr, program, c)
	complain(stderr, program, err)
	fmt.Fprintln(stderr, "edge -h lists all flags")
	return app.Usage
}

func complain(stderr io.Writer, program string, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "%s: %s\n", program, line)
	}
}

// tuneRuntime fits the Go runtime to an edge. The environment goes before it.
// docs/OPERATIONS.md has the command behind the figures here. The collector is fitted by
// fitCollector.
func tuneRuntime(loops int) {
	// A loop that waits in epoll keeps its P until somebody wants it. With no more Ps
	// than loops, somebody always does: the runtime's monitor takes them away and looks
	// again every 20 µs, for ever. Two to spare took 15,000 idle clients from 20 % of a
	// core to 7 %, and a frame from 15.8 to 12.5 µs.
	if procs := loops + 2; os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) < procs {
		runtime.GOMAXPROCS(procs)
	}
}

// edge is an edge that runs.
type edge struct {
	cfg *Config
	log *slog.Logger

	ops       *admin.Port      // Nil without an admin port.
	publisher broker.Publisher // Nil without -demo.
	api       *backoffice.Port // Nil without -api, as are the outbox and control.
	outbox    *feed.Outbox
	control   *control
	work      context.Context // Of the goroutines that are waited for.
	endWork   context.CancelFunc
	working   sync.WaitGroup

	newTopics    atomic.Pointer[guard.PrefixLimit]
	table        *topics.Table
	feed         *feed.Feed
	catalog      *feed.Catalog
	screens      *screen.Registry // Nil without screens.
	traces       traces
	verifier     *auth.Verifier    // Nil if nobody needs a token.
	revoked      *auth.Revocations // Nil without lists of them.
	revokedTopic revokedTopic      // With -jwt-revoked-topic.
	server       *loop.Server
	rpc          *rpc.Server // Nil without -grpc.

	port loop.Config // Of the server.

	isReady   atomic.Bool  // What -health-path says.
	draining  atomic.Bool  // Since the signal.
	drainFrom atomic.Int64 // Connections when clients began to be sent away.
	headroom  headroom
	agent     *agent // Nil without -agent.

	now     atomic.Pointer[running] // Nil as long as nothing has changed.
	reloads reloads
}

// Run serves clients until ctx ends, and then sends them away. It says in the log what it does,
// and why it could not. What all of a process share are the counts of panics, and the
// limit of open files, which [Parse] raises. A line's attributes may point into a buffer that is
// used again: a handler of log is through with them when it returns.
func Run(ctx context.Context, c *Config, log *slog.Logger) (code int) {
	e := &edge{cfg: c, log: log}
	e.work, e.endWork = context.WithCancel(context.Background())
	defer e.close()
	for _, start := range []func() error{e.listenAdmin, e.listenAgent, e.startDemo, e.listenAPI, e.startTracing, e.startFeed, e.startTokens, e.startServer, e.startRevoked, e.serveAPI, e.startRPC} {
		if err := start(); err != nil {
			log.Error("can't start", "error", err)
			return app.Failed
		}
	}
	e.keepReady(ctx)
	e.startReloads(ctx)
	e.keepHeadroom()
	e.serveAdmin(ctx)
	e.serveAgent(ctx)
	defer c.supervisor.Watch(ctx, e.ready, e.server.Turning)()
	addr := e.server.Addr()
	log.Info("listening", "addr", addr.String(), "clients", e.server.Families(), "loops", c.loop.Loops, "max_conns", c.loop.MaxConns, "interval", c.loop.Shard.Interval)
	if c.onListen != nil {
		c.onListen(addr)
	} else if c.page {
		log.Info("open the live board in a browser", "url", boardURL(addr))
		if !c.loop.Origins.Self() {
			log.Info("the live board may connect only if its own address is in -origin", "hint", "add self to -origin")
		}
	}
	select {
	case <-ctx.Done():
		return e.leave()
	case err := <-e.server.Failed():
		return e.failed(err)
	}
}

// failed ends the server after an event loop has ended.
func (e *edge) failed(err error) (code int) {
	e.shutdown(0)
	e.log.Error("an event loop has ended, so the edge ends", "error", err)
	return app.Failed
}

// close ends what was started, but for the server.
func (e *edge) close() {
	if e.api != nil {
		e.api.Close() // Before the brokers are gone that it publishes to.
	}
	e.endWork()
	e.working.Wait()
	if e.publisher != nil {
		e.publisher.Close()
	}
	if e.ops != nil {
		e.ops.Close()
	}
}

// listenAdmin binds the port for operators: first, and it is served last, so that two edges with
// the same flags find each other before clients are shared between them.
func (e *edge) listenAdmin() (err error) {
	if e.cfg.admin != "" {
		e.ops, err = admin.Listen(e.cfg.admin, e.cfg.adminNames, e.log)
	}
	return app.ListenHint(err, "-admin", e.cfg.admin, "perhaps another edge: several can share the port of -listen, and each needs an admin port of its own, or none (-admin=)")
}

// startDemo publishes simulated ticks to a broker of its own.
func (e *edge) startDemo() (err error) {
	if !e.cfg.demo {
		return nil
	}
	e.cfg.demoBroker = memory.Private() // Other edges of this process have others.
	ticks, err := market.New(e.cfg.market)
	if err != nil {
		return err
	}
	if e.publisher, err = e.cfg.demoBroker.Publisher(e.work, e.log); err != nil {
		return err
	}
	player := market.NewPlayer(e.publisher)
	e.working.Go(func() {
		panics.Keep(e.work, panics.Demo, e.log, func(ctx context.Context) {
			if err := player.Run(ctx, ticks); err != nil {
				e.log.Error("the simulated market ended", "error", err)
			}
		})
	})
	return nil
}

// startFeed makes the table, and keeps it up to date. newTopics gets back what turns out to
// exist: an office that opens in the morning, or all clients behind a proxy after a restart, are
// the first to ask for thousands.
func (e *edge) startFeed() (err error) {
	now := time.Now()
	e.newTopics.Store(guard.NewPrefixLimit(e.cfg.newTopics, now))
	table := e.cfg.table
	table.Window = e.cfg.loop.Shard.Interval
	table.Start, table.Exists = now, func(by uint64) { e.newTopics.Load().Return(guard.Prefix(by)) }
	e.table = topics.New(table)
	if e.feed, err = feed.New(e.cfg.feed(), e.table, e.log); err != nil {
		return err
	}
	if e.cfg.revokedTopic != "" {
		e.feed.Dropped(e.droppedRevoked)
	}
	e.startCatalog()
	e.startScreens(e.catalog)
	e.traces.from(e.feed)
	if err = e.listenControl(now); err == nil {
		e.working.Go(func() { e.feed.Run(e.work) })
	}
	return err
}

func (e *edge) startTokens() (err error) {
	if len(e.cfg.tokenSources()) == 0 {
		return nil
	}
	if err = e.loadRevoked(); err != nil {
		return err
	}
	if e.verifier, err = auth.NewVerifier(e.cfg.tokens, e.log); err == nil {
		e.working.Go(func() { panics.Keep(e.work, panics.Tokens, e.log, e.verifier.Run) })
	}
	return err
}

func (e *edge) startServer() (err error) {
	cfg, now := e.cfg.loop, time.Now()
	cfg.Log, cfg.Verifier, cfg.Ready = e.log, e.verifier, &e.isReady
	if e.cfg.listTopics == listSource {
		cfg.SourceNames = e.catalog.Names
	}
	cfg.Shard.Screens = e.screens
	cfg.Shard.Seed, cfg.Shard.NewTopics = uint64(now.UnixNano()), e.newTopics.Load()
	cfg.Requests = guard.NewPrefixLimit(e.cfg.requests, now)
	cfg.Shard.Snapshots = guard.NewPrefixLimit(e.cfg.snapshots(), now)
	if e.cfg.page {
		cfg.Pages = map[string]*httphead.Page{"/": boardPage(board{cfg.Paths[0], e.cfg.pageHistory, e.cfg.pageMarket, e.cfg.pageAlerts}.page())}
	}
	e.port = cfg
	e.server, err = loop.Start(cfg, e.table)
	return app.ListenHint(err, "-listen", cfg.Listen, "several edges of one user can share it (SO_REUSEPORT), but not with another program or another user's edge")
}

// snapshots is the rate of one address, in what is counted.
func (c *Config) snapshots() guard.Rate {
	units := c.snapshotRate / fanout.SnapshotUnit
	return guard.Rate{PerSecond: units, Burst: 4 * units}
}

func (e *edge) serveAdmin(ctx context.Context) {
	if e.ops == nil {
		return
	}
	e.ops.Serve(exporter{e}, func() (warning string, err error) {
		if ctx.Err() != nil {
			return "", errors.New("stopping")
		}
		return e.ready()
	}, debugPages(e.server, e.table))
	e.log.Info("admin port open", "addr", e.ops.Addr().String())
}
