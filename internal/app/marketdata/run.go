// SPDX-License-Identifier: Apache-2.0

// Package marketdata is the program marketdata: from exchanges to bars, a broker and a history.
//
//	run.go      Main, and Run, which another program can call: what is started, and stopped in reverse
//	flags.go    the flags
//	config.go   what can be set, checked
//	symbols.go  the table of symbols
//	router.go   trades to the shards of their symbols
//	shard.go    the bars of some symbols, and what is told of them
//	tell.go     what is told of them, and its versions
//	state.go    checkpoints
//	outputs.go  the broker, the history and the log
//	trace.go    trades that are followed
//	live.go     what is not in the history yet, for requests
//	inlets.go   what trades come from
//	stores.go   folders and databases
//	metrics.go  /metrics
//	health.go   the healthcheck of images
package marketdata

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tickedge/internal/admin"
	"tickedge/internal/app"
	"tickedge/internal/app/options"
	"tickedge/internal/auth"
	"tickedge/internal/broker/kafka"
	"tickedge/internal/broker/redis"
	"tickedge/internal/exchange"
	"tickedge/internal/feed"
	"tickedge/internal/flags"
	"tickedge/internal/panics"
	"tickedge/internal/trade"
)

// Main is the program: flags, help, version and -check, and the commands.
func Main(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) (code int) {
	switch {
	case len(args) > 0 && args[0] == "completion":
		return complete(args[1:], stdout, stderr)
	case len(args) > 0 && (args[0] == "backup" || args[0] == "restore"):
		return copyHistory(ctx, args[0], args[1:], stdout, stderr)
	case len(args) > 0 && args[0] == "healthcheck":
		return healthcheck(ctx, args[1:], stdout, stderr)
	case len(args) == 1 && (args[0] == "help" || args[0] == "version"):
		args = []string{"-" + args[0]}
	}
	c, err := Parse(args)
	switch {
	case flags.Asked(err):
		if errors.Is(err, flags.ErrVersion) {
			fmt.Fprintln(stdout, "marketdata", app.BuildVersion())
		} else {
			c.flags.WriteHelp(stdout, usageHead)
		}
		return app.OK
	case err != nil:
		return misused(stderr, c, err)
	case c.check:
		warn(stderr, c)
		c.print(stdout)
		return app.OK
	}
	log := c.log.Logger(stderr)
	slog.SetDefault(log)
	if c.probe != "" {
		return probe(ctx, c, log, stdout, stderr)
	}
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

func complete(args []string, stdout, stderr io.Writer) (code int) {
	if len(args) != 1 || !newConfig().flags.WriteCompletion(stdout, args[0]) {
		fmt.Fprintf(stderr, "marketdata completion: want a shell: marketdata completion %s\n", flags.Shells)
		return app.Usage
	}
	return app.OK
}

func warn(stderr io.Writer, c *Config) {
	for _, warning := range c.flags.Warnings() {
		fmt.Fprintf(stderr, "marketdata: warning: %s\n", warning)
	}
}

// misused says what is wrong with the flags, a line each.
func misused(stderr io.Writer, c *Config, err error) (code int) {
	warn(stderr, c)
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "marketdata: %s\n", line)
	}
	fmt.Fprintln(stderr, "marketdata -h lists all flags")
	return app.Usage
}

// program is a marketdata that runs.
type program struct {
	cfg *Config
	log *slog.Logger

	ops     *admin.Port // Nil without an admin port.
	writer  *kafka.Writer
	reader  *kafka.Reader // Nil if trades are not read from Kafka.
	mu      sync.Mutex    // Of shards.
	stores  stores
	out     outputs
	shards  []*shard
	inlets  []inlet
	history *historyPort    // Nil without one.
	work    context.Context // Of all that is waited for, but for inlets and shards.
	endWork context.CancelFunc
	last    context.Context // Ends lastTimeout after it was told to end: nothing is waited for any more.
	giveUp  context.CancelFunc
	working sync.WaitGroup
	running atomic.Bool // The shards are.
}

// inlet is an inlet that runs.
type inlet struct {
	name   string
	inlet  exchange.Inlet
	router *router
}

// Run brings trades until ctx ends, or all have come, and stores what it has. It says in the log what it does, and why it
// could not.
func Run(ctx context.Context, c *Config, log *slog.Logger) (code int) {
	p := &program{cfg: c, log: log}
	p.work, p.endWork = context.WithCancel(context.Background())
	p.last, p.giveUp = context.WithCancel(context.Background())
	defer p.giveUp()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastTimeout, p.giveUp) })()
	defer p.close()
	for _, start := range []func(context.Context) error{p.listenAdmin, p.startTracing, p.openStores, p.startOutbox, p.startKafka, p.loadShards, p.makeInlets, p.startHistory} {
		if err := start(ctx); err != nil {
			if ctx.Err() != nil {
				return app.OK
			}
			log.Error("can't start", "error", err)
			return app.Failed
		}
	}
	p.serveAdmin(ctx)
	defer p.cfg.supervisor.Watch(ctx, p.ready, nil)()
	if err := p.bring(ctx); err != nil {
		log.Error("ended", "error", err)
		return app.Failed
	}
	log.Info("ended", "why", "all trades have come, or it was told to")
	return app.OK
}

