// SPDX-License-Identifier: Apache-2.0

package exchange

import (
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

// binance is Binance's spot market, without an account:
//
//   - https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams: 1024 streams a connection, 5
//     messages a second to it (pongs count), 300 connections in 5 minutes from one address; a ping each 20 s, to be
//     answered with its payload within a minute; the end after 24 h. All names of streams are lower case. A stream of
//     a symbol that does not exist is confirmed like others, and brings nothing.
//   - https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints: trades by id, which
//     rises by one with each trade of a symbol: historicalTrades weighs 25 as trades does, aggTrades 4.
//   - https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits: a weight of 6000 a minute from one
//     address. 429 says to slow down, 418 that the address is banned, both with Retry-After.
var binance = &vendor{
	source: "BINANCE", ws: "wss://data-stream.binance.vision", rest: "https://data-api.binance.vision",
	numbered: true, header: "X-MBX-APIKEY",
	streams: 1024, each: 2, messages: 3, connects: 0.5, requests: 50, silence: 50 * time.Second, life: 23 * time.Hour,
	path: func(*inlet) string { return "/stream" },
	speak: func(s *session) dialect {
		return &binanceDialect{s: s, waiting: make(map[int64][]string)}
	},
	history: func(in *inlet) historian { return (&binanceHistory{in}).trades },
}

const (
	binanceBatch = 200 // Streams that one message subscribes to.
	// binanceLag is how much messages of a connection may be out of the order of their times.
	binanceLag = int64(time.Second / time.Microsecond)
)

type binanceDialect struct {
	s       *session
	ids     int64
	waiting map[int64][]string // Streams whose subscription is not answered, by the id of its message.
	told    int64              // When it was said last how far the exchange is, in Unix microseconds.
	newest  int64              // Time of the newest message, in Unix microseconds.
}

func (d *binanceDialect) hello() {
	var all []string
	for _, t := range d.s.g.trackers {
		name := strings.ToLower(t.sym.Vendor)
		all = append(all, name+"@trade")
		if !d.s.in.c.NoQuotes {
			all = append(all, name+"@bookTicker")
		}
	}
	for batch := range slices.Chunk(all, binanceBatch) {
		d.subscribe(batch)
	}
}

func (d *binanceDialect) subscribe(streams []string) {
	d.ids++
	d.waiting[d.ids] = streams
	b, _ := json.Marshal(struct {
		Method string   `json:"method"`
		Params []string `json:"params"`
		ID     int64    `json:"id"`
	}{"SUBSCRIBE", streams, d.ids})
	d.s.send(b)
}

type binanceMessage struct {
	Stream string         `json:"stream"`
	Data   binanceData    `json:"data"`
	ID     *int64         `json:"id"` // Of an answer.
	Code   *int64         `json:"code"`
	Msg    string         `json:"msg"`
	Error  *binanceError  `json:"error"`
	Result jsontext.Value `json:"result"`
}

type binanceError struct {
	Code int64  `json:"code"`
	Msg  string `json:"msg"`
}

// binanceData is a trade or a best bid and ask.
type binanceData struct {
	Event string         `json:"e"`
	At    int64          `json:"E"`
	Name  string         `json:"s"`
	ID    jsontext.Value `json:"t"`
	Price jsontext.Value `json:"p"`
	Size  jsontext.Value `json:"q"`
	Time  int64          `json:"T"`
	Maker bool           `json:"m"` // The buyer was the maker.
	Bid   jsontext.Value `json:"b"` // Of a trade: the id of an order, until 2024.
	Ask   jsontext.Value `json:"a"`
}

func (d *binanceDialect) read(message []byte, now int64) error {
	var m binanceMessage
	if err := json.Unmarshal(message, &m); err != nil {
		d.s.in.flaw("", err)
		return nil
	}
	if m.Stream == "" {
		return d.answer(m)
	}
	t := d.s.g.of[m.Data.Name]
	if t == nil {
		d.s.in.flaw(m.Stream, errUnknown)
		return nil
	}
	if m.Data.Event != "trade" {
		if strings.HasSuffix(m.Stream, "@bookTicker") {
			d.s.quote(t, m.Data.Bid, m.Data.Ask)
		}
		return nil
	}
	tr := trade.Trade{Symbol: t.sym, Source: "BINANCE", Time: m.Data.Time * 1000, Received: now, Side: takerOf(m.Data.Maker)}
	var err error
	if tr.ID, err = whole(m.Data.ID); err == nil {
		tr.Price, tr.Size, err = priceAndSize(m.Data.Price, m.Data.Size, t.sym)
	}
	d.s.trade(t, tr, err)
	if at := m.Data.At * 1000; at > d.newest && at <= now+trade.AheadMax {
		d.newest = at
		d.s.in.offset.Store(at - now)
		if at-d.told >= 1_000_000 {
			d.told = at
			d.s.heard(min(at, now) - binanceLag)
		}
	}
	return nil
}

// answer takes what is no data: the answer to a subscription.
func (d *binanceDialect) answer(m binanceMessage) error {
	failed := m.Error
	if m.Code != nil && failed == nil {
		failed = &binanceError{*m.Code, m.Msg}
	}
	if failed != nil {
		return fmt.Errorf("the exchange refuses to subscribe: %d %s", failed.Code, failed.Msg[:min(len(failed.Msg), 200)])
	}
	if m.ID != nil {
		delete(d.waiting, *m.ID)
	}
	if len(d.waiting) == 0 {
		d.s.subscribed()
	}
	return nil
}

// takerOf is the side of the taker, which is the one of the aggressor.
func takerOf(buyerWasMaker bool) trade.Side {
	if buyerWasMaker {
		return trade.Sell
	}
	return trade.Buy
}

type binanceHistory struct{ in *inlet }

const (
	binancePage        = 1000
	binanceTradesCost  = 25
	binanceAggregating = 4
)

// binancePast is a trade as the history has it. Its times are in milliseconds.
type binancePast struct {
	ID    int64          `json:"id"`
	Price jsontext.Value `json:"price"`
	Size  jsontext.Value `json:"qty"`
	Time  int64          `json:"time"`
	Maker bool           `json:"isBuyerMaker"`
}

func (h *binanceHistory) trades(ctx context.Context, s *trade.Symbol, q query) (list []trade.Trade, err error) {
	name := url.QueryEscape(s.Vendor)
	if q.to == 0 {
		var newest []binancePast
		if err := h.in.rest.get(ctx, "/api/v3/trades?symbol="+name+"&limit=1", binanceTradesCost, &newest); err != nil {
			return nil, h.known(s, err)
		}
		if len(newest) == 0 {
			return nil, nil
		}
		q.to = newest[0].ID
	}
	from := max(q.from, q.to-int64(q.max)+1)
	if q.since > 0 {
		var first []struct {
			Trade int64 `json:"f"`
		}
		path := fmt.Sprintf("/api/v3/aggTrades?symbol=%s&startTime=%d&limit=1", name, q.since/1000)
		if err := h.in.rest.get(ctx, path, binanceAggregating, &first); err != nil {
			return nil, h.known(s, err)
		}
		if len(first) == 0 {
			return nil, nil
		}
		from = max(from, first[0].Trade)
	}
	for from <= q.to {
		var page []binancePast
		path := fmt.Sprintf("/api/v3/historicalTrades?symbol=%s&fromId=%d&limit=%d", name, from, min(binancePage, q.to-from+1))
		if err := h.in.rest.get(ctx, path, binanceTradesCost, &page); err != nil {
			return list, h.known(s, err)
		}
		now, next := micros(), from
		for _, p := range page {
			if p.ID >= next {
				next = p.ID + 1
			}
			tr := trade.Trade{Symbol: s, Source: "BINANCE", ID: p.ID, Time: p.Time * 1000, Received: now, Side: takerOf(p.Maker)}
			if tr.Price, tr.Size, err = priceAndSize(p.Price, p.Size, s); err == nil {
				err = tr.Check(now)
			}
			if err != nil {
				h.in.flaw(s.Vendor, err)
				tr = skipped(p.ID)
			}
			if tr.ID >= q.from && tr.ID <= q.to {
				list = append(list, tr)
			}
		}
		if next == from {
			break
		}
		from = next
	}
	return list, nil
}

// known looks for a symbol that the exchange does not have, which it says here alone.
func (h *binanceHistory) known(s *trade.Symbol, err error) error {
	var final errFinal
	if errors.As(err, &final) && strings.Contains(err.Error(), "-1121") {
		for _, g := range h.in.groups {
			if t := g.of[s.Vendor]; t != nil {
				t.refuse()
			}
		}
	}
	return err
}
