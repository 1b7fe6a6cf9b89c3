// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
	"tickedge/internal/panics"
	"tickedge/internal/resp"
	"tickedge/internal/topics"
)

const (
	// fetchMax bounds the values of one pipeline. One pipeline is in flight at a time.
	fetchMax = 500
	// waitingMax bounds the pipelines whose values wait to be let in, 2 MiB each at most.
	// Several, because a receiver that is behind by a second would else let one pipeline
	// through a second.
	waitingMax = 4
)

// fetcher fetches the newest values that a server's wants have to fetch. It belongs to a
// link, and hands what it fetched to the link, which lets it into the table in its time.
type fetcher struct {
	s       *server
	get     *goredis.Client
	waiting chan struct{} // Has an element per pipeline that waits to be let in.

	// after may add commands behind those for the values. What it returns is asked
	// whether they went well, once they were run.
	after func(context.Context, goredis.Pipeliner) (ran func() error)
	hand  func(context.Context, []repair) // Takes the element out of waiting at last.
	look  func()                          // Called when something may have caught up.
}

// repair is a fetched value on its way into the table.
type repair struct {
	fetch
	value   string
	version topics.Version
}

// run returns when ctx has ended. Failures do not end the link: messages go on while a
// replica loads or a key's permission is missing. What fails for itself is fetched again
// later and holds up nothing else; when Redis as a whole fails, all is left alone for a while.
func (f *fetcher) run(ctx context.Context) error {
	var wait broker.Backoff
	var batch, failed []fetch
	var again <-chan time.Time // When failed fetches are due again; nil while there are none.
	for {
		select {
		case <-again:
			again = nil
			f.s.wants.refetch()
		default:
		}
		batch = f.s.wants.fetches(batch[:0], fetchMax)
		if len(batch) == 0 {
			f.look()
			select {
			case <-ctx.Done():
				return nil
			case <-f.s.wants.due:
			case <-again:
				again = nil
				f.s.wants.refetch()
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case f.waiting <- struct{}{}:
		}
		var repairs []repair
		var err error
		repairs, failed, err = f.fetch(ctx, batch, failed[:0])
		if ctx.Err() != nil {
			return nil
		}
		if len(repairs) == 0 {
			<-f.waiting
			f.look()
		} else {
			f.hand(ctx, repairs)
		}
		if len(failed) == 0 {
			if again == nil {
				wait.Reset()
			}
			continue
		}
		d := wait.Next()
		f.s.fetchFailed(err, len(failed), d)
		f.s.wants.fail(failed, causeOf(err))
		if again == nil {
			again = time.After(d)
		}
		if concernsAll(err) {
			f.s.wants.failAll(causeOf(err))
			broker.Sleep(ctx, d)
		}
	}
}

// fetch fetches the newest values of batch. It appends those to failed of which Redis as a
// whole, or its cluster, has none for now, with the last error, or with one that is no matter
// of a slot. What is refused for itself is noted.
//
// It asks for no more of a value than it takes to see that it is too long. With GET,
// whoever may write the keys could fill the memory.
func (f *fetcher) fetch(ctx context.Context, batch, failed []fetch) ([]repair, []fetch, error) {
	pipe := f.get.Pipeline()
	cmds := make([]*goredis.StringCmd, len(batch))
	for i, of := range batch {
		cmds[i] = pipe.GetRange(ctx, f.s.key.name(of.topic), 0, broker.ValueMax)
	}
	ran := f.after(ctx, pipe)
	execute(ctx, pipe) // Every command has its own error.
	if err := ran(); err != nil {
		return nil, append(failed, batch...), err
	}
	var repairs []repair
	var last error
	for i, of := range batch {
		value, err := cmds[i].Result()
		switch {
		case err == nil && value == "": // Without a key, nothing was published yet.
			f.s.wants.unrepaired(of)
		case err == nil:
			version, flaw := f.s.owner.Inspect(value)
			if flaw == broker.Flawless {
				repairs = append(repairs, repair{of, value, version})
			} else if f.s.wants.forbidden(of, broker.BadValue) { // Which the owner logs.
				f.s.owner.Drop(of.topic, value, int64(len(value)), flaw)
			}
		case concernsAll(err), f.s.moved != nil && isMisplaced(err):
			failed = append(failed, of)
			if last == nil || !concernsAll(last) {
				last = err
			}
		default:
			f.s.refuseRead(of, err)
		}
	}
	if len(failed) > 0 && f.s.moved != nil && isMisplaced(last) {
		f.s.moved()
	}
	return repairs, failed, last
}

// commit lets the values of a pipeline into the table.
func (f *fetcher) commit(repairs []repair) {
	for _, r := range repairs {
		f.s.wants.repair(r.fetch, r.value, topics.Meta{At: f.s.owner.Now(), Version: r.version})
	}
	<-f.waiting
	f.look()
}

// nothing is what comes after the values of a link for messages.
func nothing(context.Context, goredis.Pipeliner) func() error { return func() error { return nil } }

// fetchFailed counts topics whose newest value could not be fetched for now.
func (s *server) fetchFailed(err error, topics int, retryIn time.Duration) {
	s.counters[broker.FetchFailures].Add(uint64(topics))
	if c := causeOf(err); c != broker.Unreachable {
		s.refusals[c].Add(uint64(topics))
	}
	if broken := (*resp.Error)(nil); errors.As(err, &broken) {
		s.counters[broker.Broken].Add(1)
	}
	s.log.Warn("redis feed: newest values not fetched", "error", err, "topics", topics,
		"retry_in", retryIn.Round(time.Millisecond), "hint", hint(err))
}

// runAll runs the goroutines of a link until the first of them fails, or ctx ends. It
// returns why. A panic in one of them ends the link and nothing else: what the other side
// sends may find a fault in a library, and must not cost the clients of the whole process.
func runAll(ctx context.Context, cancel context.CancelCauseFunc, runs ...func(context.Context) error) error {
	var wg sync.WaitGroup
	for _, run := range runs {
		wg.Go(func() {
			err := panics.Try(panics.Feed, func() error { return run(ctx) })
			// A closed connection is not why the link ends but what the others see of it.
			// Whoever closed it comes with the reason.
			if err != nil && !errors.Is(err, net.ErrClosed) {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