// bring runs inlets and shards. When the inlets have ended the shards store what has come.
func (p *program) bring(ctx context.Context) error {
	inlets, endInlets := context.WithCancelCause(ctx)
	defer endInlets(nil)
	shards, endShards := context.WithCancel(context.Background())
	defer endShards()
	var making, bringing sync.WaitGroup
	failed := make(chan error, len(p.owned()))
	for _, s := range p.owned() {
		making.Go(func() {
			if err := s.run(shards); err != nil {
				failed <- fmt.Errorf("%s: %w", s.name, err)
				endInlets(err)
			}
		})
	}
	p.running.Store(true)
	defer p.running.Store(false)
	errs := make(chan error, len(p.inlets)+1)
	if p.reader != nil {
		p.log.Info("trades come from", "inlet", inKafka, "address", p.cfg.kafka.String(), "topic", p.cfg.kafkaTrades)
		bringing.Go(func() {
			if err := p.reader.Run(inlets); err != nil && inlets.Err() == nil {
				errs <- fmt.Errorf("kafka: %w", err)
				endInlets(err)
			}
		})
	}
	for _, in := range p.inlets {
		p.log.Info("trades come from", "inlet", in.name, "symbols", len(in.router.ways))
		bringing.Go(func() {
			in.router.ctx = inlets
			var to exchange.Sink = in.router
			if p.writer != nil {
				to = tradeWriter{in.router, p.writer}
			}
			to = p.sampled(to)
			if err := in.inlet.Run(inlets, to, in.router.position); err != nil && inlets.Err() == nil {
				errs <- fmt.Errorf("%s: %w", in.name, err)
				endInlets(err)
			}
		})
	}
	bringing.Wait()
	if inlets.Err() == nil {
		for _, s := range p.owned() {
			s.finish(inlets)
		}
	}
	endShards()
	making.Wait()
	close(failed)
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	for err := range failed {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// close ends what was started.
func (p *program) close() {
	if p.history != nil {
		p.history.close()
	}
	p.drain()
	p.endWork()
	p.working.Wait()
	p.stores.close(p.last, p.log)
	if p.ops != nil {
		p.ops.Close()
	}
}

// drainTimeout is how long the last values may take on their way into the broker.
const drainTimeout = 3 * time.Second

// drain lets the outbox get rid of what waits.
func (p *program) drain() {
	if p.out.outbox == nil {
		return
	}
	end := time.Now().Add(drainTimeout)
	for p.out.outbox.Stats().Waiting > 0 && p.out.outbox.Stats().Connected && time.Now().Before(end) && p.last.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
}

func (p *program) listenAdmin(context.Context) (err error) {
	if p.cfg.admin != "" {
		p.ops, err = admin.Listen(p.cfg.admin, p.cfg.adminNames, p.log)
	}
	return app.ListenHint(err, "-admin", p.cfg.admin, "perhaps another marketdata: each needs an admin port of its own, or none (-admin=)")
}

// startOutbox has values published to the brokers.
func (p *program) startOutbox(context.Context) error {
	p.out.log = p.log
	f, err := p.cfg.feed()
	if err != nil || len(f) == 0 {
		return err
	}
	topics := len(p.cfg.table.All()) * (1 + len(p.cfg.bars.Intervals))
	if p.out.outbox, err = feed.NewOutbox(p.work, f, p.log, topics); err != nil {
		return err
	}
	p.working.Go(func() { panics.Keep(p.work, panics.Feed, p.log, p.out.outbox.Run) })
	return nil
}

// loadShards makes the shards, with what their checkpoints have.
func (p *program) loadShards(ctx context.Context) (err error) {
	if p.cfg.readsKafka() { // Its shards are those of partitions.
		p.reader, err = kafka.NewReader(kafka.ReaderConfig{Kafka: p.cfg.kafka, Topic: p.cfg.kafkaTrades, Group: p.cfg.kafkaGroup, Table: p.cfg.table},
			partitionOwner{p}, p.log)
		return err
	}
	for i := range p.cfg.shards {
		s := newShard(p, fmt.Sprintf("%s.%d-%d", p.cfg.checkpointName, i, p.cfg.shards))
		s.number = i
		if err := s.load(ctx); err != nil {
			return err
		}
		p.shards = append(p.shards, s)
	}
	return nil
}

func newShard(p *program, name string) *shard {
	return &shard{
		name: name, cfg: p.cfg, log: p.log, out: &p.out, last: p.last, in: make(chan item, inboxSize), calls: make(chan func()), positions: make(map[string]exchange.Position),
		awaited: make(map[*trade.Symbol]bool), fills: make(map[*trade.Symbol]int), flaws: make(map[string]uint64), vers: make(map[string]int64), saved: make(chan savedIn, 1),
	}
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

// ready returns an error until each inlet has brought a trade.
func (p *program) ready() (warning string, err error) {
	var warnings []string
	for _, in := range p.inlets {
		st := in.inlet.Stats()
		switch {
		case st.Trades == 0:
			return "", fmt.Errorf("no trade has come from %s yet: %s", in.name, st.LastError)
		case st.Connected < st.Wanted:
			warnings = append(warnings, fmt.Sprintf("%s has %d of %d connections: %s", in.name, st.Connected, st.Wanted, st.LastError))
		}
	}
	if p.reader != nil {
		switch st := p.reader.Stats(); {
		case st.Partitions == 0:
			return "", fmt.Errorf("it has no partition of Kafka's topic yet: %s", st.LastError)
		case st.Behind > 0:
			warnings = append(warnings, fmt.Sprintf("%d partitions are being caught up with", st.Behind))
		}
	}
	if p.out.outbox != nil && !p.out.outbox.Stats().Connected {
		warnings = append(warnings, "the broker is away")
	}
	return strings.Join(warnings, ", "), nil
}

// startTokens keeps the keys of tokens up to date.
func (p *program) startTokens() (v *auth.Verifier, err error) {
	if !options.HasTokens(&p.cfg.tokens) {
		return nil, nil
	}
	if v, err = auth.NewVerifier(p.cfg.tokens, p.log); err == nil {
		p.working.Go(func() { panics.Keep(p.work, panics.Tokens, p.log, v.Run) })
	}
	return v, err
}
