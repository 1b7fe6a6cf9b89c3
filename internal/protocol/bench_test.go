// SPDX-License-Identifier: Apache-2.0

package protocol

import "testing"

func BenchmarkParseSubscribe(b *testing.B) {
	msg := []byte(`{"op":"subscribe","topics":["AAPL","MSFT","GOOG","AMZN","NVDA","META","TSLA","BTC-USD","ETH-USD","EUR-USD"],"id":1}`)
	p := NewParser(256)
	b.ReportAllocs()
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		if cmd, err := p.Parse(msg); err != nil || len(cmd.Topics) != 10 {
			b.Fatal(err)
		}
	}
}
