// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"tickedge/internal/httphead"
)

// The response says what the page may do: run its own script and style, and reach this host.
func TestPageResponse(t *testing.T) {
	html := "<!doctype html><style>p{}</style><script>go()</script>"
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(boardPage(html).Answer(&httphead.Request{}))), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
		"Content-Security-Policy": "default-src 'none'; script-src 'sha256-5KYv+PUboo5h+0+YAtGRPbwv5d/QxzHslP4YGnUaxRw='; style-src 'sha256-gG2yISYereRMiG2lMXrbiUgi0Ubw9p7QCeWcroOvy9Y='; " +
			"img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != html {
		t.Errorf("body %q (%v)", body, err)
	}
}

// The board's text can be read: each colour on each ground that it stands on has a contrast of 4.5 at least, and what
// bounds a field 3 (WCAG 2.2, 1.4.3 and 1.4.11).
func TestPageContrast(t *testing.T) {
	grounds := map[string]string{
		"ink": "bg card field upbg downbg warnbg badbg line", "soft": "bg card field line", "up": "card field upbg", "down": "card field badbg downbg",
		"warn": "card field warnbg", "accent": "bg card", "on": "accent", "bg": "ink", "edge": "bg card field",
	}
	for _, theme := range []string{":root {", ":root[data-theme=dark] {"} {
		_, block, ok := strings.Cut(whole.page(), theme)
		block, _, _ = strings.Cut(block, "}")
		colours := map[string]string{}
		for _, m := range regexp.MustCompile(`--(\w+): (#\w+)`).FindAllStringSubmatch(block, -1) {
			colours[m[1]] = m[2]
		}
		if !ok || len(colours) < 16 {
			t.Fatalf("%s has %d colours", theme, len(colours))
		}
		for text, list := range grounds {
			for _, ground := range strings.Fields(list) {
				want := 4.5
				if text == "edge" {
					want = 3
				}
				if got := contrast(t, colours[text], colours[ground]); got < want {
					t.Errorf("%s %s on %s has a contrast of %.2f, want %.1f", theme, text, ground, got, want)
				}
			}
		}
	}
	// What is made paler, or lies under something, has a contrast that this test does not know.
	for _, rule := range regexp.MustCompile(`[^{}]*\{[^{}]*opacity: \.[^{}]*\}`).FindAllString(whole.page(), -1) {
		if !strings.Contains(rule, ".area") && !strings.Contains(rule, "50%") {
			t.Errorf("%s makes something paler", strings.TrimSpace(rule))
		}
	}
}

// contrast is that of WCAG 2.2.
func contrast(t *testing.T, a, b string) float64 {
	la, lb := luminance(t, a), luminance(t, b)
	return (math.Max(la, lb) + 0.05) / (math.Min(la, lb) + 0.05)
}

func luminance(t *testing.T, colour string) (sum float64) {
	hex := strings.TrimPrefix(colour, "#")
	if len(hex) == 3 {
		hex = fmt.Sprintf("%c%[1]c%c%[2]c%c%[3]c", hex[0], hex[1], hex[2])
	}
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatalf("colour %q: %v", colour, err)
		}
		v := float64(n) / 255
		if v <= 0.04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+0.055)/1.055, 2.4)
		}
		sum += weight * v
	}
	return sum
}

// The board has one file, and a phone with a poor connection has it soon.
func TestPageIsSmall(t *testing.T) {
	req, refusal := httphead.ParseRequest([]byte("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"))
	if refusal != nil {
		t.Fatal(refusal.Reason)
	}
	for b, most := range map[board]int{plain: 38 << 10, candles: 46 << 10, whole: 50 << 10} {
		if n := len(boardPage(b.page()).Answer(&req)); n > most {
			t.Errorf("%+v: the page has %d bytes zipped, want %d at most", b, n, most)
		}
	}
	for _, bad := range []string{" title=", "innerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=", "http://", "https://"} {
		if i := strings.Index(strings.ReplaceAll(whole.page(), "http://www.w3.org/2000/svg", ""), bad); i >= 0 {
			t.Errorf("the page has %q", bad)
		}
	}
}

// The board has the client as it is in clients/js, and once; candles where there is a history.
func TestPageHasTheClient(t *testing.T) {
	for name, text := range map[string]string{"client.js": clientText, "candles.js": candlesText} {
		m := regexp.MustCompile(`(?m)^// Code generated .* Of ([\w. ]+): sha256 ([0-9a-f]{64})\n`).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("%s begins with %.200s", name, text)
		}
		sum := sha256.New()
		for _, name := range strings.Fields(m[1]) {
			source, err := os.ReadFile(filepath.Join("..", "..", "..", "clients", "js", "src", name))
			if err != nil {
				t.Fatal(err)
			}
			sum.Write(source)
		}
		if got := fmt.Sprintf("%x", sum.Sum(nil)); got != m[2] {
			t.Errorf("%s: the client has changed: make board", name)
		}
	}
	for _, c := range []struct {
		board board
		have  map[string]int
	}{
		{plain, map[string]int{clientText: 1, candlesText: 0, chartText: 0, sheetText: 0, alertsText: 0}},
		{candles, map[string]int{clientText: 1, candlesText: 1, chartText: 1, sheetText: 1, alertsText: 0}},
		{board{path: "/ws", alerts: "/alerts"}, map[string]int{clientText: 1, candlesText: 0, chartText: 0, sheetText: 0, alertsText: 0}},
		{whole, map[string]int{clientText: 1, candlesText: 1, chartText: 1, sheetText: 1, alertsText: 1}},
	} {
		page := c.board.page()
		for part, n := range c.have {
			if strings.Count(page, part) != n {
				t.Errorf("%+v: %.60q is %d times in the page, want %d", c.board, part, strings.Count(page, part), n)
			}
		}
		if strings.Count(page, "<script") != 1 || strings.Contains(page, "/* @tickedge") || strings.Contains(page, "/* chart") || strings.Contains(page, "/* alerts") {
			t.Errorf("%+v: the page has not one script, or a part is missing", c.board)
		}
	}
}

// The board is told where the WebSocket is, and the history.
func TestPageFor(t *testing.T) {
	for _, c := range []struct {
		board board
		want  string
	}{
		{plain, `<html lang="en" data-path="/ws">`},
		{board{path: "/a&'b"}, `<html lang="en" data-path="/a&amp;&#39;b">`},
		{whole, `<html lang="en" data-path="/ws" data-history="/history" data-market="/market" data-alerts="/alerts">`},
		{board{path: "/ws", history: "/h", alerts: `/"a`}, `<html lang="en" data-path="/ws" data-history="/h" data-alerts="/&#34;a">`},
	} {
		if text := c.board.page(); strings.Count(text, c.want) != 1 {
			t.Errorf("%+v: %q is not in %.90s", c.board, c.want, text)
		}
	}
}

var (
	plain   = board{path: "/ws"}
	candles = board{path: "/ws", history: "/history", market: "/market"}
	whole   = board{path: "/ws", history: "/history", market: "/market", alerts: "/alerts"}
)
