// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"tickedge/internal/trade"
)

var errUnknown = errors.New("the symbol was not subscribed to")

// bare is a number as it stands in a message, or within a string.
func bare(v jsontext.Value) []byte {
	if n := len(v); n >= 2 && v[0] == '"' {
		return v[1 : n-1]
	}
	return v
}

func priceAndSize(price, size jsontext.Value, s *trade.Symbol) (p, q int64, err error) {
	if p, err = trade.ParseDecimal(bare(price), s.PriceScale); err != nil {
		return 0, 0, fmt.Errorf("price: %w", err)
	}
	if q, err = trade.ParseDecimal(bare(size), s.SizeScale); err != nil {
		return 0, 0, fmt.Errorf("size: %w", err)
	}
	return p, q, nil
}

// whole reads an id.
func whole(v jsontext.Value) (int64, error) {
	id, err := strconv.ParseInt(string(bare(v)), 10, 64)
	if err != nil || id < 0 {
		return 0, errors.New("the id is no whole number that is not below 0")
	}
	return id, nil
}

// quote notes a best bid and ask. What is not there, or has more digits than the symbol's scale, is 0.
func (s *session) quote(t *tracker, bid, ask jsontext.Value) {
	b, err1 := trade.ParseDecimal(bare(bid), t.sym.PriceScale)
	a, err2 := trade.ParseDecimal(bare(ask), t.sym.PriceScale)
	if err1 != nil || err2 != nil || b < 0 || a < 0 {
		b, a = 0, 0
	}
	t.quote(b, a)
}
