// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// wantName checks a name in both forms.
func wantName(t *testing.T, name string, want bool) {
	t.Helper()
	if got := ValidName(name); got != want {
		t.Errorf("ValidName(%q) = %v", name, got)
	}
	if got := ValidName([]byte(name)); got != want {
		t.Errorf("ValidName of the bytes of %q = %v", name, got)
	}
}

// documented is the rule as docs/PROTOCOL.md gives it to those who write clients.
func documented(t *testing.T) *regexp.Regexp {
	t.Helper()
	text, err := os.ReadFile("../../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^\s+(\^\[\^.*\]\+\$)$`).FindSubmatch(text)
	if found == nil {
		t.Fatal("PROTOCOL.md has no expression for names")
	}
	return regexp.MustCompile(string(found[1]))
}

// Each character there is, alone and between others, is one of a name or not as the document
// says; and if it is, JSON has it as it stands.
func TestEveryCharacter(t *testing.T) {
	rule := documented(t)
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		s := string(r)
		noncharacter := r&0xfffe == 0xfffe || 0xfdd0 <= r && r <= 0xfdef
		want := rule.MatchString(s) && !noncharacter
		if ValidName(s) != want || r < 0x3000 && (ValidName("A"+s) != want || ValidName([]byte(s+"A")) != want || ValidName("é"+s+"é") != want) {
			t.Errorf("U+%04X is taken for part of a name: %v", r, !want)
		}
		if !want || r > 0x3000 {
			continue
		}
		var quoted bytes.Buffer
		enc := json.NewEncoder(&quoted)
		enc.SetEscapeHTML(false)
		if enc.Encode(s) != nil || quoted.String() != `"`+s+"\"\n" {
			t.Errorf("U+%04X is %q in JSON", r, quoted.String())
		}
	}
}

func TestNameLengths(t *testing.T) {
	for length, want := range map[int]bool{0: false, 1: true, 63: true, 64: true, 65: false, 1 << 16: false} {
		wantName(t, strings.Repeat("A", length), want)
	}
	// It is bytes that count.
	wantName(t, strings.Repeat("币", 21)+"A", true)
	wantName(t, strings.Repeat("币", 21)+"é", false)
	wantName(t, strings.Repeat("😀", 16), true)
	if ValidName([]byte(nil)) {
		t.Error("ValidName(nil) = true")
	}
}

func TestNameExamples(t *testing.T) {
	for _, name := range []string{
		"AAPL", "kline:1m:BTC-USD", "binance:kline:1m:BTC-USDT", "BRK.B", "EUR/USD", "a_b",
		"^GSPC", "EURUSD=X", "M&M.NS", "ES1!", "btcusdt@depth5", "币安人生USDT", "GC=F", "BTC+ETH", "S&P'500", "$SPX", "#1", "100%", "<A>",
		"A|B", "A;B", "A~B", "`A`", "ticks?", "[A]", "(A)", "Ä", "A\u0308", "Σ", "₿", "فولاد", "トヨタ", "🚀", "🇨🇭", "👍🏽", "\ufffd",
	} {
		wantName(t, name, true)
	}
	for _, name := range []string{
		"A B", " A", "A ", "A\tB", "A\nB", "A\x00", "A\x1f", "A\x7f", "A\u0080", "A\u0085", "A\u009f",
		"A*", "*", `A"`, `A\`, "A,B", "{A}", "A{", "A}", "prices:{topic}",
		"A\u00a0B", "A\u1680B", "A\u2003B", "A\u2028B", "A\u2029B", "A\u202fB", "A\u205fB", "A\u3000B", // Blanks.
		"\ufeffA", "A\u200b", "A\u200d", "A\u00ad", "A\u2060", "\u202eA", "A\u200f", "A\u180e", "A\U000e0041", // Unseen.
		"A\ufffe", "A\uffff", "A\ufdd0", "A\ufdef", "A\U0001fffe", "A\U0010ffff", // Noncharacters.
	} {
		wantName(t, name, false)
	}
}

// Bytes that are no UTF-8 are no name, wherever they stand.
func TestNamesAreUTF8(t *testing.T) {
	for _, s := range []string{
		"\xff", "\x80", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xed\xa0\xbd\xed\xb8\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80",
		"\xc3", "\xe5\xb8", "\xf0\x9f\x98", "\xc3A", "\xe5\xb8A",
	} {
		for _, name := range []string{s, "A" + s, s + "A", "币" + s, s + "币", strings.Repeat("A", NameMax-len(s)) + s} {
			wantName(t, name, false)
		}
	}
}

// Who is told the rule is told the whole of it.
func TestNameRuleIsComplete(t *testing.T) {
	for b := range byte(0x80) {
		if c := string([]byte{b}); b > ' ' && b < 0x7f && !ValidName(c) && !strings.Contains(NameRule, " "+c) {
			t.Errorf("%q is no name, and %q does not say so", c, NameRule)
		}
	}
	if !strings.HasPrefix(NameRule, "1 to 64 bytes") || NameMax != 64 {
		t.Errorf("the rule says %q, and a name has at most %d bytes", NameRule, NameMax)
	}
}

func TestValidNameAllocatesNothing(t *testing.T) {
	for _, name := range []string{"binance:kline:1m:BTC-USDT", "币安人生USDT", strings.Repeat("😀", 16)} {
		b := []byte(name)
		if got := testing.AllocsPerRun(100, func() { _ = ValidName(b) && ValidName(name) }); got != 0 {
			t.Errorf("%q: %v allocations", name, got)
		}
	}
}
