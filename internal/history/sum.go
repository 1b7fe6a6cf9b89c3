// SPDX-License-Identifier: Apache-2.0

package history

import (
	"errors"
	"math/big"
	"strings"

	"tickedge/internal/bars"
)

var errSum = errors.New("a sum is no decimal number that fits: want for example 95123.45, below 2^128 in units of its scale")

// parseSum reads a decimal number without an exponent into units of 10^-scale, exactly.
func parseSum(s string, scale uint8) (bars.Sum, error) {
	whole, part, point := strings.Cut(s, ".")
	if whole == "" || point && part == "" || len(part) > int(scale) || len(whole) > 40 {
		return bars.Sum{}, errSum
	}
	digits := whole + part + strings.Repeat("0", int(scale)-len(part))
	if strings.Trim(digits, "0123456789") != "" {
		return bars.Sum{}, errSum
	}
	n, ok := new(big.Int).SetString(digits, 10)
	if !ok || n.BitLen() > 128 {
		return bars.Sum{}, errSum
	}
	lo := n.Uint64()
	return bars.Sum{Hi: new(big.Int).Rsh(n, 64).Uint64(), Lo: lo}, nil
}
