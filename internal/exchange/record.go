// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tickedge/internal/trade"
)

// parser reads a line of a file.
type parser func(line []byte) (record, error)

// record is a recorded trade in the words of its file. What is missing is empty.
type record struct{ symbol, source, price, size, time, id, side, bid, ask string }

var recordNames = []string{"symbol", "source", "price", "size", "time", "id", "side", "bid", "ask"}

func (r *record) field(name string) *string {
	return map[string]*string{
		"symbol": &r.symbol, "source": &r.source, "price": &r.price, "size": &r.size, "time": &r.time,
		"id": &r.id, "side": &r.side, "bid": &r.bid, "ask": &r.ask,
	}[name]
}

// parseJSON reads an object. Members that are not known are left out.
func parseJSON(line []byte) (r record, err error) {
	var m struct {
		Symbol string         `json:"symbol"`
		Source string         `json:"source"`
		Side   string         `json:"side"`
		Price  jsontext.Value `json:"price"`
		Size   jsontext.Value `json:"size"`
		Time   jsontext.Value `json:"time"`
		ID     jsontext.Value `json:"id"`
		Bid    jsontext.Value `json:"bid"`
		Ask    jsontext.Value `json:"ask"`
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return r, err
	}
	text := func(v jsontext.Value) string {
		if string(v) == "null" {
			return ""
		}
		return string(bare(v))
	}
	return record{m.Symbol, m.Source, text(m.Price), text(m.Size), text(m.Time), text(m.ID), m.Side, text(m.Bid), text(m.Ask)}, nil
}

// trade returns the trade that r is, with the numbers of a symbol of a table.
func (r *record) trade(table *trade.Table) (tr trade.Trade, err error) {
	s := table.Named(r.symbol)
	if s == nil && r.source != "" {
		s = table.Vendor(strings.ToUpper(r.source), r.symbol)
	}
	if s == nil || s.Alias() {
		return tr, fmt.Errorf("symbol %q is no instrument of the table", r.symbol[:min(len(r.symbol), 64)])
	}
	tr = trade.Trade{Symbol: s, Source: FileSource}
	if r.source != "" {
		if tr.Source = strings.ToUpper(r.source); len(tr.Source) > 32 {
			return tr, errors.New("source is longer than 32 bytes")
		}
	}
	for _, n := range []struct {
		name, text string
		scale      uint8
		to         *int64
		optional   bool
	}{
		{"price", r.price, s.PriceScale, &tr.Price, false}, {"size", r.size, s.SizeScale, &tr.Size, false},
		{"bid", r.bid, s.PriceScale, &tr.Bid, true}, {"ask", r.ask, s.PriceScale, &tr.Ask, true},
	} {
		if n.text == "" && n.optional {
			continue
		}
		if *n.to, err = trade.ParseDecimal(n.text, n.scale); err != nil {
			return tr, fmt.Errorf("%s: %w", n.name, err)
		}
	}
	if strings.ContainsAny(r.time, "T:") {
		at, err := time.Parse(time.RFC3339Nano, r.time)
		if err != nil {
			return tr, fmt.Errorf("time %q is not of RFC 3339", r.time[:min(len(r.time), 64)])
		}
		tr.Time = at.UnixMicro()
	} else if tr.Time, err = trade.ParseDecimal(r.time, 3); err != nil {
		return tr, fmt.Errorf("time: %w; want Unix milliseconds, or a string of RFC 3339", err)
	}
	if r.id != "" {
		if tr.ID, err = strconv.ParseInt(r.id, 10, 64); err != nil || tr.ID <= 0 {
			return tr, errors.New("id is no whole number above 0")
		}
	}
	switch strings.ToLower(r.side) {
	case "buy":
		tr.Side = trade.Buy
	case "sell":
		tr.Side = trade.Sell
	case "":
	default:
		return tr, fmt.Errorf("side is %q, want buy or sell", r.side[:min(len(r.side), 16)])
	}
	return tr, nil
}

// AppendRecord appends a trade as a line that the inlet of files reads, with its end.
func AppendRecord(b []byte, t *trade.Trade) []byte {
	b = append(b, `{"symbol":`...)
	b = appendJSON(b, t.Symbol.Name)
	b = append(b, `,"source":`...)
	b = appendJSON(b, t.Source)
	b = trade.AppendDecimal(append(b, `,"price":"`...), t.Price, t.Symbol.PriceScale)
	b = trade.AppendDecimal(append(b, `","size":"`...), t.Size, t.Symbol.SizeScale)
	b = trade.AppendDecimal(append(b, `","time":`...), t.Time, 3)
	if t.ID > 0 {
		b = strconv.AppendInt(append(b, `,"id":`...), t.ID, 10)
	}
	if t.Side != trade.NoSide {
		b = append(append(append(b, `,"side":"`...), t.Side.String()...), '"')
	}
	if t.Bid > 0 || t.Ask > 0 {
		b = trade.AppendDecimal(append(b, `,"bid":"`...), t.Bid, t.Symbol.PriceScale)
		b = trade.AppendDecimal(append(b, `","ask":"`...), t.Ask, t.Symbol.PriceScale)
		b = append(b, '"')
	}
	return append(b, '}', '\n')
}

func appendJSON(b []byte, s string) []byte {
	v, err := json.Marshal(s)
	if err != nil {
		v = []byte(`""`)
	}
	return append(b, v...)
}
