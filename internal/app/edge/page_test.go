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
		_, block, ok := strings.Cut(page(), theme)
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
	for _, rule := range regexp.MustCompile(`[^{}]*\{[^{}]*opacity: \.[^{}]*\}`).FindAllString(page(), -1) {
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
	if n := len(boardPage(page()).Answer(&req)); n > 32<<10 {
		t.Errorf("the page has %d bytes zipped", n)
	}
	for _, bad := range []string{" title=", "innerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=", "http://", "https://"} {
		if i := strings.Index(strings.ReplaceAll(page(), "http://www.w3.org/2000/svg", ""), bad); i >= 0 {
			t.Errorf("the page has %q", bad)
		}
	}
}

// The board has the client as it is in clients/js, and once.
func TestPageHasTheClient(t *testing.T) {
	m := regexp.MustCompile(`(?m)^// Code generated .* Of ([\w. ]+): sha256 ([0-9a-f]{64})\n`).FindStringSubmatch(clientText)
	if m == nil {
		t.Fatalf("client.js begins with %.200s", clientText)
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
		t.Error("the client has changed: make board")
	}
	if strings.Count(page(), clientText) != 1 || strings.Count(page(), "<script") != 1 || strings.Contains(page(), "/* @tickedge/client */") {
		t.Error("the page does not have the client in its one script")
	}
}

// The board is told where the WebSocket is.
func TestPageFor(t *testing.T) {
	for path, want := range map[string]string{"/ws": `data-path="/ws"`, "/prices/ws": `data-path="/prices/ws"`, "/a&'b": `data-path="/a&amp;&#39;b"`} {
		text := pageFor(page(), path)
		if strings.Count(text, want) != 1 || strings.Count(text, " data-path=") != 1 {
			t.Errorf("%s: %q is not in %.60s", path, want, text)
		}
	}
}
