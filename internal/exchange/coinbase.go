// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tickedge/internal/trade"
)

// coinbase is Coinbase's Advanced Trade, without an account:
//
//   - https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-overview: a connection that
//     has not subscribed within 5 s is ended; one message subscribes to one channel.
//   - …/websocket/websocket-channels: channels are ended after 60 to 90 s without news unless heartbeats, which come
//     each second, are subscribed too. Trades of up to 250 ms come together. Products with -USDC come as those with
//     -USD, so subscribe to these.
//   - …/websocket/websocket-rate-limits: 8 connections and 8 messages a second from one address.
//   - https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-market-trades: trades
//     by time, in whole seconds, the newest first. Public requests: 10 a second from one address.
//
// What they do not say, and is taken from how it is: a connection numbers its messages by sequence_num; trade_id
// rises by one with each trade of a product; the side is that of the maker (https://nautilustrader.io/docs,
// coinbase_side_to_aggressor). How many products a connection may have is not said; here it is 100.
var coinbase = &vendor{
	source: "COINBASE", ws: "wss://advanced-trade-ws.coinbase.com", rest: "https://api.coinbase.com",
	numbered: true, snapshot: true, beats: true,
	streams: 200, each: 2, messages: 6, connects: 2, requests: 5, silence: 10 * time.Second,
	path: func(*inlet) string { return "" },
	speak: func(s *session) dialect {
		return &coinbaseDialect{s: s, next: -1}
	},
	history: func(in *inlet) historian { return (&coinbaseHistory{in}).trades },
}

const (
	coinbaseBatch = 50 // Products that one message subscribes to.
	// coinbaseLag is how much a trade may come after a heartbeat of its time: they are collected for 250 ms.
	coinbaseLag = int64(time.Second / time.Microsecond)
	// coinbaseAnswer is how long a subscription may take.
	coinbaseAnswer = int64(10 * time.Second / time.Microsecond)
)

// coinbaseDialect subscribes to trades by one message after the other, so that it is known what an error is
// about; then to best bids and asks.
type coinbaseDialect struct {
	s       *session
	next    int64      // The sequence number that the next message has; below 0 before the first.
	later   [][]string // Products of the messages that are to be sent.
	asked   []string   // Those of the message that was sent, as far as they are not confirmed.
	askedAt int64      // In Unix microseconds.
	over    bool       // All is subscribed.
}

type coinbaseRequest struct {
	Type     string   `json:"type"`
	Products []string `json:"product_ids,omitempty"`
	Channel  string   `json:"channel"`
}

func (d *coinbaseDialect) subscribe(channel string, products ...string) {
	b, _ := json.Marshal(coinbaseRequest{"subscribe", products, channel})
	d.s.send(b)
}

func (d *coinbaseDialect) hello() {
	d.subscribe("heartbeats")
	d.later = slices.Collect(slices.Chunk(d.products(true), coinbaseBatch))
	d.ask(micros())
}

// products are all, or those that the exchange has.
func (d *coinbaseDialect) products(refused bool) (all []string) {
	for _, t := range d.s.g.trackers {
		if refused || !t.isRefused() {
			all = append(all, t.sym.Vendor)
		}
	}
	return all
}

// ask subscribes to what is next.
func (d *coinbaseDialect) ask(now int64) {
	if len(d.asked) > 0 || d.over {
		return
	}
	if len(d.later) > 0 {
		d.asked, d.later, d.askedAt = slices.Clone(d.later[0]), d.later[1:], now
		d.subscribe("market_trades", d.asked...)
		return
	}
	d.over = true
	d.s.subscribed()
	if !d.s.in.c.NoQuotes {
		for batch := range slices.Chunk(d.products(false), coinbaseBatch) {
			d.subscribe("ticker", batch...)
		}
	}
}

