// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"tickedge/internal/trade"
)

// inlet brings the trades of one exchange: its groups keep a connection each, its trackers put the trades
// of each symbol in order, and its fillers fetch what was missed.
type inlet struct {
	vendor   *vendor
	c        Config
	log      *slog.Logger
	to       Sink
	groups   []*group
	jobs     [2]chan *tracker // Of fillers: gaps, and checks.
	messages *rate.Limiter
	connects *rate.Limiter
	rest     *rest
	history  historian // Nil if the exchange has none.

	ban struct { // By the exchange, of this host.
		sync.Mutex
		until time.Time
	}
	fatal context.CancelCauseFunc

	connected, trades, flawed, gaps, filled, missed, repeated atomic.Int64
	connections, resets, silences, banned, offset             atomic.Int64
	lastError                                                 atomic.Pointer[string]

	attempts int64 // Of the first connection, after which Run ends with what failed; 0 is any number.
	tried    atomic.Int64
}

// Live is true: exchanges don't wait.
func (in *inlet) Live() bool { return true }

// Stats may be called from any goroutine.
func (in *inlet) Stats() Stats {
	s := Stats{
		Connected: int(in.connected.Load()), Wanted: len(in.groups), Trades: uint64(in.trades.Load()), Flawed: uint64(in.flawed.Load()),
		Gaps: uint64(in.gaps.Load()), Filled: uint64(in.filled.Load()), Missed: uint64(in.missed.Load()), Repeated: uint64(in.repeated.Load()),
		Connects: uint64(in.connections.Load()), Resets: uint64(in.resets.Load()), Silences: uint64(in.silences.Load()),
		Banned: uint64(in.banned.Load()), ClockOffset: in.offset.Load(),
	}
	if e := in.lastError.Load(); e != nil {
		s.LastError = *e
	}
	return s
}

// errFatal is what trying again would not mend.
type errFatal struct{ error }

func (e errFatal) Unwrap() error { return e.error }

// Run implements Inlet.
func (in *inlet) Run(ctx context.Context, to Sink, from func(*trade.Symbol) Position) error {
	in.to = to
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	in.fatal = cancel
	for _, g := range in.groups {
		for _, t := range g.trackers {
			t.begin(from(t.sym))
		}
	}
	var all sync.WaitGroup
	for range fillersMax {
		all.Go(func() { in.fillAll(ctx) })
	}
	for _, g := range in.groups {
		all.Go(func() { g.run(ctx) })
	}
	all.Wait()
	var fatal errFatal
	if errors.As(context.Cause(ctx), &fatal) {
		return fatal
	}
	return nil
}

// clean is the text of an error without the key, which stands in addresses too.
func (in *inlet) clean(err error) string {
	text := err.Error()
	if in.c.Key != "" {
		text = strings.NewReplacer(in.c.Key, "***", url.QueryEscape(in.c.Key), "***").Replace(text)
	}
	return text[:min(len(text), 512)]
}

// failed notes an error for Stats and the log.
func (in *inlet) failed(what string, err error, args ...any) {
	text := in.clean(err)
	in.lastError.Store(&text)
	in.log.Warn(what, append(args, "error", text)...)
}

// flaw counts a message or a trade that is skipped. The log in front of which a program has its throttle
// tells of the first ones.
func (in *inlet) flaw(symbol string, err error) {
	in.flawed.Add(1)
	in.log.Warn("a message of an exchange was skipped", "symbol", symbol[:min(len(symbol), 64)], "error", in.clean(err))
}

// banFor notes that the exchange wants nothing from us for a time.
func (in *inlet) banFor(d time.Duration) {
	in.banned.Add(1)
	in.ban.Lock()
	defer in.ban.Unlock()
	if until := time.Now().Add(d); until.After(in.ban.until) {
		in.ban.until = until
	}
}

// banWait is how long the exchange still wants nothing from us.
func (in *inlet) banWait() time.Duration {
	in.ban.Lock()
	defer in.ban.Unlock()
	return time.Until(in.ban.until)
}

// sleep waits, and reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

// backoff gives the times between attempts: random up to a bound that doubles, so that programs that lost
// their exchange together don't come back together.
type backoff struct{ min, max, bound time.Duration }

func (b *backoff) next() time.Duration {
	b.bound = min(max(b.bound*2, b.min), b.max)
	return b.bound/2 + rand.N(b.bound/2+1)
}

func (b *backoff) reset() { b.bound = 0 }

func micros() int64 { return time.Now().UnixMicro() }
