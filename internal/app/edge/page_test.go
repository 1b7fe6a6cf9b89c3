package edge

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

// The response says what the page may do: run its own script and style, and reach this host.
func TestPageResponse(t *testing.T) {
	html := "<!doctype html><style>p{}</style><script>go()</script>"
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(pageResponse(html))), nil)
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

// The board is told where the WebSocket is.
func TestPageFor(t *testing.T) {
	for path, want := range map[string]string{"/ws": `data-path="/ws"`, "/prices/ws": `data-path="/prices/ws"`, "/a&'b": `data-path="/a&amp;&#39;b"`} {
		text := pageFor(page, path)
		if strings.Count(text, want) != 1 || strings.Count(text, " data-path=") != 1 {
			t.Errorf("%s: %q is not in %.60s", path, want, text)
		}
	}
}
