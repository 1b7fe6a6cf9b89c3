// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html"
	"net"
	"strings"

	"tickedge/internal/httphead"
)

//go:embed page.html
var pageText string

// The client of clients/js and its candles, each of which "make board" makes into one script, what draws them, screens and alerts.
var (
	//go:embed client.js
	clientText string
	//go:embed candles.js
	candlesText string
	//go:embed chart.js
	chartText string
	//go:embed sheet.js
	sheetText string
	//go:embed alerts.js
	alertsText string
	//go:embed alerts.css
	alertsStyle string
	//go:embed screens.js
	screensText string
	//go:embed screens.css
	screensStyle string
)

// board says what the live board is to have.
type board struct {
	path    string // Of the WebSocket.
	history string // Of GET /history/{symbol} on the page's host; without it there are no candles.
	market  string // Of the state of a simulated market there, if there is one, see docs/MARKETDATA.md.
	alerts  string // Of the alerts API there, see docs/ALERTS.md; without it, or without candles, there are no alerts.
}

// page returns the live board with the client in it. Its one script is one of the page, so that the page stays one
// file. An edge without a board does not make it.
func (b board) page() string {
	candles, chart, alerts, style, data := "", "const sheet = null;\n", "const bell = null;\n", "", `data-path="`+html.EscapeString(b.path)+`"`
	if b.history != "" {
		candles, chart = candlesText, chartText+sheetText
		data += ` data-history="` + html.EscapeString(b.history) + `"`
	}
	if b.market != "" {
		data += ` data-market="` + html.EscapeString(b.market) + `"`
	}
	if b.alerts != "" && b.history != "" {
		alerts, style = alertsText, alertsStyle
		data += ` data-alerts="` + html.EscapeString(b.alerts) + `"`
	}
	return strings.NewReplacer("/* @tickedge/client */\n", clientText, "/* @tickedge/client/candles */\n", candles,
		"/* screens */\n", screensText, "/* screens.css */\n", screensStyle, "/* chart */\n", chart, "/* alerts */\n", alerts, "/* alerts.css */\n", style, `data-path="/ws"`, data).Replace(pageText)
}

// boardPage makes what is answered with a page. It is zipped here, at the start, and not when the
// edge is built: that takes some milliseconds, and so no copy of the page can be an old one.
func boardPage(html string) *httphead.Page {
	// The page's own inline script and style, this host, and nothing else.
	csp := "default-src 'none'; script-src " + inlineHash(html, "script") + "; style-src " + inlineHash(html, "style") +
		"; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return httphead.NewPage("text/html; charset=utf-8",
		"Content-Security-Policy: "+csp+"\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-cache\r\n", html)
}

// inlineHash returns the CSP source that allows the page's one inline element of a
// kind (CSP Level 3, section 2.3.1), or 'none' if it has none.
func inlineHash(html, element string) string {
	_, text, ok1 := strings.Cut(html, "<"+element+">")
	text, _, ok2 := strings.Cut(text, "</"+element+">")
	if !ok1 || !ok2 {
		return "'none'"
	}
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// boardURL is where a browser on this host finds the board.
func boardURL(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return ""
	}
	if tcp.IP.IsUnspecified() || tcp.IP.Equal(net.IPv4(127, 0, 0, 1)) {
		return fmt.Sprintf("http://localhost:%d/", tcp.Port)
	}
	return "http://" + tcp.String() + "/"
}