type coinbaseMessage struct {
	Type     string          `json:"type"` // Of errors alone.
	Message  string          `json:"message"`
	Reason   string          `json:"reason"`
	Channel  string          `json:"channel"`
	Sequence *int64          `json:"sequence_num"`
	Time     time.Time       `json:"timestamp"`
	Events   []coinbaseEvent `json:"events"`
}

type coinbaseEvent struct {
	CurrentTime   string              `json:"current_time"` // Of heartbeats.
	Subscriptions map[string][]string `json:"subscriptions"`
	Trades        []coinbaseTrade     `json:"trades"`
	Tickers       []coinbaseTicker    `json:"tickers"`
}

type coinbaseTrade struct {
	ID      jsontext.Value `json:"trade_id"`
	Product string         `json:"product_id"`
	Price   jsontext.Value `json:"price"`
	Size    jsontext.Value `json:"size"`
	Side    string         `json:"side"`
	Time    time.Time      `json:"time"`
}

type coinbaseTicker struct {
	Product string         `json:"product_id"`
	Bid     jsontext.Value `json:"best_bid"`
	Ask     jsontext.Value `json:"best_ask"`
}

func (d *coinbaseDialect) read(message []byte, now int64) error {
	var m coinbaseMessage
	if err := json.Unmarshal(message, &m); err != nil {
		d.s.in.flaw("", err)
		return nil
	}
	if m.Type == "error" {
		d.refused(strings.TrimSuffix(m.Message+": "+m.Reason, ": "), now)
		return nil
	}
	if m.Sequence != nil {
		if d.next >= 0 && *m.Sequence > d.next {
			d.s.in.log.Warn("messages of an exchange are missing", "from", d.next, "to", *m.Sequence-1)
			for _, t := range d.s.g.trackers {
				t.doubt()
			}
		}
		d.next = max(d.next, *m.Sequence+1)
	}
	for _, e := range m.Events {
		switch m.Channel {
		case "heartbeats":
			d.s.beat.Store(now)
			if len(d.asked) > 0 && now-d.askedAt > coinbaseAnswer {
				d.refused("no answer to the subscription", now)
			}
			if !m.Time.IsZero() {
				at := m.Time.UnixMicro()
				d.s.in.offset.Store(at - now)
				d.s.heard(min(at, now) - coinbaseLag)
			}
		case "subscriptions":
			d.confirmed(e.Subscriptions["market_trades"], now)
		case "market_trades":
			d.trades(e.Trades, now)
		case "ticker":
			d.quotes(e.Tickers)
		}
	}
	return nil
}

func (d *coinbaseDialect) trades(all []coinbaseTrade, now int64) {
	list := make([]come, 0, len(all))
	for _, c := range all {
		t := d.s.g.of[c.Product]
		if t == nil {
			d.s.in.flaw(c.Product, errUnknown)
			continue
		}
		tr, err := c.trade(t.sym, now)
		list = append(list, come{t, tr, err})
	}
	// They come with the newest first.
	slices.SortStableFunc(list, func(a, b come) int { return cmp.Compare(a.tr.ID, b.tr.ID) })
	for _, c := range list {
		d.s.trade(c.t, c.tr, c.err)
	}
}

// come is a trade that has come, and what is wrong with it.
type come struct {
	t   *tracker
	tr  trade.Trade
	err error
}

func (c *coinbaseTrade) trade(s *trade.Symbol, now int64) (tr trade.Trade, err error) {
	tr = trade.Trade{Symbol: s, Source: "COINBASE", Time: c.Time.UnixMicro(), Received: now}
	if tr.ID, err = whole(c.ID); err != nil {
		return tr, err
	}
	tr.Price, tr.Size, err = priceAndSize(c.Price, c.Size, s)
	switch { // It is the maker's.
	case strings.EqualFold(c.Side, "BUY"):
		tr.Side = trade.Sell
	case strings.EqualFold(c.Side, "SELL"):
		tr.Side = trade.Buy
	}
	return tr, err
}

func (d *coinbaseDialect) quotes(all []coinbaseTicker) {
	for _, c := range all {
		if t := d.s.g.of[c.Product]; t != nil {
			d.s.quote(t, c.Bid, c.Ask)
		}
	}
}

