package topics

import (
	"strings"
	"testing"
)

func TestNameBytes(t *testing.T) {
	for b := range 256 {
		c := byte(b)
		want := 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' ||
			c == '.' || c == '_' || c == ':' || c == '/' || c == '-'
		for _, name := range [][]byte{{c}, {c, 'A'}, {'A', c}, {'A', c, 'A'}} {
			if ValidName(name) != want {
				t.Errorf("ValidName(%q) = %v", name, !want)
			}
			if ValidName(string(name)) != want {
				t.Errorf("ValidName(string %q) = %v", name, !want)
			}
		}
	}
}

func TestNameLengths(t *testing.T) {
	for length, want := range map[int]bool{0: false, 1: true, 63: true, 64: true, 65: false, 1 << 16: false} {
		name := strings.Repeat("A", length)
		if ValidName(name) != want {
			t.Errorf("ValidName of %d bytes = %v", length, !want)
		}
		if ValidName([]byte(name)) != want {
			t.Errorf("ValidName of a slice of %d bytes = %v", length, !want)
		}
	}
	if ValidName([]byte(nil)) {
		t.Error("ValidName(nil) = true")
	}
}

func TestNameExamples(t *testing.T) {
	for _, name := range []string{"AAPL", "kline:1m:BTC-USD", "binance:kline:1m:BTC-USDT", "BRK.B", "EUR/USD", "a_b"} {
		if !ValidName(name) {
			t.Errorf("%q is not valid", name)
		}
	}
	for _, name := range []string{"A B", "A*", "ticks?", "[A]", `A"`, `A\`, "Ä", "A\x00", "A\n", "A+B", "A,B"} {
		if ValidName(name) {
			t.Errorf("%q is valid", name)
		}
	}
}
