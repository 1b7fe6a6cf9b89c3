// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tickedge/internal/bars"
	"tickedge/internal/trade"
)

// tradeJSON is a trade as it is read. A number may stand in quotes too, and is never a float here.
type tradeJSON struct {
	Symbol   string         `json:"symbol"`
	Source   string         `json:"source"`
	Price    jsontext.Value `json:"price"`
	Size     jsontext.Value `json:"size"`
	Time     jsontext.Value `json:"time"`
	Received jsontext.Value `json:"received"`
	ID       jsontext.Value `json:"id"`
	Side     string         `json:"side"`
	Bid      jsontext.Value `json:"bid"`
	Ask      jsontext.Value `json:"ask"`
	Trace    string         `json:"trace"`
}

var errObject = errors.New(`it is not an object such as {"symbol":"COINBASE:BTC-USD","price":95123.45,"size":0.01,"time":1764288000000000}`)

// parseTrade reads a trade in JSON. Members that are not known are left out.
func parseTrade(b []byte, table *trade.Table) (t trade.Trade, err error) {
	var m tradeJSON
	if json.Unmarshal(b, &m) != nil {
		return t, errObject
	}
	s, err := symbolOf(m.Symbol, table)
	if err != nil {
		return t, err
	}
	t = trade.Trade{Symbol: s, Source: m.Source, Trace: m.Trace}
	switch m.Side {
	case "":
	case "buy":
		t.Side = trade.Buy
	case "sell":
		t.Side = trade.Sell
	default:
		return t, errSide
	}
	for _, n := range []struct {
		name  string
		text  jsontext.Value
		to    *int64
		scale uint8
		needs bool
	}{
		{"price", m.Price, &t.Price, s.PriceScale, true}, {"size", m.Size, &t.Size, s.SizeScale, true},
		{"time", m.Time, &t.Time, 0, true}, {"received", m.Received, &t.Received, 0, false}, {"id", m.ID, &t.ID, 0, false},
		{"bid", m.Bid, &t.Bid, s.PriceScale, false}, {"ask", m.Ask, &t.Ask, s.PriceScale, false},
	} {
		if len(n.text) == 0 || n.text.Kind() == 'n' {
			if n.needs {
				return t, fmt.Errorf("it has no %s", n.name)
			}
			continue
		}
		if *n.to, err = number(n.text, n.scale); err != nil {
			return t, fmt.Errorf("its %s: %w", n.name, err)
		}
	}
	return t, nil
}

// number reads a number, or the text of one in quotes.
func number(v jsontext.Value, scale uint8) (int64, error) {
	if v.Kind() == '"' {
		v = v[1 : len(v)-1] // What is escaped is no number.
	}
	return trade.ParseDecimal(v, scale)
}

func appendString(b []byte, s string) []byte {
	b, err := jsontext.AppendQuote(b, s)
	if err != nil {
		return b // Of UTF-8 that is not valid: it has been replaced.
	}
	return b
}

// appendTrade appends a trade as an object, without what is 0.
func appendTrade(b []byte, t *trade.Trade) []byte {
	p := t.Symbol.PriceScale
	b = appendString(append(b, `{"symbol":`...), t.Symbol.Name)
	b = appendString(append(b, `,"source":`...), t.Source)
	b = trade.AppendDecimal(append(b, `,"price":`...), t.Price, p)
	b = trade.AppendDecimal(append(b, `,"size":`...), t.Size, t.Symbol.SizeScale)
	b = strconv.AppendInt(append(b, `,"time":`...), t.Time, 10)
	if t.Received != 0 {
		b = strconv.AppendInt(append(b, `,"received":`...), t.Received, 10)
	}
	if t.ID != 0 {
		b = strconv.AppendInt(append(b, `,"id":`...), t.ID, 10)
	}
	if t.Side != trade.NoSide {
		b = appendString(append(b, `,"side":`...), t.Side.String())
	}
	if t.Bid != 0 {
		b = trade.AppendDecimal(append(b, `,"bid":`...), t.Bid, p)
	}
	if t.Ask != 0 {
		b = trade.AppendDecimal(append(b, `,"ask":`...), t.Ask, p)
	}
	if t.Trace != "" {
		b = appendString(append(b, `,"trace":`...), t.Trace)
	}
	return append(b, '}')
}

// appendBar appends a bar as an object.
func appendBar(b []byte, bar *bars.Bar) []byte {
	p, s := bar.Symbol.PriceScale, bar.Symbol.SizeScale
	b = appendString(append(b, `{"symbol":`...), bar.Symbol.Name)
	b = appendString(append(b, `,"interval":`...), bar.Interval.Name)
	b = strconv.AppendInt(append(b, `,"start":`...), bar.Start, 10)
	b = strconv.AppendInt(append(b, `,"end":`...), bar.Interval.Next(bar.Start, bar.Symbol.Zone), 10)
	b = trade.AppendDecimal(append(b, `,"open":`...), bar.Open, p)
	b = trade.AppendDecimal(append(b, `,"high":`...), bar.High, p)
	b = trade.AppendDecimal(append(b, `,"low":`...), bar.Low, p)
	b = trade.AppendDecimal(append(b, `,"close":`...), bar.Close, p)
	b = bar.Volume.AppendDecimal(append(b, `,"volume":`...), s)
	b = bar.Turnover.AppendDecimal(append(b, `,"turnover":`...), p+s)
	b = strconv.AppendInt(append(b, `,"count":`...), bar.Count, 10)
	b = strconv.AppendInt(append(b, `,"rev":`...), bar.Rev, 10)
	b = strconv.AppendBool(append(b, `,"closed":`...), bar.Closed)
	b = appendKey(append(b, `,"first":`...), bar.First)
	b = appendKey(append(b, `,"last":`...), bar.Last)
	return append(b, '}')
}

func appendKey(b []byte, k trade.Key) []byte {
	b = strconv.AppendInt(append(b, `{"time":`...), k.Time, 10)
	return append(strconv.AppendInt(append(b, `,"id":`...), k.ID, 10), '}')
}
