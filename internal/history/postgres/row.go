// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"encoding/binary"
	"math/bits"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"tickedge/internal/bars"
)

// columnsOf is how many columns a bar has.
const columnsOf = 11

// inBinary reports whether all columns of a bar come in binary. Behind a pooler of transactions they come as text.
func inBinary(rows pgx.Rows) bool {
	fields := rows.FieldDescriptions()
	if len(fields) != columnsOf {
		return false
	}
	for i, oid := range [columnsOf]uint32{pgtype.Int8OID, pgtype.Int8OID, pgtype.Int8OID, pgtype.Int8OID, pgtype.Int8OID, pgtype.Int8OID,
		pgtype.Int8OID, pgtype.Int2OID, pgtype.Int2OID, pgtype.NumericOID, pgtype.NumericOID} {
		if fields[i].Format != pgtype.BinaryFormatCode || fields[i].DataTypeOID != oid {
			return false
		}
	}
	return true
}

// readBinary does what read does with columns that are inBinary. Scanning them takes a big.Int for each sum, and most of the
// time of a page.
func (r *reader) readBinary(raw [][]byte, b *bars.Bar) error {
	ok := len(raw) == columnsOf
	for i := 0; ok && i < 7; i++ {
		ok = len(raw[i]) == 8
	}
	if !ok || len(raw[7]) != 2 || len(raw[8]) != 2 {
		return r.misfit(b)
	}
	for i, to := range [...]*int64{&b.Start, &b.Open, &b.High, &b.Low, &b.Close, &b.Count, &b.Rev} {
		*to = int64(binary.BigEndian.Uint64(raw[i]))
	}
	r.price, r.size = int16(binary.BigEndian.Uint16(raw[7])), int16(binary.BigEndian.Uint16(raw[8]))
	ok1, ok2 := false, false
	b.Volume, ok1 = sumOfBinary(raw[9])
	b.Turnover, ok2 = sumOfBinary(raw[10])
	if !ok1 || !ok2 {
		return r.misfit(b)
	}
	return r.finish(b)
}

// weightMax is the weight of the first of the digits of 2^128-1, which are to the base 10,000.
const weightMax = 9

// sumOfBinary reads a numeric as PostgreSQL sends it: how many digits there are, the weight of the first, the sign and the
// scale, 16 bits each, and then the digits, to the base 10,000. Zeros at the end are left out.
func sumOfBinary(raw []byte) (s bars.Sum, ok bool) {
	if len(raw) < 8 {
		return s, false
	}
	n, weight, sign := int(binary.BigEndian.Uint16(raw)), int(int16(binary.BigEndian.Uint16(raw[2:]))), binary.BigEndian.Uint16(raw[4:])
	digits := raw[8:]
	if sign != 0 || len(digits) != 2*n || n > 0 && (weight > weightMax || n > weight+1) {
		return s, false // It is negative, no number, cut off, too large or no integer.
	}
	if n == 0 {
		return s, true
	}
	for i := range weight + 1 {
		digit := uint64(0)
		if i < n {
			digit = uint64(binary.BigEndian.Uint16(digits[2*i:]))
		}
		over, hi := bits.Mul64(s.Hi, 10_000)
		carry, lo := bits.Mul64(s.Lo, 10_000)
		lo, c := bits.Add64(lo, digit, 0)
		hi, c = bits.Add64(hi, carry, c)
		if digit > 9999 || over != 0 || c != 0 {
			return bars.Sum{}, false
		}
		s = bars.Sum{Hi: hi, Lo: lo}
	}
	return s, true
}
