// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tickedge/internal/trade"
)

// finnhub is Finnhub's stream of trades of US shares, currencies and crypto, for who has a token:
//
//   - https://finnhub.io/docs/api/websocket-trades: one message subscribes to one symbol; trades come as
//     {"data":[{"p":7296.89,"s":"BINANCE:BTCUSDT","t":1575526691134,"v":0.011467}],"type":"trade"}, without ids; a
//     key may have one connection at a time; some markets send prices with a volume of 0.
//   - https://finnhub.io/pricing: an account that is free of charge has 50 symbols.
//
// There is no history of trades without a contract. So what is missed while there is no connection is a gap that
// nothing fills, and a trade that the exchange sends twice is there twice.
var finnhub = &vendor{
	source: "FINNHUB", ws: "wss://ws.finnhub.io", single: true, keyed: true, pings: true,
	streams: 5000, each: 1, messages: 10, connects: 0.2, requests: 1, silence: 60 * time.Second,
	path:  func(in *inlet) string { return "/?token=" + url.QueryEscape(in.c.Key) },
	speak: func(s *session) dialect { return &finnhubDialect{s: s} },
}

type finnhubDialect struct{ s *session }

func (d *finnhubDialect) hello() {
	for _, t := range d.s.g.trackers {
		b, _ := json.Marshal(struct {
			Type   string `json:"type"`
			Symbol string `json:"symbol"`
		}{"subscribe", t.sym.Vendor})
		d.s.send(b)
	}
	d.s.send(nil) // It confirms nothing.
}

type finnhubMessage struct {
	Type string `json:"type"`
	Msg  string `json:"msg"`
	Data []struct {
		Price  jsontext.Value `json:"p"`
		Name   string         `json:"s"`
		Time   int64          `json:"t"`
		Volume jsontext.Value `json:"v"`
	} `json:"data"`
}

func (d *finnhubDialect) read(message []byte, now int64) error {
	var m finnhubMessage
	if err := json.Unmarshal(message, &m); err != nil {
		d.s.in.flaw("", err)
		return nil
	}
	switch m.Type {
	case "error":
		return d.refused(m.Msg)
	case "trade":
	default: // A ping, or news.
		return nil
	}
	for _, f := range m.Data {
		t := d.s.g.of[f.Name]
		if t == nil {
			d.s.in.flaw(f.Name, errUnknown)
			continue
		}
		tr := trade.Trade{Symbol: t.sym, Source: "FINNHUB", Time: f.Time * 1000, Received: now}
		var err error
		tr.Price, tr.Size, err = priceAndSize(f.Price, f.Volume, t.sym)
		d.s.trade(t, tr, err)
	}
	return nil
}

// refused takes an error: about the key, about a symbol, or about all.
func (d *finnhubDialect) refused(why string) error {
	why = why[:min(len(why), 256)]
	if lower := strings.ToLower(why); strings.Contains(lower, "api key") || strings.Contains(lower, "token") {
		return errFatal{fmt.Errorf("the exchange does not take the key: %s", d.s.in.clean(errors.New(why)))}
	}
	for _, t := range d.s.g.trackers {
		if containsWord(why, t.sym.Vendor) {
			d.s.refuse(t, why)
			return nil
		}
	}
	d.s.in.failed("an exchange sends an error", errors.New(why))
	return nil
}
