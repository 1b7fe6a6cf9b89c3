// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"tickedge/internal/alert"
	"tickedge/internal/bars"
	"tickedge/internal/trade"
)

// parsePrice finds the price and the time (ts, Unix milliseconds; 0 if there is none) of a value: a number, the text of one, or an object with a member
// of that name.
func parsePrice(value []byte, member string) (p alert.Num, at int64, ok bool) {
	dec := jsontext.NewDecoder(bytes.NewReader(value))
	if dec.PeekKind() != '{' {
		v, err := dec.ReadValue()
		if err != nil {
			return p, 0, false
		}
		p, ok = number(v)
		return p, 0, ok
	}
	if _, err := dec.ReadToken(); err != nil {
		return p, 0, false
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return p, 0, false
		}
		is := name.String()
		switch is {
		case member:
			v, err := dec.ReadValue()
			if err != nil {
				return p, 0, false
			}
			if p, ok = number(v); !ok {
				return p, 0, false
			}
		case "ts":
			v, err := dec.ReadValue()
			if err != nil {
				return p, 0, false
			}
			if n, err := trade.ParseDecimal(v, 0); err == nil && n > 0 {
				at = n
			}
		default:
			if dec.SkipValue() != nil {
				return p, 0, false
			}
		}
	}
	return p, at, ok
}

// number is a price: above 0.
func number(v []byte) (alert.Num, bool) {
	if n := len(v); n > 1 && v[0] == '"' && v[n-1] == '"' {
		v = v[1 : n-1]
	}
	p, err := alert.ParseNum(v)
	return p, err == nil && p.Sign() > 0
}

// parseBars finds the bars of a value that are closed, in the order of their starts.
func parseBars(value []byte, interval string) (closed []alert.Bar, ok bool) {
	var v struct {
		Closed []historyBar `json:"closed"`
	}
	if json.Unmarshal(value, &v) != nil {
		return nil, false
	}
	for i := range v.Closed {
		b := &v.Closed[i]
		if b.T <= 0 || i > 0 && b.T <= v.Closed[i-1].T {
			return nil, false
		}
		if b.L.Sign() <= 0 || b.C.Less(b.L) || b.H.Less(b.C) { // Its low or high would fire what no price has reached.
			return nil, false
		}
		closed = append(closed, b.bar(interval))
	}
	return closed, true
}

// lengths are how long bars are, in milliseconds. Days are taken for as long as most of them are: what is asked of them is how many
// there are.
var lengths = func() map[string]int64 {
	of := make(map[string]int64)
	for _, name := range append([]string{second}, alert.Intervals...) {
		i, err := bars.ParseInterval(name)
		if err != nil {
			panic(err) // They are written here.
		}
		of[name] = i.Millis
	}
	return of
}()

func lengthOf(interval string) int64 { return lengths[interval] }

// newsBytes bounds the value of a user's topic.
const newsBytes = 3 << 10

// newsValue is what a user's topic has: the number of the newest firing, and as many firings as there is room for, the newest first.
func newsValue(n *alert.News, item func([]byte, *alert.NewsItem) []byte) []byte {
	b := strconv.AppendInt([]byte(`{"n":`), n.Number, 10)
	b = append(b, `,"fired":[`...)
	for i := len(n.Fired) - 1; i >= 0; i-- {
		one := item(nil, &n.Fired[i])
		if len(b)+len(one)+32 > newsBytes {
			break
		}
		if i != len(n.Fired)-1 {
			b = append(b, ',')
		}
		b = append(b, one...)
	}
	return append(b, "]}"...)
}
