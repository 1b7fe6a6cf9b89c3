// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"tickedge/internal/trade"
)

// Config is what an inlet of an exchange's sockets needs. Fields that are 0 have the defaults that the
// exchange's documents ask for.
type Config struct {
	Table *trade.Table
	Log   *slog.Logger

	WS   string // Address of its sockets, such as wss://advanced-trade-ws.coinbase.com.
	REST string // Address of its history, such as https://api.coinbase.com.
	Key  string // Finnhub's token, or a key for Binance's history. It stands in no log and no error.

	NoQuotes bool // Trades get no bid and ask: half the streams, and far fewer messages.

	Backfill       time.Duration // How old trades are fetched at most. Default 1 h.
	BackfillTrades int           // How many are, of a symbol and a gap. Default 100,000, which is the most.

	Streams    int           // A connection's most.
	Messages   float64       // To the exchange, a second, all connections together.
	Requests   float64       // Weight of requests to its history, a second.
	Connects   float64       // Connections a second.
	Silence    time.Duration // Without any message, or without heartbeats where there are any.
	Life       time.Duration // After which a connection is replaced.
	Overlap    time.Duration // In which both are open then. Default 2 s.
	Grace      time.Duration // For trades that come late before they are fetched. Default 500 ms.
	BackoffMin time.Duration // Between attempts to connect: random up to a bound that doubles. Default 250 ms.
	BackoffMax time.Duration // Default 30 s.
}

const (
	// backfillMax bounds the memory of a gap: 100,000 trades have 14 MB.
	backfillMax = 100_000
	// heldMax bounds the trades of a symbol that wait until those before them were fetched. What comes
	// then is dropped, and fetched as the next gap.
	heldMax = 20_000
	// fillersMax is how many gaps are filled at a time, and so bounds their memory.
	fillersMax = 4
	// messageMax bounds a message. Coinbase's first one of 50 products has some 100 trades of each.
	messageMax = 4 << 20
)

// vendor is what differs between exchanges.
type vendor struct {
	source   string
	ws, rest string
	numbered bool
	snapshot bool // To subscribe shows the newest trades, so that a gap is seen at once.
	single   bool // There may be one connection alone, so that it ends before the next begins.
	keyed    bool
	header   string // Of requests for history, for a key, if there is one.
	beats    bool   // There are heartbeats that must not be missing.
	pings    bool   // Sockets are pinged by us, as the exchange may say nothing for long.

	streams  int // A connection's most.
	each     int // Streams of a symbol with quotes.
	messages float64
	connects float64
	requests float64
	silence  time.Duration
	life     time.Duration

	path  func(in *inlet) string // Of the sockets, with query.
	speak func(s *session) dialect
	// history returns trades by their ids, as far as it gets them: with an error, some.
	history func(in *inlet) historian
}

func vendors() []*vendor { return []*vendor{coinbase, binance, finnhub} }

// Numbered reports whether the trades of a source, in capitals, have ids that rise by one.
func Numbered(source string) bool {
	for _, v := range vendors() {
		if v.source == source {
			return v.numbered
		}
	}
	return source == SimSource
}

// New returns the inlet of an exchange: coinbase, binance or finnhub. It brings all symbols that the table
// has of it.
func New(name string, c Config) (Inlet, error) {
	in, err := newInlet(name, c)
	if err != nil {
		return nil, err // Not a nil *inlet within an Inlet.
	}
	return in, nil
}

func newInlet(name string, c Config) (*inlet, error) {
	var v *vendor
	var names []string
	for _, o := range vendors() {
		names = append(names, strings.ToLower(o.source))
		if o.source == strings.ToUpper(name) {
			v = o
		}
	}
	if v == nil {
		return nil, fmt.Errorf("exchange %q is not known: want one of %s", name, strings.Join(names, ", "))
	}
	if err := c.complete(v); err != nil {
		return nil, fmt.Errorf("%s: %w", strings.ToLower(v.source), err)
	}
	symbols := c.Table.Source(v.source)
	if len(symbols) == 0 {
		return nil, fmt.Errorf("%s: no symbol has it as its source", strings.ToLower(v.source))
	}
	in := &inlet{vendor: v, c: c, log: c.Log.With("source", v.source)}
	for i := range in.jobs {
		in.jobs[i] = make(chan *tracker, len(symbols))
	}
	in.messages = rate.NewLimiter(rate.Limit(c.Messages), 1)
	in.connects = rate.NewLimiter(rate.Limit(c.Connects), 1)
	in.rest = newREST(in, c.Requests)
	if v.history != nil {
		in.history = v.history(in)
	}
	each := v.each
	if c.NoQuotes {
		each = 1
	}
	for _, s := range symbols {
		t := &tracker{in: in, sym: s}
		if n := len(in.groups); n == 0 || (len(in.groups[n-1].trackers)+1)*each > c.Streams {
			in.groups = append(in.groups, &group{in: in, of: make(map[string]*tracker)})
		}
		g := in.groups[len(in.groups)-1]
		g.trackers = append(g.trackers, t)
		g.of[s.Vendor] = t
	}
	return in, nil
}

// complete checks c and puts the defaults of an exchange into it.
func (c *Config) complete(v *vendor) error {
	if c.Table == nil {
		return errors.New("there is no table of symbols")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if v.keyed && c.Key == "" {
		return errors.New("there is no key: want the token of its account")
	}
	for _, a := range []struct {
		have          *string
		base          string
		plain, secure string
	}{{&c.WS, v.ws, "ws", "wss"}, {&c.REST, v.rest, "http", "https"}} {
		if *a.have == "" {
			*a.have = a.base
		}
		if u, err := url.Parse(*a.have); *a.have != "" && (err != nil || u.Host == "" || u.Scheme != a.plain && u.Scheme != a.secure || u.RawQuery != "" || u.User != nil) {
			return fmt.Errorf("an address is not valid: want for example %s", a.base)
		}
		*a.have = strings.TrimRight(*a.have, "/")
	}
	set(&c.Backfill, time.Hour)
	set(&c.BackfillTrades, backfillMax)
	set(&c.Streams, v.streams)
	set(&c.Messages, v.messages)
	set(&c.Requests, v.requests)
	set(&c.Connects, v.connects)
	set(&c.Silence, v.silence)
	set(&c.Life, v.life)
	set(&c.Overlap, 2*time.Second)
	set(&c.Grace, 500*time.Millisecond)
	set(&c.BackoffMin, 250*time.Millisecond)
	set(&c.BackoffMax, 30*time.Second)
	if c.BackfillTrades < 0 || c.BackfillTrades > backfillMax {
		return fmt.Errorf("at most %d trades may be fetched of a symbol", backfillMax)
	}
	if c.Streams < v.each || c.Streams > v.streams {
		return fmt.Errorf("streams of a connection are %d, want %d to %d", c.Streams, v.each, v.streams)
	}
	if c.Messages < 0 || c.Requests < 0 || c.Connects < 0 || min(c.Backfill, c.Silence, c.Life, c.Overlap, c.Grace, c.BackoffMin, c.BackoffMax) < 0 {
		return errors.New("a limit or a time is below 0")
	}
	return nil
}

func set[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
