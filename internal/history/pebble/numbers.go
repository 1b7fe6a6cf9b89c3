// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"math/bits"

	"tickedge/internal/bars"
)

// div divides a sum whose higher half is below d.
func div(s bars.Sum, d uint64) (quotient, rest uint64) { return bits.Div64(s.Hi, s.Lo, d) }

func mul(a, b uint64) bars.Sum {
	hi, lo := bits.Mul64(a, b)
	return bars.Sum{Hi: hi, Lo: lo}
}

func pow10(n uint8) uint64 {
	p := uint64(1)
	for ; n > 0; n-- {
		p *= 10
	}
	return p
}
