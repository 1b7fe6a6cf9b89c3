// SPDX-License-Identifier: Apache-2.0

// Package alerts is the program alerts: prices and bars from a broker, alerts from a store, and users who are told.
//
//	run.go      Main, and Run, which another program can call: what is started, and stopped in reverse
//	flags.go    the flags, checked
//	tls.go      TLS of gRPC
//	metrics.go  /metrics
//	health.go   the healthcheck of images
package alerts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"tickedge/internal/admin"
	"tickedge/internal/alert"
	"tickedge/internal/alert/pebble"
	"tickedge/internal/alert/postgres"
	"tickedge/internal/alertapi"
	"tickedge/internal/alertapi/grpcapi"
	"tickedge/internal/app"
	"tickedge/internal/app/options"
	"tickedge/internal/auth"
	"tickedge/internal/broker/redis"
	"tickedge/internal/feed"
	"tickedge/internal/flags"
	"tickedge/internal/panics"
	"tickedge/internal/topics"
	"tickedge/internal/watch"
)

// Main is the program: flags, help, version and -check, and the commands.
func Main(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) (code int) {
	switch {
	case len(args) > 0 && args[0] == "completion":
		if len(args) != 2 || !newConfig().flags.WriteCompletion(stdout, args[1]) {
			fmt.Fprintf(stderr, "alerts completion: want a shell: alerts completion %s\n", flags.Shells)
			return app.Usage
		}
		return app.OK
	case len(args) > 0 && args[0] == "healthcheck":
		return healthcheck(ctx, args[1:], stdout, stderr)
	case len(args) == 1 && (args[0] == "help" || args[0] == "version"):
		args = []string{"-" + args[0]}
	}
	c, err := Parse(args)
	switch {
	case flags.Asked(err):
		if errors.Is(err, flags.ErrVersion) {
			fmt.Fprintln(stdout, "alerts", app.BuildVersion())
		} else {
			c.flags.WriteHelp(stdout, usageHead)
		}
		return app.OK
	case err != nil:
		return misused(stderr, c, err)
	case c.check:
		for _, warning := range c.flags.Warnings() {
			fmt.Fprintf(stderr, "alerts: warning: %s\n", warning)
		}
		c.print(stdout)
		return app.OK
	}
	log := c.log.Logger(stderr)
	slog.SetDefault(log)
	v := app.BuildVersion()
	log.Info("starting", "version", v.Version, "commit", v.Commit, "go", v.Go)
	for _, warning := range c.flags.Warnings() {
		log.Warn(warning)
	}
	signal.Ignore(syscall.SIGHUP)
	redis.RouteLog(log)
	c.supervisor = app.FindSupervisor(log)
	return Run(ctx, c, log)
}

// misused says what is wrong with the flags, a line each.
func misused(stderr io.Writer, c *Config, err error) (code int) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "alerts: %s\n", line)
	}
	fmt.Fprintln(stderr, "alerts -h lists all flags")
	return app.Usage
}

// program is an alerts that runs.
type program struct {
	cfg *Config
	log *slog.Logger

	ops     *admin.Port // Nil without an admin port.
	store   alert.Store
	table   *topics.Table
	feed    *feed.Feed
	watch   *watch.Watch
	api     *alertapi.Server
	grpc    *grpcapi.Server
	work    context.Context // Of all that ends when nothing watches any more.
	endWork context.CancelFunc
	working sync.WaitGroup
}

// Run watches until ctx ends. It says in the log what it does, and why it could not.
func Run(ctx context.Context, c *Config, log *slog.Logger) (code int) {
	p := &program{cfg: c, log: log}
	p.work, p.endWork = context.WithCancel(context.Background())
	defer p.close()
	for _, start := range []func(context.Context) error{p.listenAdmin, p.openStore, p.startFeed, p.startWatch, p.startAPI} {
		if err := start(ctx); err != nil {
			if ctx.Err() != nil {
				return app.OK
			}
			log.Error("can't start", "error", err)
			return app.Failed
		}
	}
	if err := p.serve(ctx); err != nil {
		log.Error("ended", "error", err)
		return app.Failed
	}
	log.Info("ended", "why", "it was told to")
	return app.OK
}

func (p *program) close() {
	p.endWork()
	p.working.Wait()
	if p.store != nil {
		if err := p.store.Close(); err != nil {
			p.log.Error("the store was not closed well", "error", err)
		}
	}
	if p.ops != nil {
		p.ops.Close()
	}
}

func (p *program) listenAdmin(context.Context) (err error) {
	if p.cfg.admin != "" {
		p.ops, err = admin.Listen(p.cfg.admin, p.cfg.adminNames, p.log)
	}
	return app.ListenHint(err, "-admin", p.cfg.admin, "perhaps another alerts: each needs an admin port of its own, or none (-admin=)")
}

// openWait is between two tries to open a database.
const openWait = time.Second

