// SPDX-License-Identifier: Apache-2.0

package httphead_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"tickedge/internal/httphead"
)

// arrive runs a handshake on bytes that arrive in these reads, as a server does it: all
// bytes so far are looked at, and it knows how many it has seen.
func arrive(reads ...[]byte) answer {
	var b []byte
	for _, read := range reads {
		seen := len(b)
		b = append(b, read...)
		var a answer
		if a.head, a.refusal = httphead.Head(b, seen, most); a.head > 0 || a.refusal != nil {
			return finish(a, b)
		}
	}
	return answer{}
}

func same(a, b answer) bool {
	if !reflect.DeepEqual(a.req, b.req) {
		return false
	}
	return a.status == b.status && a.head == b.head && reflect.DeepEqual(a.refusal, b.refusal)
}

func TestHeadAtEveryCut(t *testing.T) {
	good := headOf("GET /ws?topics=AAPL,MSFT&interval=500 HTTP/1.1", upgradeFields...)
	inputs := map[string][]byte{
		"alone":                good,
		"frames after it":      join(good, []byte("\x81\x91keys{\"op\":\"ping\"}\r\n\r\n\x89\x82keys\n\n")),
		"a head after it":      join(good, good),
		"bare LF":              bytes.Replace(good, []byte("\r\nUpgrade"), []byte("\nUpgrade"), 1),
		"bare LF at the end":   append(bytes.Clone(good[:len(good)-2]), '\n'),
		"only bare LF":         bytes.ReplaceAll(good, []byte("\r\n"), []byte("\n")),
		"bare CR":              bytes.Replace(good, []byte("\r\nUpgrade"), []byte("\rUpgrade"), 1),
		"no fields":            headOf("GET / HTTP/1.1"),
		"starts with CR LF":    join([]byte("\r\n"), good),
		"starts with two":      join([]byte("\r\n\r\n"), good),
		"starts with CR":       join([]byte("\r"), good),
		"only CR LF":           []byte("\r\n"),
		"PROXY header, v1":     join([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 5000 80\r\n"), good),
		"PROXY header, v2":     join([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x13\x88\x00\x50"), good),
		"HTTP/2 preface":       []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		"not there yet":        good[:len(good)-1],
		"TLS":                  []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		"LF inside a later CR": []byte("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
	}
	for name, in := range inputs {
		t.Run(name, func(t *testing.T) {
			whole := arrive(in)
			for i := range len(in) + 1 {
				if got := arrive(in[:i], in[i:]); !same(got, whole) {
					t.Fatalf("cut at %d: got %+v, want %+v", i, got, whole)
				}
				for j := i; j <= len(in); j += 1 + len(in)/60 {
					if got := arrive(in[:i], in[i:j], in[j:]); !same(got, whole) {
						t.Fatalf("cut at %d and %d: got %+v, want %+v", i, j, got, whole)
					}
				}
			}
			if got := arrive(chunked(in, 1)...); !same(got, whole) {
				t.Fatalf("byte by byte: got %+v, want %+v", got, whole)
			}
		})
	}
}

func TestHeadSaysWhereItEnds(t *testing.T) {
	good := headOf("GET /ws HTTP/1.1", upgradeFields...)
	for n := range len(good) {
		if size, r := httphead.Head(good[:n], 0, most); size != 0 || r != nil {
			t.Fatalf("%d of %d bytes: %d, %+v", n, len(good), size, r)
		}
	}
	for _, after := range []string{"", "\x81", "\r\n\r\n", "\n", strings.Repeat("x", 10000)} {
		if size, r := httphead.Head(append(bytes.Clone(good), after...), 0, most); size != len(good) || r != nil {
			t.Errorf("with %.20q after it: %d, %+v", after, size, r)
		}
	}
}

// What is no HTTP is refused with its first byte, not with its deadline.
func TestHeadRefusesOtherProtocolsAtOnce(t *testing.T) {
	inputs := []string{
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // TLS.
		"\x80\x2e\x01\x00\x02",                         // SSL 2.
		"\x05\x01\x00",                                 // SOCKS 5.
		"\x00\x00\x00\x00", "\n", " GET / HTTP/1.1\r\n", "{\"op\":\"ping\"}", "*1\r\n$4\r\nPING\r\n", "\xff",
	}
	for _, in := range inputs {
		for n := 1; n <= len(in); n++ {
			_, r := httphead.Head([]byte(in[:n]), 0, most)
			if r == nil || r.Status != 400 {
				t.Fatalf("%d bytes of %q: %+v", n, in, r)
			}
			checkRefusal(t, r)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		b := make([]byte, 1+rnd.IntN(100))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		if a := handshake(b); a.status == 101 {
			t.Errorf("accepted %q", b)
		} else if (b[0] < 'A' || b[0] > 'Z') && b[0] != '\r' && a.status != 400 {
			t.Errorf("%q: %+v", b, a)
		}
	}
}

// RFC 9112, 2.2: an empty line before the request line is passed over. Some clients send one
// behind a body. A second one is not.
func TestRFC9112_2_2_EmptyLineBefore(t *testing.T) {
	good := headOf("GET /ws HTTP/1.1", upgradeFields...)
	if a := wantStatus(t, join([]byte("\r\n"), good), 101); a.head != len(good)+2 || string(a.req.Path) != "/ws" {
		t.Errorf("got %+v", a)
	}
	for _, before := range []string{"\r\n\r\n", "\r", "\n", "\r\r\n", "\r\n ", " \r\n", "\r\n\n", "\n\r\n"} {
		wantStatus(t, join([]byte(before), good), 400)
	}
	for _, n := range []int{1, 2} { // It may still become one.
		if size, r := httphead.Head([]byte("\r\n")[:n], 0, most); size != 0 || r != nil {
			t.Errorf("%d bytes of it: %d, %+v", n, size, r)
		}
	}
	wantStatus(t, join([]byte("\r\n"), filled(8190)), 101)
	wantStatus(t, join([]byte("\r\n"), filled(8191)), 431) // It counts.
}

// What a client or a proxy speaks instead is told where it can be known.
func TestRefusalsNameTheProtocol(t *testing.T) {
	for in, want := range map[string]string{
		"\x16\x03\x01\x02\x00\x01\x00":                     "this is TLS",
		"\x80\x2e\x01\x00\x02":                             "this is TLS",
		"\x05\x01\x00":                                     "not an HTTP/1.1 request",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                 "HTTP/1.1 is needed",
		"PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\nA\r\n\r\n": "-proxy-protocol",
		"PROXY UNKNOWN\r\n\r\n":                            "-proxy-protocol",
		"GET /ws HTTP/1.0\r\nUpgrade: websocket\r\n\r\n":   "proxy_http_version 1.1",
	} {
		if a := handshake([]byte(in)); a.refusal == nil || !strings.Contains(a.refusal.Reason, want) {
			t.Errorf("%q: %+v, want %q", in, a.refusal, want)
		}
	}
}

// A bare LF is refused when it comes, as a head of such lines would never end.
func TestHeadRefusesBareLF(t *testing.T) {
	for _, in := range []string{"GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nHost: a\n", "GET / HTTP/1.1\r\n\n", "G\n"} {
		for i := range len(in) {
			if size, r := httphead.Head([]byte(in[:i]), 0, most); size != 0 || r != nil {
				t.Errorf("%q: %d, %+v", in[:i], size, r)
			}
			if a := arrive([]byte(in[:i]), []byte(in[i:])); a.status != 400 {
				t.Errorf("%q cut at %d: %+v", in, i, a)
			}
		}
	}
}

// filled is a good head with a cookie that makes it n bytes long.
func filled(n int) []byte {
	empty := headOf("GET /ws HTTP/1.1", plus("Cookie: ")...)
	return headOf("GET /ws HTTP/1.1", plus("Cookie: "+strings.Repeat("c", n-len(empty)))...)
}

func TestHeadLimit(t *testing.T) {
	for n, want := range map[int]int{8000: 101, 8191: 101, 8192: 101, 8193: 431, 8194: 431, 8195: 431, 8196: 431, 9000: 431, 20000: 431} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			in := filled(n)
			if len(in) != n {
				t.Fatalf("the head has %d bytes", len(in))
			}
			a := wantStatus(t, in, want)
			for _, size := range []int{1, 7, 1000, 4096, 8192} {
				if got := arrive(chunked(in, size)...); got.status != want {
					t.Errorf("in reads of %d bytes: %+v, want %d", size, got, want)
				}
			}
			// Frames that follow do not count.
			if got := handshake(append(in, make([]byte, 10000)...)); !same(got, a) {
				t.Errorf("with bytes after it: %+v", got)
			}
		})
	}
	// It does not have to end to be too long.
	if _, r := httphead.Head(filled(20000)[:8192], 0, most); r == nil || r.Status != 431 {
		t.Errorf("8192 bytes without an end: %+v", r)
	}
	if size, r := httphead.Head(filled(20000)[:8191], 0, most); size != 0 || r != nil {
		t.Errorf("8191 bytes without an end: %d, %+v", size, r)
	}
}

// Of two things that are wrong, the answer names the same one however the bytes arrive.
func TestHeadRefusalDoesNotDependOnReads(t *testing.T) {
	early := bytes.Replace(filled(9000), []byte("\r\nUpgrade"), []byte("\nUpgrade"), 1)
	late := append(filled(9000), "X: a\n\r\n\r\n"...)
	lf := bytes.Replace(filled(8190), []byte("cc\r\n\r\n"), []byte("c\ncccccccc\r\n\r\n"), 1)
	for name, in := range map[string][]byte{"LF first": early, "limit first": late, "LF at the limit": lf} {
		whole := arrive(in)
		for _, size := range []int{1, 100, 4096, 8191, 8192, 8193} {
			if got := arrive(chunked(in, size)...); !same(got, whole) {
				t.Errorf("%s: in reads of %d bytes %+v, in one %+v", name, size, got.refusal, whole.refusal)
			}
		}
	}
}

// The limit may be raised, and the refusal names it.
func TestHeadLimitIsSet(t *testing.T) {
	const most = 64 << 10
	for n, want := range map[int]int{most: most, most + 1: 0, 3 * most: 0} {
		size, r := httphead.Head(filled(n), 0, most)
		if size != want || (r == nil) != (want > 0) || r != nil && (r.Status != 431 || r.Reason != "the request head is longer than 64 KiB") {
			t.Errorf("%d bytes: %d, %+v", n, size, r)
		}
	}
	if _, r := httphead.Head(filled(2 * most)[:most], 0, most); r == nil || r.Status != 431 {
		t.Errorf("%d bytes without an end: %+v", most, r)
	}
}

func TestFieldsLimit(t *testing.T) {
	for n, want := range map[int]int{5: 101, 99: 101, 100: 101, 101: 431, 150: 431} {
		fields := upgradeFields
		for i := len(fields); i < n; i++ {
			fields = append(fields[:len(fields):len(fields)], fmt.Sprintf("X-%d: a", i))
		}
		wantStatus(t, headOf("GET /ws HTTP/1.1", fields...), want)
	}
}
