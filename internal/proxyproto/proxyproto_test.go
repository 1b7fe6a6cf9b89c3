// SPDX-License-Identifier: Apache-2.0

package proxyproto

import (
	"net/netip"
	"strings"
	"testing"
)

// wanted is the header that names a source, or nobody.
func wanted(source string) Header {
	if source == "" {
		return Header{Local: true}
	}
	return Header{Source: netip.MustParseAddrPort(source)}
}

// Section 2: a receiver should be tolerant to headers that come in parts.
func TestGoodHeaders(t *testing.T) {
	const follows = "GET /ws HTTP/1.1\r\n"
	for _, tt := range good {
		t.Run(tt.name, func(t *testing.T) {
			for n := range len(tt.header) {
				if hdr, size, err := Parse([]byte(tt.header[:n])); size != 0 || err != nil || hdr != (Header{}) {
					t.Fatalf("the first %d bytes of %d: %+v, %d, %v; want nothing yet", n, len(tt.header), hdr, size, err)
				}
			}
			for _, in := range []string{tt.header, tt.header + "\n", tt.header + follows, tt.header + tt.header} {
				hdr, size, err := Parse([]byte(in))
				if hdr != wanted(tt.source) || size != len(tt.header) || err != nil {
					t.Errorf("%d bytes: %+v, %d, %v; want %+v, %d", len(in), hdr, size, err, wanted(tt.source), len(tt.header))
				}
			}
		})
	}
}

// Section 2.1: "It is recommended to abort the connection as soon as possible".
func TestBadHeaders(t *testing.T) {
	for _, tt := range bad {
		t.Run(tt.name, func(t *testing.T) {
			whole := tt.begin + tt.end
			for n := range len(whole) + 1 {
				hdr, size, err := Parse([]byte(whole[:n]))
				switch {
				case size != 0 || hdr != Header{}:
					t.Fatalf("the first %d bytes: %+v, %d; want nothing", n, hdr, size)
				case n < len(tt.begin) && err != nil:
					t.Fatalf("the first %d bytes of %d: %v, too early", n, len(tt.begin), err)
				case n == len(tt.begin) && err != tt.err:
					t.Fatalf("the first %d bytes: %v, want %v", n, err, tt.err)
				case n > len(tt.begin) && err == nil:
					t.Fatalf("the first %d bytes: no error any more", n)
				}
			}
		})
	}
}

// Whatever bit of it is wrong, a header with a checksum names no source. Only the
// type of the checksum itself is not covered: with another type there is none.
func TestChecksumCoversTheHeader(t *testing.T) {
	if crc32c("123456789") != 0xE3069283 {
		t.Fatal("the test's own checksum is wrong")
	}
	header := []byte(summed(binaryHeader(0x21, 0x11, four, unset, noop)))
	const checksumType = 16 + 12
	for i := range len(header) * 8 {
		if i/8 == checksumType {
			continue
		}
		header[i/8] ^= 1 << (i % 8)
		if hdr, _, err := Parse(header); err == nil && hdr.Source.IsValid() {
			t.Errorf("bit %d of byte %d is wrong: %+v", i%8, i/8, hdr)
		}
		header[i/8] ^= 1 << (i % 8)
	}
}

func TestEmpty(t *testing.T) {
	if hdr, size, err := Parse(nil); hdr != (Header{}) || size != 0 || err != nil {
		t.Errorf("%+v, %d, %v; want nothing", hdr, size, err)
	}
}

// What is not complete after the limit of its version is an error, whatever it is.
func TestNeverAsksForMoreThanTheLimit(t *testing.T) {
	for _, tt := range good {
		limit := lineMax
		if strings.HasPrefix(tt.header, sign) {
			limit = HeaderMax
		}
		for n := range len(tt.header) {
			in := []byte(tt.header[:n] + strings.Repeat("x", limit))
			if _, size, err := Parse(in[:limit]); size == 0 && err == nil {
				t.Errorf("%s, cut off at %d: more than %d bytes are asked for", tt.name, n, limit)
			}
		}
	}
}

func TestAllocations(t *testing.T) {
	try := func(name, header string) {
		in := []byte(header)
		if n := testing.AllocsPerRun(100, func() { Parse(in) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	for _, tt := range good {
		try(tt.name, tt.header)
	}
	for _, tt := range bad {
		if tt.err != errAddress {
			try(tt.name, tt.begin+tt.end)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, tt := range good {
		f.Add([]byte(tt.header + "GET"))
	}
	for _, tt := range bad {
		f.Add([]byte(tt.begin + tt.end))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		hdr, size, err := Parse(in)
		switch {
		case size < 0 || size > min(len(in), HeaderMax):
			t.Fatalf("size %d of %d bytes", size, len(in))
		case size == 0 && hdr != Header{}:
			t.Fatalf("%+v of nothing", hdr)
		case size == 0 && err == nil && len(in) >= HeaderMax:
			t.Fatal("more bytes are asked for than the limit")
		case size > 0 && (err != nil || hdr.Local == hdr.Source.IsValid() || hdr.Source.Addr().Is4In6() || hdr.Source.Addr().Zone() != ""):
			t.Fatalf("%+v, %d, %v", hdr, size, err)
		}
		// How the bytes arrive does not matter: nothing, until the verdict comes, and
		// then it stays.
		failed := false
		for n := range min(len(in), HeaderMax) {
			h, s, e := Parse(in[:n])
			switch {
			case size > 0 && n >= size && (h != hdr || s != size || e != nil):
				t.Fatalf("%+v, %d, %v with %d bytes; %+v, %d with all", h, s, e, n, hdr, size)
			case (size == 0 || n < size) && (s != 0 || h != Header{}):
				t.Fatalf("%+v, %d with %d bytes; %+v, %d with all", h, s, n, hdr, size)
			case e != nil && err == nil || failed && e == nil:
				t.Fatalf("%v with %d bytes, %v with all", e, n, err)
			}
			failed = failed || e != nil
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, bb := range []struct{ name, header string }{
		{"v1", good[0].header},
		{"v2", binaryHeader(0x21, 0x11, four)},
		{"v2 with TLVs and checksum", summed(binaryHeader(0x21, 0x11, four, ssl, unset))},
	} {
		b.Run(bb.name, func(b *testing.B) {
			in := []byte(bb.header)
			b.ReportAllocs()
			for b.Loop() {
				if _, size, _ := Parse(in); size != len(in) {
					b.Fatal(size)
				}
			}
		})
	}
}
