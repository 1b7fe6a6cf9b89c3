// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	tickedgev1 "tickedge/gen/tickedge/v1"
	"tickedge/internal/bars"
	"tickedge/internal/trade"
)

// Format is how a record's value is encoded.
type Format string

const (
	Protobuf Format = "protobuf" // The messages of proto/tickedge/v1.
	JSON     Format = "json"     // See docs/MARKETDATA.md.
)

// Validate returns what is wrong with f, or nil. The empty format is Protobuf.
func (f Format) Validate() error {
	if f != "" && f != Protobuf && f != JSON {
		return fmt.Errorf("kafka format is %.50q, want protobuf or json", string(f))
	}
	return nil
}

// contentType is the header that says how a value is encoded.
const contentType = "content-type"

var (
	headerProtobuf = []kgo.RecordHeader{{Key: contentType, Value: []byte("application/x-protobuf")}}
	headerJSON     = []kgo.RecordHeader{{Key: contentType, Value: []byte("application/json")}}
)

// Flaws of records.
var (
	errLarge   = fmt.Errorf("its value has more than %d bytes", RecordMax)
	errEmpty   = errors.New("it has no value")
	errUnknown = errors.New("its symbol is not in the table")
	errAlias   = errors.New("its symbol is an alias, which gets its trades from other symbols")
	errScale   = fmt.Errorf("a scale is above %d", trade.ScaleMax)
	errSide    = errors.New("its side is none of buy and sell")
	errType    = errors.New("its content-type is none of application/x-protobuf and application/json")
)

const (
	sourceMax = 32 // Bytes of a source; what is longer is taken for that of the symbol.
	traceLen  = 55 // Bytes of a traceparent; of what is longer so much is kept that it is known to be none.
)

// isJSON tells how a value is encoded: by its header or, without one, by its first byte, which in a protobuf
// message of ours is never a brace.
func isJSON(r *kgo.Record) (bool, error) {
	for _, h := range r.Headers {
		if h.Key != contentType {
			continue
		}
		kind, _, _ := strings.Cut(string(h.Value), ";")
		switch strings.TrimSpace(kind) {
		case "application/json":
			return true, nil
		case "application/x-protobuf", "application/protobuf":
			return false, nil
		}
		return false, errType
	}
	return r.Value[0] == '{', nil
}

// decodeTrade makes a trade of a record that is read at a time, in Unix microseconds.
func decodeTrade(r *kgo.Record, table *trade.Table, now int64) (t trade.Trade, err error) {
	switch {
	case len(r.Value) == 0:
		return t, errEmpty
	case len(r.Value) > RecordMax:
		return t, errLarge
	}
	is, err := isJSON(r)
	if err != nil {
		return t, err
	}
	if is {
		t, err = parseTrade(r.Value, table)
	} else {
		t, err = unmarshalTrade(r.Value, table)
	}
	if err != nil {
		return t, err
	}
	if t.Received <= 0 {
		t.Received = now
	}
	if t.Source == "" || len(t.Source) > sourceMax {
		t.Source = t.Symbol.Source
	}
	for _, h := range r.Headers {
		if h.Key == traceparent && len(h.Value) > 0 {
			t.Trace = string(h.Value[:min(len(h.Value), traceLen+1)])
		}
	}
	if len(t.Trace) > traceLen {
		t.Trace = strings.Clone(t.Trace[:traceLen+1])
	}
	return t, t.Check(now)
}

func symbolOf(name string, table *trade.Table) (*trade.Symbol, error) {
	s := table.Named(name)
	switch {
	case s == nil:
		return nil, errUnknown
	case s.Alias():
		return nil, errAlias
	}
	return s, nil
}

