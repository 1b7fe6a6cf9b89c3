package feed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// commandMax bounds the channels in one SUBSCRIBE, so that Redis serves others
	// between two of them, and a ping never waits behind a hundred thousand.
	commandMax = 1000
	// gatherFor is how long a subscription waits for others to share its command: a
	// page of a hundred topics comes as a hundred changes.
	gatherFor = 3 * time.Millisecond
	// fetchMax bounds the GETs of one pipeline. One pipeline is in flight at a time.
	fetchMax = 500
	// watchBeats is into how many parts the watchdog divides the timeout. One ping is
	// sent in each, so two may be lost or late without harm.
	watchBeats = 3
)

// link is one connection for messages and one for fetches, and all that happens
// over them. It is never repaired: whatever fails ends it.
//
//	receiver  reads messages and confirmations, into the table and r.wants
//	writer    writes SUBSCRIBE, UNSUBSCRIBE and PING
//	fetcher   GETs newest values over the second connection
//	watchdog  ends the link when nothing was heard for the timeout
type link struct {
	r     *Redis
	sub   *redis.PubSub
	get   *redis.Client
	heard atomic.Uint64 // Counts whatever was received.
}

// errRedial is what go-redis gets when it wants to replace a broken connection
// behind our back. We would not know where the gap was.
var errRedial = errors.New("the connection has failed")

// runLink runs one link. It calls up when the connection works, and returns why
// it ended, with its goroutines ended and its sockets closed.
func (r *Redis) runLink(ctx context.Context, up func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	opts := *r.opts
	opts.Dialer = dialer(ctx, &opts)
	get := redis.NewClient(&opts)
	defer get.Close()

	var dialed atomic.Bool
	once, dial := *r.opts, opts.Dialer
	once.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dialed.Swap(true) {
			return nil, errRedial
		}
		return dial(ctx, network, addr)
	}
	client := redis.NewClient(&once)
	defer client.Close()

	l := &link{r: r, sub: client.Subscribe(ctx), get: get}
	defer l.sub.Close()
	if err := l.greet(ctx); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	up()

	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{l.receive, l.write, l.fetch, l.watch} {
		wg.Go(func() {
			err := run(ctx)
			// These two are not why the link ends but what the others see of it.
			// Whoever closed the connection comes with the reason.
			if err != nil && !errors.Is(err, errRedial) && !errors.Is(err, net.ErrClosed) {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// greet connects and waits for the answer to a ping. A server that accepts and then
// says nothing has not answered.
func (l *link) greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.r.cfg.Timeout)
	defer cancel()
	if err := l.sub.Ping(ctx); err != nil {
		return err
	}
	_, err := l.sub.Receive(ctx)
	return err
}

// receive has no deadline: one that expires in the middle of a message would leave
// its rest in the stream. The end of ctx closes the socket.
func (l *link) receive(ctx context.Context) error {
	counted := false
	for {
		m, err := l.sub.Receive(ctx)
		l.heard.Add(1)
		if err != nil {
			if err = l.r.refuse(err); err != nil {
				return fmt.Errorf("receive: %w", err)
			}
			continue
		}
		if l.r.receive(m) && !counted {
			counted = true
			l.r.counters.gaps.Add(1)
		}
	}
}

func (l *link) write(ctx context.Context) error {
	ping := time.NewTicker(l.r.cfg.Timeout / watchBeats)
	defer ping.Stop()
	for {
		if err := l.writeCommands(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.r.wants.written:
			sleep(ctx, gatherFor)
		case <-ping.C:
			if err := l.sub.Ping(ctx); err != nil {
				return fmt.Errorf("ping: %w", err)
			}
		}
	}
}

// writeCommands writes all that is to be subscribed and unsubscribed.
func (l *link) writeCommands(ctx context.Context) error {
	for ctx.Err() == nil {
		c := l.r.wants.next(commandMax)
		if len(c.topics) == 0 {
			return nil
		}
		for i, topic := range c.topics {
			c.topics[i] = l.r.channel.name(topic)
		}
		write := l.sub.Subscribe
		if c.name == unsubscribe {
			write = l.sub.Unsubscribe
		}
		if err := write(ctx, c.topics...); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// watch counts beats without a sign of life instead of looking at the clock: a
// process that was stopped itself sees one long beat, not a dead server.
func (l *link) watch(ctx context.Context) error {
	beat := time.NewTicker(l.r.cfg.Timeout / watchBeats)
	defer beat.Stop()
	heard, quiet := l.heard.Load(), 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
		}
		if h := l.heard.Load(); h != heard {
			heard, quiet = h, 0
		} else if quiet++; quiet == watchBeats {
			return errSilent
		}
	}
}

// fetch fetches what r.wants has to fetch. Its failures do not end the link:
// messages go on while a replica loads or a key's permission is missing.
func (l *link) fetch(ctx context.Context) error {
	var wait backoff
	var batch, failed []fetch
	for {
		batch = l.r.wants.fetches(batch[:0], fetchMax)
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-l.r.wants.fetched:
			}
			continue
		}
		var err error
		failed, err = l.fetchBatch(ctx, batch, failed[:0])
		if ctx.Err() != nil {
			return nil
		}
		if len(failed) == 0 {
			wait.reset()
			continue
		}
		d := wait.next()
		l.r.fetchFailed(err, len(failed), d)
		sleep(ctx, d)
		l.r.wants.refetch(failed)
	}
}

// fetchBatch fetches the newest values of batch and repairs the table with them. It
// appends what is worth another attempt to failed, with the last error.
func (l *link) fetchBatch(ctx context.Context, batch, failed []fetch) ([]fetch, error) {
	pipe := l.get.Pipeline()
	cmds := make([]*redis.StringCmd, len(batch))
	for i, f := range batch {
		cmds[i] = pipe.Get(ctx, l.r.key.name(f.topic))
	}
	pipe.Exec(ctx) // Every command has its own error.
	var last error
	for i, f := range batch {
		value, err := cmds[i].Result()
		switch {
		case err == nil:
			if l.r.inspector.passes(l.r.log, f.topic, value) && l.r.wants.repair(f, value) {
				l.r.counters.repairs.Add(1)
			}
		case errors.Is(err, redis.Nil): // Nothing was published yet.
		case redis.IsPermissionError(err), redis.HasErrorPrefix(err, "WRONGTYPE"):
			l.r.fetchFailed(fmt.Errorf("GET %s: %w", l.r.key.name(f.topic), err), 1, 0)
		default:
			failed, last = append(failed, f), err
		}
	}
	return failed, last
}

// fetchFailed counts topics whose newest value could not be fetched. A retryIn of 0
// says that it will not be tried again.
func (r *Redis) fetchFailed(err error, topics int, retryIn time.Duration) {
	r.counters.fetchFailures.Add(uint64(topics))
	if swallowed, ok := r.fetchLog.allow(); ok {
		r.log.Warn("redis feed: newest values not fetched", "error", err, "topics", topics,
			"retry_in", retryIn.Round(time.Millisecond), "swallowed", swallowed, "hint", hint(err))
	}
}
