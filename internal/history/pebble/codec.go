// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"encoding/binary"
	"errors"

	"tickedge/internal/bars"
	"tickedge/internal/trade"
)

// A bar is a key and a value.
//
// The key is the symbol, 0, the interval, 0, and the start in Unix milliseconds as 8 bytes, the highest first: bars of a
// series are together, in the order of their starts. No name has a 0 in it (see topics.ValidName).
//
// The value is
//
//	1 byte   the scales of prices (high half) and sizes
//	1 byte   powers of ten that all prices (high half) and the volume's lower half are multiples of, and were divided by
//	1 byte   flags, below
//	uvarint  open
//	varint   close - open
//	uvarint  high - the higher of open and close
//	uvarint  the lower of open and close - low
//	uvarint  volume (its higher half first, if flagVolume)
//	varint   turnover - volume × close; or, if flagTurnover, both halves of the turnover as uvarints
//	uvarint  count
//	uvarint  rev, if flagRev
//
// of which what follows the volume is in units of the powers too.
const (
	flagVolume   = 1 << iota // The volume has a higher half.
	flagTurnover             // The turnover is whole.
	flagRev

	flagsKnown = flagVolume | flagTurnover | flagRev
)

var errValue = errors.New("a bar in the store is damaged")

const (
	startSize = 8
	// powerMax bounds a power of ten, so that the product of two fits into 64 bits.
	powerMax = 9
)

// appendSeries appends what the keys of a series begin with.
func appendSeries(b []byte, symbol, interval string) []byte {
	b = append(append(b, symbol...), 0)
	return append(append(b, interval...), 0)
}

func appendKey(b []byte, symbol, interval string, start int64) []byte {
	return binary.BigEndian.AppendUint64(appendSeries(b, symbol, interval), uint64(start))
}

// parseKey takes a key apart. ok is false for what is no bar.
func parseKey(key []byte) (symbol, interval []byte, start int64, ok bool) {
	i := bytes.IndexByte(key, 0)
	if i <= 0 {
		return nil, nil, 0, false
	}
	n := len(key) - startSize - 1
	if n <= i+1 || key[n] != 0 {
		return nil, nil, 0, false
	}
	return key[:i], key[i+1 : n], startOf(key), true
}

func startOf(key []byte) int64 {
	return int64(binary.BigEndian.Uint64(key[len(key)-startSize:]))
}

// power returns by which power of ten, at most limit, all of these can be divided.
func power(limit uint8, of ...uint64) (n uint8, p uint64) {
	for p = 1; n < limit; n++ {
		for _, v := range of {
			if v%(p*10) != 0 {
				return n, p
			}
		}
		p *= 10
	}
	return n, p
}

// appendValue appends a bar that history.Check lets pass.
func appendValue(b []byte, bar *bars.Bar) []byte {
	s := bar.Symbol
	kp, price := power(min(s.PriceScale, powerMax), uint64(bar.Open), uint64(bar.High), uint64(bar.Low), uint64(bar.Close))
	ks, size := power(min(s.SizeScale, powerMax), bar.Volume.Lo)
	o, c := uint64(bar.Open)/price, uint64(bar.Close)/price
	diff, short := turnoverDiff(bar, size, c, price*size)
	var flags byte
	if bar.Volume.Hi != 0 {
		flags |= flagVolume
	}
	if !short {
		flags |= flagTurnover
	}
	if bar.Rev != 0 {
		flags |= flagRev
	}
	b = append(b, s.PriceScale<<4|s.SizeScale, kp<<4|ks, flags)
	b = binary.AppendUvarint(b, o)
	b = binary.AppendVarint(b, int64(c)-int64(o))
	b = binary.AppendUvarint(b, uint64(bar.High)/price-max(o, c))
	b = binary.AppendUvarint(b, min(o, c)-uint64(bar.Low)/price)
	if bar.Volume.Hi != 0 {
		b = binary.AppendUvarint(b, bar.Volume.Hi)
	}
	b = binary.AppendUvarint(b, bar.Volume.Lo/size)
	if short {
		b = binary.AppendVarint(b, diff)
	} else {
		b = binary.AppendUvarint(binary.AppendUvarint(b, bar.Turnover.Hi), bar.Turnover.Lo)
	}
	b = binary.AppendUvarint(b, uint64(bar.Count))
	if bar.Rev != 0 {
		b = binary.AppendUvarint(b, uint64(bar.Rev))
	}
	return b
}

// turnoverDiff returns by how much the turnover differs from volume × close, both in units, if that is short to
// write and exact. volume is divided by size, and c is the close that was divided already.
func turnoverDiff(b *bars.Bar, size, c, unit uint64) (diff int64, ok bool) {
	if b.Volume.Hi != 0 || b.Turnover.Hi >= unit {
		return 0, false
	}
	t, rest := div(b.Turnover, unit)
	v := mul(b.Volume.Lo/size, c)
	if rest != 0 || v.Hi != 0 {
		return 0, false
	}
	diff = int64(t - v.Lo)
	return diff, (t >= v.Lo) == (diff >= 0) // It is that far apart at most.
}

// value is what is left of a value, read from its beginning.
type value struct {
	b   []byte
	bad bool
}

func (v *value) uint() uint64 {
	n, size := binary.Uvarint(v.b)
	if size <= 0 {
		v.bad, v.b = true, nil
		return 0
	}
	v.b = v.b[size:]
	return n
}

func (v *value) int() int64 {
	u := v.uint()
	return int64(u>>1) ^ -int64(u&1)
}

// symbols has those of the bars of one query, so that bars of one scale share one.
type symbols struct {
	name string
	made [2]*trade.Symbol
}

func (s *symbols) scaled(price, size uint8) *trade.Symbol {
	for i, has := range s.made {
		if has == nil {
			s.made[i] = &trade.Symbol{Name: s.name, PriceScale: price, SizeScale: size}
			return s.made[i]
		}
		if has.PriceScale == price && has.SizeScale == size {
			return has
		}
	}
	return &trade.Symbol{Name: s.name, PriceScale: price, SizeScale: size}
}

// parseValue reads a bar, but for its interval and start.
func parseValue(in []byte, of *symbols, b *bars.Bar) error {
	if len(in) < 3 || in[2]&^flagsKnown != 0 {
		return errValue
	}
	flags, price, size := in[2], pow10(in[1]>>4), pow10(in[1]&15)
	b.Symbol, b.Closed = of.scaled(in[0]>>4, in[0]&15), true
	v := value{b: in[3:]}
	o := v.uint()
	c := o + uint64(v.int())
	b.Open, b.Close = int64(o*price), int64(c*price)
	b.High = int64((max(o, c) + v.uint()) * price)
	b.Low = int64((min(o, c) - v.uint()) * price)
	if flags&flagVolume != 0 {
		b.Volume.Hi = v.uint()
	}
	short := v.uint()
	b.Volume.Lo = short * size
	if flags&flagTurnover != 0 {
		b.Turnover = bars.Sum{Hi: v.uint(), Lo: v.uint()}
	} else {
		b.Turnover = mul(short*c+uint64(v.int()), price*size)
	}
	b.Count = int64(v.uint())
	if flags&flagRev != 0 {
		b.Rev = int64(v.uint())
	}
	if v.bad || len(v.b) != 0 {
		return errValue
	}
	return nil
}
