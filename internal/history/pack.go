// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/klauspost/compress/flate"
)

// packed is a text in DEFLATE (RFC 1951) without an end: it ends with a byte, and refers to nothing before it. So such texts
// stand behind each other in one stream, which every client reads; several members of a gzip file are not read by all.
type packed struct {
	deflated []byte
	size     int    // Of the text.
	crc      uint32 // Of the text.
	shift    uint32 // See [shiftOf].
}

// packer packs texts.
type packer struct {
	w   *flate.Writer
	out bytes.Buffer
}

func newPacker() *packer {
	w, _ := flate.NewWriter(nil, flate.BestSpeed) // The level is right.
	return &packer{w: w}
}

// pack packs a text. What it returns is valid until the next call.
func (p *packer) pack(text []byte) packed {
	p.out.Reset()
	p.w.Reset(&p.out)
	_, _ = p.w.Write(text) // It is memory.
	_ = p.w.Flush()
	return packed{deflated: p.out.Bytes(), size: len(text), crc: crc32.ChecksumIEEE(text)}
}

// kept is a copy that may be kept.
func (p packed) kept() packed {
	p.deflated, p.shift = bytes.Clone(p.deflated), shiftOf(p.size)
	return p
}

// member is one member of a gzip file (RFC 1952), made of texts that are packed already.
type member struct {
	out  []byte
	size uint32
	crc  uint32
}

func (m *member) begin() {
	m.out = append(m.out[:0], 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff) // Without a name and a time.
	m.size, m.crc = 0, 0
}

// add adds a text whose shift is known, or which is the only one.
func (m *member) add(p *packed) {
	shift := p.shift
	if shift == 0 {
		shift = shiftOf(p.size)
	}
	m.out = append(m.out, p.deflated...)
	m.size += uint32(p.size)
	m.crc = times(shift, m.crc) ^ p.crc
}

// end adds a last, empty block, and what gzip ends with.
func (m *member) end() []byte {
	m.out = append(m.out, 0x03, 0x00)
	m.out = binary.LittleEndian.AppendUint32(m.out, m.crc)
	m.out = binary.LittleEndian.AppendUint32(m.out, m.size)
	return m.out
}

// The CRC of two texts behind each other is that of the first one times x to the power of the bits of the second, plus that of
// the second. Polynomials are reflected, as in hash/crc32: the highest bit is 1. zlib's crc32_combine does the same.

const one = 1 << 31

// times multiplies modulo the polynomial of IEEE.
func times(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 {
		if a&one != 0 {
			product ^= b
		}
		b = b>>1 ^ -(b&1)&crc32.IEEE
	}
	return product
}

// shiftOf is x to the power of the bits of a number of bytes. It is not 0.
func shiftOf(bytes int) uint32 {
	shift, power := uint32(one), uint32(one>>8) // x^8, x^16, x^32 …
	for ; bytes > 0; bytes >>= 1 {
		if bytes&1 != 0 {
			shift = times(shift, power)
		}
		power = times(power, power)
	}
	return shift
}
