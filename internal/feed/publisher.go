package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
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
// topic and publishes on its channel, in this order and in one transaction. So who
// fetches a value after a message gets that value or a newer one, and no other publisher
// of the topic comes between the two.
//
// The ticks of a batch share their transaction: MULTI and EXEC around every tick made
// tickgen a third slower and cost Redis half as much CPU again, a script more than that.
type Publisher struct {
	opts    *redis.Options
	channel template
	key     template
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
	p := &Publisher{log: log, changed: make(chan struct{}, 1), state: PublisherState{Speed: SpeedMin}}
	p.opts, _ = cfg.Sources[0].options(cfg) // Valid, and so are the templates.
	p.channel, _ = newTemplate("channel", cfg.Channel)
	p.key, _ = newTemplate("key", cfg.Key)
	routeLog(log)
	return p, nil
}

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
	opts := *p.opts
	opts.Dialer = dialer(ctx, &opts)
	client := redis.NewClient(&opts)
	defer client.Close()

	b := batch{p: p, pipe: client.TxPipeline()}
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
	p     *Publisher
	pipe  redis.Pipeliner
	ticks int
	arena []byte // Holds the values until the transaction is through.
	cmds  []redis.Cmder
}

func (b *batch) add(ctx context.Context, t Tick) {
	at := len(b.arena)
	b.arena = append(b.arena, t.Value...) // Moves at times; what it leaves stays as it is.
	value := b.arena[at:len(b.arena):len(b.arena)]
	b.cmds = append(b.cmds,
		redis.NewStatusCmd(ctx, "set", b.p.key.name(t.Topic), value),
		redis.NewIntCmd(ctx, "publish", b.p.channel.name(t.Topic), value))
	b.ticks++
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
		p.log.Info("publisher up", "address", p.opts.Addr)
	}
}

// failed says once per outage what went wrong.
func (p *Publisher) failed(err error, retryIn time.Duration) {
	p.mu.Lock()
	first := !p.down
	p.state.Connected, p.down = false, true
	p.mu.Unlock()
	if first {
		p.log.Error("publisher down", "address", p.opts.Addr, "error", err, "hint", hint(err),
			"retry_in", retryIn.Round(time.Millisecond))
	}
}
