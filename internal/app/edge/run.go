// Package edge is the program edge: its flags, its wiring, and what operators see of it.
package edge

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"tickedge/internal/admin"
	"tickedge/internal/auth"
	"tickedge/internal/broker/redis"
	"tickedge/internal/feed"
	"tickedge/internal/loop"
	"tickedge/internal/market"
	"tickedge/internal/panics"
	"tickedge/internal/topics"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1 // Something failed; the log says what.
	exitUsage = 2 // A flag or an environment variable is wrong.
)

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

// Main runs the program until it is told to end, and returns its exit code.
func Main(args []string) int {
	if len(args) > 0 && args[0] == "doctor" {
		return examine(args[1:], os.Stdout, os.Stderr)
	}
	cfg, fs, err := parse(args)
	var usage *usageError
	switch {
	case errors.Is(err, flag.ErrHelp):
		cfg.help(os.Stdout, fs)
		return exitOK
	case errors.As(err, &usage):
		for _, p := range usage.problems {
			fmt.Fprintln(os.Stderr, "edge:", p)
		}
		fmt.Fprintln(os.Stderr, "edge -h lists all flags")
		return exitUsage
	}
	if cfg.check {
		cfg.print(os.Stdout, fs)
		return exitOK
	}

	log := cfg.logger(os.Stderr)
	tuneRuntime(cfg.loops)
	fail := func(doing string, err error) int {
		log.Error(doing, "error", err)
		return exitError
	}
	signals, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A log whose reader has gone (SIGPIPE) and a terminal that was closed (SIGHUP) are no
	// reason to send clients away.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	work, endWork := context.WithCancel(context.Background())
	var working sync.WaitGroup
	defer working.Wait()
	defer endWork()
	working.Go(func() { panics.Keep(work, panics.Collector, log, fitCollector) })

	// The port for operators is bound first and served last, so that two edges with
	// the same flags find each other before clients are shared between them.
	var ops *admin.Port
	if cfg.admin != "" {
		if ops, err = admin.Listen(cfg.admin, cfg.adminNames(), log); err != nil {
			return fail("can't start", err)
		}
		defer ops.Close()
	}

	redis.RouteLog(log)
	if cfg.demo {
		embedded, err := redis.StartEmbedded()
		if err != nil {
			return fail("can't start", err)
		}
		defer embedded.Close()
		cfg.redis = sources{list: []sourceFlag{sourceFlag(embedded.URL())}}
		_, brokers := cfg.feed()
		ticks, err := market.New(cfg.market())
		if err != nil {
			return fail("can't start the market", err)
		}
		publisher, err := redis.NewPublisher(work, brokers[0], log)
		if err != nil {
			return fail("can't start the market", err)
		}
		defer publisher.Close()
		player := market.NewPlayer(publisher)
		working.Go(func() {
			panics.Keep(work, panics.Demo, log, func(ctx context.Context) {
				if err := player.Run(ctx, ticks); err != nil {
					log.Error("the simulated market ended", "error", err)
				}
			})
		})
		defer working.Wait()
		defer endWork()
	}

	newTopics := cfg.newTopics(time.Now())
	table := topics.New(cfg.table(time.Now(), newTopics))
	sources, _ := cfg.feed()
	source, err := feed.New(sources, table, log)
	if err != nil {
		return fail("can't start", err)
	}
	working.Go(func() { source.Run(work) })

	var verifier *auth.Verifier
	if len(cfg.tokenSources()) > 0 {
		if verifier, err = auth.NewVerifier(cfg.tokens(), log); err != nil {
			return fail("can't start", err)
		}
		working.Go(func() { panics.Keep(work, panics.Tokens, log, verifier.Run) })
	}

	var pages map[string][]byte
	if cfg.page {
		pages = map[string][]byte{"/": pageResponse(page)}
	}
	server, err := loop.Start(loop.Config{
		Listen: cfg.listen, Loops: cfg.loops, MaxConns: cfg.maxConns, Backlog: cfg.backlogMax(),
		Pages: pages, Shard: cfg.shard(time.Now(), newTopics), Log: log,
		Guard: cfg.guard(), Trusted: cfg.trusted(), ProxyProtocol: cfg.proxyProtocol,
		Origins: cfg.origins(), Verifier: verifier, MaxSessions: cfg.maxSessions, Existing: cfg.existing(),
	}, table)
	if err != nil {
		return fail("can't start", err)
	}
	if ops != nil {
		ops.Serve(&exporter{
			server: server, admin: ops, table: table, feed: source, verifier: verifier, jwks: cfg.jwtJWKS != "",
			maxConns: cfg.maxConns, maxBacklog: cfg.backlogMax(), log: log,
		}, func() (string, error) {
			if signals.Err() != nil {
				return "", errors.New("stopping")
			}
			return ready(table, source, verifier, cfg.readyNeedsFeed)
		}, debugPages(server)...)
		log.Info("admin port open", "addr", ops.Addr().String())
	}
	log.Info("listening", "addr", server.Addr().String(), "clients", server.Families(), "loops", cfg.loops, "max_conns", cfg.maxConns, "interval", cfg.interval)
	if cfg.page {
		log.Info("open the live board in a browser", "url", boardURL(server.Addr()))
	}

	select {
	case <-signals.Done():
		stop() // From now on a second signal ends the process at once.
		log.Info("stopping: clients are sent away; a second signal stops at once", "drain", cfg.drain, "connections", server.Conns())
		server.Shutdown(context.Background(), cfg.drain)
		log.Info("stopped")
		return exitOK
	case err := <-server.Failed():
		server.Shutdown(context.Background(), 0)
		return fail("an event loop has ended, so the edge ends", err)
	}
}

// ready returns an error when no client should be sent here. A feed is up while its values
// are current (docs/FEED.md says what that is). Once all have been up, an outage does not turn clients away: another edge would have no newer values. It is a
// warning then, unless needsFeed says that it would. The same holds for the keys of
// tokens. verifier is nil if nobody needs one.
func ready(table *topics.Table, source *feed.Feed, verifier *auth.Verifier, needsFeed bool) (warning string, err error) {
	var down []string
	for i := range table.Sources() {
		f := table.Feed(i)
		if f.Up {
			continue
		}
		name := "the feed"
		if f.Scope != "" {
			name += " of " + f.Scope
		}
		if f.Seq == 0 {
			return "", fmt.Errorf("%s has not been connected yet: %s", name, source.Stats().Sources[i].LastError)
		}
		down = append(down, fmt.Sprintf("%s is down since %s", name, time.UnixMilli(f.Since).UTC().Format(time.RFC3339)))
	}
	if len(down) > 0 && needsFeed {
		return "", errors.New(strings.Join(down, ", "))
	}
	if verifier != nil {
		if st := verifier.Stats(); st.Keys == 0 {
			return "", fmt.Errorf("there are no keys for tokens yet: %s", st.LastError)
		}
	}
	return strings.Join(down, ", "), nil
}

// boardURL is where a browser on this host finds the board.
func boardURL(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return ""
	}
	if tcp.IP.IsUnspecified() || tcp.IP.Equal(net.IPv4(127, 0, 0, 1)) {
		return fmt.Sprintf("http://localhost:%d/", tcp.Port)
	}
	return "http://" + tcp.String() + "/"
}