// confirmed takes the products whose trades are subscribed.
func (d *coinbaseDialect) confirmed(products []string, now int64) {
	d.asked = slices.DeleteFunc(d.asked, func(p string) bool {
		has := slices.Contains(products, p)
		if has {
			d.s.g.of[p].accept()
		}
		return has
	})
	d.ask(now)
}

// refused takes an error, or that there is no answer. One that names a product is about that; one that
// names none is about the message, whose products are subscribed by a message each then.
func (d *coinbaseDialect) refused(why string, now int64) {
	if d.over || len(d.asked) == 0 {
		d.s.in.failed("an exchange sends an error", errors.New(why))
		return
	}
	about := slices.IndexFunc(d.asked, func(p string) bool { return containsWord(why, p) })
	other := about < 0 && slices.ContainsFunc(d.s.g.trackers, func(t *tracker) bool { return containsWord(why, t.sym.Vendor) })
	switch {
	case other: // It is about an earlier message.
		return
	case about < 0 && len(d.asked) == 1:
		about = 0
	}
	if about >= 0 {
		d.s.refuse(d.s.g.of[d.asked[about]], why)
		d.asked = slices.Delete(d.asked, about, about+1)
	}
	// The others of the message were not subscribed either, perhaps.
	var again [][]string
	switch {
	case len(d.asked) > 0 && about >= 0:
		again = [][]string{d.asked}
	default:
		again = slices.Collect(slices.Chunk(d.asked, 1))
	}
	d.asked, d.later = nil, append(again, d.later...)
	d.ask(now)
}

// containsWord reports whether a text has a name that no letter, digit or dash touches.
func containsWord(text, name string) bool {
	part := func(c byte) bool {
		return c == '-' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
	}
	for at := 0; ; {
		i := strings.Index(text[at:], name)
		if i < 0 {
			return false
		}
		i += at
		end := i + len(name)
		if (i == 0 || !part(text[i-1])) && (end == len(text) || !part(text[end])) {
			return true
		}
		at = i + 1
	}
}

type coinbaseHistory struct{ in *inlet }

const coinbasePage = 1000

// trades asks backwards in time, as the answer has the newest ones.
func (h *coinbaseHistory) trades(ctx context.Context, s *trade.Symbol, q query) (list []trade.Trade, err error) {
	const second = int64(time.Second / time.Microsecond)
	start := max(q.since, q.near)/second - 1
	end := q.until/second + 2
	for {
		var page struct {
			Trades []coinbaseTrade `json:"trades"`
		}
		path := fmt.Sprintf("/api/v3/brokerage/market/products/%s/ticker?limit=%d&start=%d&end=%d", url.PathEscape(s.Vendor), coinbasePage, start, end)
		if err := h.in.rest.get(ctx, path, 1, &page); err != nil {
			return list, err
		}
		now, oldest, first := micros(), end*second, int64(0)
		for _, c := range page.Trades {
			tr, err := c.trade(s, now)
			if err == nil {
				err = tr.Check(now)
			}
			if tr.Time > 0 && (tr.Time < oldest || first == 0) {
				oldest = tr.Time
			}
			if first == 0 || tr.ID < first {
				first = tr.ID
			}
			if tr.ID < q.from || q.to > 0 && tr.ID > q.to || tr.Time < q.since {
				continue
			}
			if err != nil {
				h.in.flaw(s.Vendor, err)
				tr = skipped(tr.ID)
			}
			list = append(list, tr)
		}
		switch next := oldest/second + 1; {
		case len(page.Trades) < coinbasePage, first <= q.from, len(list) >= q.max:
			list = merge(list, q.from-1)
			return list[max(0, len(list)-q.max):], nil
		case next >= end:
			return list, errFinal{fmt.Errorf("more than %d trades are within two seconds", coinbasePage)}
		default:
			end = next
		}
	}
}