// openStore opens the store. A database that is away at the start is waited for.
func (p *program) openStore(ctx context.Context) (err error) {
	if !strings.HasPrefix(p.cfg.store, "postgres://") && !strings.HasPrefix(p.cfg.store, "postgresql://") {
		p.store, err = pebble.Open(pebble.Config{Dir: p.cfg.store, Log: p.log})
		return err
	}
	for try := 1; ; try++ {
		s, err := postgres.Open(ctx, postgres.Config{URL: p.cfg.store, Log: p.log})
		if err == nil {
			p.store = s
			return nil
		}
		if errors.Is(err, alert.ErrNewer) || ctx.Err() != nil || try == 30 {
			return err
		}
		if try == 1 {
			p.log.Warn("the database does not answer: it is tried again", "for", 30*openWait, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(openWait):
		}
	}
}

// linger is how long a topic is held that nothing asks about any more.
const linger = time.Minute

func (p *program) startFeed(context.Context) (err error) {
	p.table = topics.New(topics.Config{Max: p.cfg.topicsMax, Linger: linger, Start: time.Now()})
	if p.feed, err = feed.New(p.cfg.feed, p.table, p.log); err != nil {
		return err
	}
	p.working.Go(func() { panics.Keep(p.work, panics.Feed, p.log, p.feed.Run) })
	return nil
}

func (p *program) startWatch(context.Context) (err error) {
	to, err := feed.NewPublisher(p.work, p.cfg.feed, p.log)
	if err != nil {
		return err
	}
	owner := p.cfg.owner
	if owner == "" {
		host, _ := os.Hostname()
		owner = fmt.Sprintf("%s-%d-%d", host, os.Getpid(), time.Now().UnixNano()%1_000_000)
	}
	p.watch, err = watch.New(watch.Config{
		Store: p.store, Table: p.table, History: p.cfg.history, To: to, Owner: owner, Term: p.cfg.term, Price: p.cfg.price,
		Topic: func(user string) string { return auth.PrivateName(p.cfg.private, user) }, Item: alertapi.AppendFiring, Log: p.log,
	})
	return err
}

func (p *program) startAPI(context.Context) error {
	c := alertapi.Config{
		Store: p.store, Price: p.watch.Price, Quota: p.cfg.quota, Open: p.cfg.open, Private: p.cfg.tokens.Private, Origins: p.cfg.origins,
		Trusted: p.cfg.trusted, Rate: p.cfg.rate, Log: p.log, Changed: p.watch.Changed,
	}
	if len(p.cfg.keys) > 0 {
		c.Keys = func(key []byte) bool { _, ok := p.cfg.keys.Find(key); return ok }
	}
	if options.HasTokens(&p.cfg.tokens) {
		v, err := auth.NewVerifier(p.cfg.tokens, p.log)
		if err != nil {
			return err
		}
		p.working.Go(func() { panics.Keep(p.work, panics.Tokens, p.log, v.Run) })
		c.Verifier = v
	}
	var err error
	if p.api, err = alertapi.New(c); err != nil {
		return err
	}
	p.grpc = grpcapi.New(p.api.Service)
	return nil
}

// serve answers and watches until ctx ends or a port does. What watches ends last: what is created still fires.
func (p *program) serve(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var ports, watching sync.WaitGroup
	work, stop := context.WithCancel(p.work)
	defer stop()
	watching.Go(func() { p.watch.Run(work) })
	port := func(flag, addr, other string, serve func(context.Context, net.Listener) error) error {
		if addr == "" {
			return nil
		}
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return app.ListenHint(err, flag, addr, other)
		}
		ports.Go(func() {
			if err := serve(ctx, ln); err != nil && ctx.Err() == nil {
				end(err)
			}
		})
		p.log.Info("requests", "flag", flag, "addr", ln.Addr().String())
		return nil
	}
	err := errors.Join(port("-listen", p.cfg.listen, "perhaps another alerts: each needs a port of its own", p.api.Serve),
		port("-grpc", p.cfg.grpc, "perhaps another alerts: each needs a port of its own", func(ctx context.Context, ln net.Listener) error {
			return p.grpc.Serve(ctx, ln, p.cfg.secure)
		}))
	if err != nil {
		end(err)
	} else {
		if p.cfg.onAPI != nil {
			p.cfg.onAPI(p.api)
		}
		p.serveAdmin(ctx)
		defer p.cfg.supervisor.Watch(ctx, p.ready, nil)()
	}
	<-ctx.Done()
	ports.Wait()
	stop()
	watching.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func (p *program) serveAdmin(ctx context.Context) {
	if p.ops == nil {
		return
	}
	p.ops.Serve(exporter{p}, func() (warning string, err error) {
		if ctx.Err() != nil {
			return "", errors.New("stopping")
		}
		return p.ready()
	}, nil)
	p.log.Info("admin port open", "addr", p.ops.Addr().String())
}

// ready returns an error until what the store has is watched.
func (p *program) ready() (warning string, err error) {
	if !p.watch.Ready() {
		return "", errors.New("the alerts of the store were not read yet")
	}
	if !p.table.Health().Up {
		warning = "the broker is away: what is missed is made up for from the history"
	}
	return warning, nil
}
