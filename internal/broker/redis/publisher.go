package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/resp"
)

// Tick is one value on its way into Redis.
type Tick struct {
	Topic string
	Value []byte        // JSON, until the next call of Next.
	After time.Duration // The time since the tick before it, at speed 1.
}

// Source yields ticks one after the other. It returns io.EOF after the last. A
// source that puts a time into its values uses now.
type Source interface {
	Next(now time.Time) (Tick, error)
}

const (
	SpeedMin = 1
	SpeedMax = 10
)

// DefaultEntries is about how many entries of a stream are kept: minutes of a common
// market, in some 10 MB of Redis.
const DefaultEntries = 100_000

const (
	// publishMax bounds the ticks of one transaction, two commands each. Redis serves
	// nobody else while it runs one, one or two milliseconds for this many.
	publishMax = 1000
	// publishEvery is the least time between two transactions that are not full. It
	// makes batches at high rates, and nobody sees it: clients are flushed far less
	// often.
	publishEvery = 3 * time.Millisecond
)

// Publisher writes ticks into Redis at their pace. For each it sets the key of the
// topic and publishes on its channel, or adds an entry to the stream of [ModeStream], in
// this order and in one transaction. So who
// fetches a value after a message gets that value or a newer one, and no other publisher
// of the topic comes between the two.
//
// The ticks of a batch share their transaction: MULTI and EXEC around every tick made
// tickgen a third slower and cost Redis half as much CPU again, a script more than that.
type Publisher struct {
	cfg     Config
	up      *upstream
	channel template
	key     template
	entries int // About how many a stream keeps.
	log     *slog.Logger
	changed chan struct{} // Has an element when Run has to look at state again.

	mu    sync.Mutex
	state PublisherState
	down  bool // The last transaction failed, and that was logged.
}

// PublisherState says what a [Publisher] is doing.
type PublisherState struct {
	Published uint64  // Ticks that Redis has taken.
	Speed     float64 // 1 to 10.
	Paused    bool
	Connected bool // The last transaction went through.
}

// NewPublisher returns a publisher at speed 1, into the only source of cfg. It does not
// connect yet.
func NewPublisher(cfg Config, log *slog.Logger) (*Publisher, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("publisher: %w", err)
	}
	if len(cfg.Sources) != 1 {
		return nil, fmt.Errorf("publisher: redis sources are %d, want one to publish to", len(cfg.Sources))
	}
	p := &Publisher{cfg: cfg, entries: DefaultEntries, log: log, changed: make(chan struct{}, 1), state: PublisherState{Speed: SpeedMin}}
	p.up, _ = cfg.Sources[0].upstream(cfg) // Valid, and so are the templates.
	p.channel, _ = newTemplate("channel", cfg.Channel)
	p.key, _ = newTemplate("key", cfg.Key)
	routeLog(log)
	return p, nil
}

// KeepEntries sets about how many entries a stream keeps. It is to be called before Run.
func (p *Publisher) KeepEntries(n int) { p.entries = n }

// State may be called from any goroutine.
func (p *Publisher) State() PublisherState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// Pause stops the ticks until [Publisher.Resume]. It may be called from any
// goroutine, as may Resume and SetSpeed.
func (p *Publisher) Pause() { p.change(func(s *PublisherState) { s.Paused = true }) }

// Resume goes on after a pause, with the tick that was next.
func (p *Publisher) Resume() { p.change(func(s *PublisherState) { s.Paused = false }) }

// SetSpeed lets the time of the source pass faster: at 10, a market has ten times its
// rate of ticks. It refuses speeds outside of SpeedMin to SpeedMax.
func (p *Publisher) SetSpeed(speed float64) error {
	if !(speed >= SpeedMin && speed <= SpeedMax) {
		return fmt.Errorf("speed is %v, want %d to %d", speed, SpeedMin, SpeedMax)
	}
	p.change(func(s *PublisherState) { s.Speed = speed })
	return nil
}

func (p *Publisher) change(f func(*PublisherState)) {
	p.mu.Lock()
	f(&p.state)
	p.mu.Unlock()
	signal(p.changed)
}

