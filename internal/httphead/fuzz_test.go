// SPDX-License-Identifier: Apache-2.0

package httphead_test

import (
	"bytes"
	"testing"
)

// FuzzRequest: no panic; how the bytes arrive does not matter; what is accepted,
// net/http reads in the same way; what is refused is a valid answer.
func FuzzRequest(f *testing.F) {
	const get = "GET /ws HTTP/1.1"
	good := headOf("GET /ws?topics=AAPL,MSFT&interval=500 HTTP/1.1", upgradeFields...)
	for _, seed := range [][]byte{
		good,
		join(good, []byte("\x81\x8dkeys{\"op\":\"ping\"}")),
		headOf(get, upgradeFields[:4]...),
		headOf("POST /ws HTTP/1.1", plus("Content-Length: 5")...),
		headOf("GET http://a.example:80/ws?topics=%41 HTTP/1.1", upgradeFields...),
		headOf("GET //a?b?c HTTP/1.1", plus("Transfer-Encoding: chunked")...),
		headOf(get, with("Connection", "Connection: keep-alive, Upgrade", "X:\t y ")...),
		headOf(get, with("Host", "Host:", "host : a")...),
		headOf(get, with("Sec-WebSocket-Key", "Sec-WebSocket-Key: ____________________-Q==")...),
		bytes.ReplaceAll(good, []byte("\r\n"), []byte("\n")),
		bytes.Replace(good, []byte("Upgrade"), []byte("\r\n Upgrade"), 1),
		filled(8192), filled(8193),
		[]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		[]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
	} {
		f.Add(seed, uint16(0))
		f.Add(seed, uint16(7))
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		a := handshake(in)
		switch {
		case a.status == 101:
			checkUpgraded(t, in, a)
		case a.refusal != nil:
			checkRefusal(t, a.refusal)
		}
		i := min(int(cut), len(in))
		if got := arrive(in[:i], in[i:]); !same(got, a) {
			t.Fatalf("cut at %d: %+v %+v, in one read %+v %+v", i, got, got.refusal, a, a.refusal)
		}
		if got := arrive(chunked(in, 1+int(cut)%64)...); !same(got, a) {
			t.Fatalf("in reads of %d bytes: %+v %+v, in one %+v %+v", 1+cut%64, got, got.refusal, a, a.refusal)
		}
	})
}