func unmarshalTrade(b []byte, table *trade.Table) (t trade.Trade, err error) {
	var m tickedgev1.Trade
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, &m); err != nil {
		return t, err
	}
	s, err := symbolOf(m.GetSymbol(), table)
	if err != nil {
		return t, err
	}
	if m.GetPriceScale() > trade.ScaleMax || m.GetSizeScale() > trade.ScaleMax {
		return t, errScale
	}
	t = trade.Trade{
		Symbol: s, Source: m.GetSource(), Time: m.GetTime(), Received: m.GetReceived(), ID: m.GetId(), Trace: m.GetTrace(),
	}
	switch m.GetSide() {
	case tickedgev1.Side_SIDE_UNSPECIFIED:
	case tickedgev1.Side_SIDE_BUY:
		t.Side = trade.Buy
	case tickedgev1.Side_SIDE_SELL:
		t.Side = trade.Sell
	default:
		return t, errSide
	}
	price, size := uint8(m.GetPriceScale()), uint8(m.GetSizeScale())
	var err1, err2, err3, err4 error
	t.Price, err1 = trade.Rescale(m.GetPrice(), price, s.PriceScale)
	t.Bid, err2 = trade.Rescale(m.GetBid(), price, s.PriceScale)
	t.Ask, err3 = trade.Rescale(m.GetAsk(), price, s.PriceScale)
	t.Size, err4 = trade.Rescale(m.GetSize(), size, s.SizeScale)
	return t, errors.Join(err1, err2, err3, err4)
}

// encodeTrade appends a trade as a value.
func encodeTrade(b []byte, t *trade.Trade, f Format) []byte {
	if f == JSON {
		return appendTrade(b, t)
	}
	return marshal(b, &tickedgev1.Trade{
		Symbol: t.Symbol.Name, Source: t.Source, Time: t.Time, Received: t.Received, Id: t.ID, Trace: t.Trace,
		Price: t.Price, Bid: t.Bid, Ask: t.Ask, PriceScale: uint32(t.Symbol.PriceScale),
		Size: t.Size, SizeScale: uint32(t.Symbol.SizeScale), Side: tickedgev1.Side(t.Side),
	})
}

// encodeBar appends a bar as a value.
func encodeBar(b []byte, bar *bars.Bar, f Format) []byte {
	if f == JSON {
		return appendBar(b, bar)
	}
	sum := func(s bars.Sum) *tickedgev1.Uint128 { return &tickedgev1.Uint128{Hi: s.Hi, Lo: s.Lo} }
	key := func(k trade.Key) *tickedgev1.TradeKey { return &tickedgev1.TradeKey{Time: k.Time, Id: k.ID} }
	return marshal(b, &tickedgev1.Bar{
		Symbol: bar.Symbol.Name, Interval: bar.Interval.Name, Start: bar.Start, End: bar.Interval.Next(bar.Start, bar.Symbol.Zone),
		Open: bar.Open, High: bar.High, Low: bar.Low, Close: bar.Close,
		PriceScale: uint32(bar.Symbol.PriceScale), SizeScale: uint32(bar.Symbol.SizeScale),
		Volume: sum(bar.Volume), Turnover: sum(bar.Turnover), Count: bar.Count, Rev: bar.Rev, Closed: bar.Closed,
		First: key(bar.First), Last: key(bar.Last),
	})
}

func marshal(b []byte, m proto.Message) []byte {
	b, err := proto.MarshalOptions{}.MarshalAppend(b, m)
	if err != nil {
		panic(err) // Names are topics, which are UTF-8; nothing else of a message can fail.
	}
	return b
}

// traceparent is the header that says of what trace a trade is a part, as W3C Trace Context names it. It goes before what stands
// in the value.
const traceparent = "traceparent"

// traced adds the header of a trade's trace to its record.
func traced(r *kgo.Record, trace string) *kgo.Record {
	if trace != "" {
		r.Headers = append(r.Headers[:len(r.Headers):len(r.Headers)], kgo.RecordHeader{Key: traceparent, Value: []byte(trace)})
	}
	return r
}

// newRecord makes a record of a key and a value. The headers are shared, and nobody changes them.
func newRecord(topic, key string, value []byte, f Format) *kgo.Record {
	r := &kgo.Record{Topic: topic, Key: []byte(key), Value: bytes.Clone(value), Headers: headerProtobuf}
	if f == JSON {
		r.Headers = headerJSON
	}
	return r
}