// Run publishes the ticks of source until it ends or ctx does, which both return nil,
// or until it fails. While Redis cannot be reached it tries for ever to get the ticks
// in hand through, and then goes on with those after them. One source at a time.
func (p *Publisher) Run(ctx context.Context, source Source) error {
	client, err := p.connect(ctx)
	if err != nil {
		return fmt.Errorf("publisher: %w", err)
	}
	defer client.Close()

	b := batch{p: p, pipe: client.TxPipeline()}
	if c, ok := client.(*goredis.ClusterClient); ok {
		b.pipe = client.Pipeline() // Each tick is a transaction by itself: a script.
		b.cluster = c
	}
	var pace pace
	next, err := source.Next(time.Now())
	for err == nil && ctx.Err() == nil {
		now := time.Now()
		pace.pass(now, next.After, p.speed())
		for err == nil && b.ticks < publishMax && pace.take(next.After) {
			b.add(ctx, next)
			next, err = source.Next(now)
		}
		full := b.ticks == publishMax
		if b.publish(ctx) && err == nil && !full {
			p.wait(ctx, &pace, next.After)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// connect returns a client of the publisher's servers. Its connections close when ctx
// ends.
func (p *Publisher) connect(ctx context.Context) (goredis.UniversalClient, error) {
	opts, err := p.cfg.TLS.secure(p.up.opts)
	if err != nil {
		return nil, err
	}
	own := *opts
	own.Dialer = dialer(ctx, &own)
	switch p.up.kind {
	case sentinel:
		// To sentinels go-redis speaks RESP3, whatever the protocol is to be.
		own.Dialer = filtered(bareDialer(ctx, &own), resp.Follower{Newer: true})
		return goredis.NewFailoverClient(&goredis.FailoverOptions{
			MasterName: p.up.master, SentinelAddrs: p.up.addrs, SentinelUsername: p.up.guard.Username, SentinelPassword: p.up.guard.Password,
			Username: own.Username, Password: own.Password, DB: own.DB, Dialer: own.Dialer, DialerRetries: own.DialerRetries,
			DialTimeout: own.DialTimeout, ReadTimeout: own.ReadTimeout, WriteTimeout: own.WriteTimeout, ContextTimeoutEnabled: true,
			MaxRetries: own.MaxRetries, Protocol: own.Protocol, DisableIdentity: true,
		}), nil
	case sharded:
		// It follows slots that move by itself, and is tried again after anything else.
		return goredis.NewClusterClient(&goredis.ClusterOptions{
			Addrs: p.up.addrs, Username: own.Username, Password: own.Password, Dialer: own.Dialer, DialerRetries: own.DialerRetries,
			DialTimeout: own.DialTimeout, ReadTimeout: own.ReadTimeout, WriteTimeout: own.WriteTimeout, ContextTimeoutEnabled: true,
			Protocol: own.Protocol, DisableIdentity: true, MaintNotificationsConfig: own.MaintNotificationsConfig,
		}), nil
	}
	return goredis.NewClient(&own), nil
}

// address names the servers in the log.
func (p *Publisher) address() string {
	if len(p.up.addrs) > 0 {
		return strings.Join(p.up.addrs, ",")
	}
	return p.up.opts.Addr
}

// speed is how fast time passes for the source, 0 in a pause.
func (p *Publisher) speed() float64 {
	s := p.State()
	if s.Paused {
		return 0
	}
	return s.Speed
}

// wait returns when the tick that comes by after is due, when there is something new
// to look at, or when ctx ends.
func (p *Publisher) wait(ctx context.Context, pace *pace, after time.Duration) {
	var due <-chan time.Time // Never, in a pause.
	if pace.speed > 0 {
		t := time.NewTimer(max(pace.wait(after), publishEvery))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
	case <-p.changed:
	case <-due:
	}
}

// batch is the ticks of one transaction.
type batch struct {
	p       *Publisher
	pipe    goredis.Pipeliner
	cluster *goredis.ClusterClient // Nil if it is none.
	ticks   int
	arena   []byte // Holds the values until the transaction is through.
	cmds    []goredis.Cmder
}

func (b *batch) add(ctx context.Context, t Tick) {
	at := len(b.arena)
	b.arena = append(b.arena, t.Value...) // Moves at times; what it leaves stays as it is.
	value := b.arena[at:len(b.arena):len(b.arena)]
	b.cmds = b.p.appendCommands(ctx, b.cmds, t.Topic, value)
	b.ticks++
}

// inShard sets and publishes one tick in a Redis Cluster, where a transaction over many
// topics is not possible, because they are in different slots.
const inShard = `redis.call('SET',KEYS[1],ARGV[1]) return redis.call('SPUBLISH',KEYS[2],ARGV[1])`

// appendCommands appends what writes one tick.
func (p *Publisher) appendCommands(ctx context.Context, cmds []goredis.Cmder, topic string, value []byte) []goredis.Cmder {
	key, channel := p.key.name(topic), p.channel.name(topic)
	if p.up.kind == sharded {
		return append(cmds, goredis.NewIntCmd(ctx, "eval", inShard, 2, key, channel, value))
	}
	cmds = append(cmds, goredis.NewStatusCmd(ctx, "set", key, value))
	if p.cfg.Mode == ModeStream {
		// About as many as are to be kept: to the entry it would cost far more.
		return append(cmds, goredis.NewStringCmd(ctx, "xadd", p.cfg.Stream, "maxlen", "~", p.entries, "*",
			streamTopic, topic, streamValue, value))
	}
	return append(cmds, goredis.NewIntCmd(ctx, "publish", channel, value))
}

// publish writes the batch, again and again until Redis has taken it. It is false
// when ctx ended before. What Redis may have taken twice is the same value twice.
func (b *batch) publish(ctx context.Context) bool {
	if b.ticks == 0 {
		return true
	}
	var wait backoff
	for {
		for _, cmd := range b.cmds {
			cmd.SetErr(nil)
			b.pipe.Process(ctx, cmd)
		}
		_, err := b.pipe.Exec(ctx)
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			break
		}
		if b.cluster != nil {
			b.cluster.ReloadState(ctx) // From a primary that is dead, go-redis does not go on to the new one.
		}
		d := wait.next()
		b.p.failed(err, d)
		if !sleep(ctx, d) {
			return false
		}
	}
	b.p.published(b.ticks)
	b.ticks, b.arena, b.cmds = 0, b.arena[:0], b.cmds[:0]
	return true
}

// published counts ticks, and says so when they are the first after a failure.
func (p *Publisher) published(ticks int) {
	p.mu.Lock()
	was := p.state.Connected
	p.state.Connected, p.down = true, false
	p.state.Published += uint64(ticks)
	p.mu.Unlock()
	if !was {
		p.log.Info("publisher up", "address", p.address())
	}
}

// failed says once per outage what went wrong.
func (p *Publisher) failed(err error, retryIn time.Duration) {
	p.mu.Lock()
	first := !p.down
	p.state.Connected, p.down = false, true
	p.mu.Unlock()
	if first {
		p.log.Error("publisher down", "address", p.address(), "error", err, "hint", hint(err),
			"retry_in", retryIn.Round(time.Millisecond))
	}
}
