// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"

	"tickedge/internal/broker/redis/redistest"
)

// played is an edge that a test plays to the live board, so that it says whatever the test
// wants, when it wants. The page is that of a real edge, with its header.
type played struct {
	t      *testing.T
	header http.Header
	page   []byte
	addr   string
	names  http.HandlerFunc // Answers /topics.

	mu      sync.Mutex
	server  *http.Server
	ws      *websocket.Conn
	opened  int                                           // WebSockets.
	tries   []string                                      // Method and token of each request for the WebSocket.
	heard   []string                                      // Commands, without their ids.
	rejects map[string]string                             // What an ack says of these topics: `"code":413,"reason":"…"`.
	refuse  func(http.ResponseWriter, *http.Request) bool // Answers a request for the WebSocket, if it does.
	wrong   string                                        // What an error says of a screen: `"code":400,"reason":"…","at":9`.
}

// play starts one.
func play(t *testing.T) *played {
	t.Helper()
	redis := redistest.StartStandin(t)
	e := start(t, "-redis", "redis://"+redis.Addr(), "-page")
	res, err := http.Get("http://" + e.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	p := &played{t: t, header: res.Header, addr: "127.0.0.1:0", rejects: map[string]string{}}
	if p.page, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	e.stop()
	p.listen()
	t.Cleanup(p.close)
	return p
}

// listen serves at the same address again after close.
func (p *played) listen() {
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.addr = l.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(p.serve)}
	p.mu.Lock()
	p.server = server
	p.mu.Unlock()
	go server.Serve(l)
}

// close is the end of the process: nothing listens, and what was open is cut.
func (p *played) close() {
	p.mu.Lock()
	server, ws := p.server, p.ws
	p.mu.Unlock()
	_ = server.Close()
	if ws != nil {
		_ = ws.CloseNow()
	}
}

func (p *played) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/topics" && p.names != nil {
		p.names(w, r)
		return
	}
	if r.URL.Path != "/ws" {
		for _, name := range []string{"Content-Type", "Content-Security-Policy", "Referrer-Policy"} {
			w.Header().Set(name, p.header.Get(name))
		}
		_, _ = w.Write(p.page)
		return
	}
	p.mu.Lock()
	token := r.Header.Get("Authorization")
	if _, bearer, ok := strings.Cut(r.Header.Get("Sec-WebSocket-Protocol"), "bearer."); ok {
		token = bearer
	}
	p.tries = append(p.tries, strings.TrimSpace(r.Method+" "+token))
	refuse := p.refuse
	p.mu.Unlock()
	if refuse != nil && refuse(w, r) {
		return
	}
	if r.Method != "GET" {
		http.Error(w, "a WebSocket is opened with GET", http.StatusMethodNotAllowed)
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"tickedge.v1"}})
	if err != nil {
		p.t.Error(err)
		return
	}
	p.mu.Lock()
	p.ws = ws
	p.opened++
	p.mu.Unlock()
	p.say(`{"t":"hello","v":1,"conn":"7f3a91c2","interval":500,"heartbeat":600000,"max_topics":256}`)
	if topics := r.URL.Query().Get("topics"); topics != "" {
		p.ack("", "subscribe", strings.Split(topics, ","))
	}
	p.obey(ws)
}

// obey answers commands until the WebSocket ends.
func (p *played) obey(ws *websocket.Conn) {
	for {
		_, text, err := ws.Read(context.Background())
		if err != nil {
			return
		}
		var c struct {
			Op, Screen, Where, By string
			ID                    int
			Topics                []string
		}
		if err := json.Unmarshal(text, &c); err != nil {
			p.t.Errorf("the page said %s", text)
			return
		}
		p.mu.Lock()
		p.heard = append(p.heard, strings.Join(strings.Fields(c.Op+" "+strings.Join(c.Topics, ",")+" "+c.Screen+" "+c.Where+" "+c.By), " "))
		wrong := p.wrong
		p.mu.Unlock()
		if c.Op == "screen" && wrong != "" {
			p.say(`{"t":"error","id":%d,%s}`, c.ID, wrong)
			continue
		}
		if c.Op == "ping" {
			p.say(`{"t":"pong","id":%d,"ts":%d}`, c.ID, time.Now().UnixMilli())
			continue
		}
		p.ack(fmt.Sprintf(`"id":%d,`, c.ID), c.Op, c.Topics)
	}
}

func (p *played) ack(id, op string, topics []string) {
	var rejected []string
	p.mu.Lock()
	for i, topic := range topics {
		if why, ok := p.rejects[topic]; ok && op == "subscribe" {
			name := fmt.Sprintf(`"topic":%q`, topic)
			if strings.HasPrefix(topic, "long") {
				name = fmt.Sprintf(`"index":%d`, i)
			}
			rejected = append(rejected, `{`+name+`,`+why+`}`)
		}
	}
	p.mu.Unlock()
	p.say(`{"t":"ack",%s"op":%q,"topics":%d,"ms":500,"rejected":[%s]}`, id, op, len(topics), strings.Join(rejected, ","))
}

// say sends a message to the board.
func (p *played) say(format string, args ...any) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ws == nil {
		return
	}
	// A board that is gone is what some tests are about.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = p.ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, format, args...))
}

// tick sends rows of topics with this price.
func (p *played) tick(n int, price string, topics ...string) { p.rows("update", n, price, topics...) }

func (p *played) rows(kind string, n int, price string, topics ...string) {
	var rows []string
	for _, topic := range topics {
		rows = append(rows, fmt.Sprintf(`{"s":%q,"n":%d,"v":{"p":%s,"b":%[3]s,"a":%[3]s}}`, topic, n, price))
	}
	p.say(`{"t":%q,"ts":%d,"d":[%s]}`, kind, time.Now().UnixMilli(), strings.Join(rows, ","))
}

// refuses has requests for the WebSocket answered like this, and cuts the open one.
func (p *played) refuses(status int, reason string, header ...string) {
	p.mu.Lock()
	ws := p.ws
	p.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		http.Error(w, reason, status)
		return true
	}
	p.mu.Unlock()
	if ws != nil {
		_ = ws.CloseNow()
	}
}

func (p *played) takes() {
	p.mu.Lock()
	p.refuse = nil
	p.mu.Unlock()
}

func (p *played) has(what string, of *[]string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(*of, what)
}

// board is the live board in a browser.
type board struct {
	t   *testing.T
	ctx context.Context
}

// open opens the board with a query.
func (p *played) open(ctx context.Context, query string) board {
	p.t.Helper()
	if err := chromedp.Do(ctx, chromedp.Navigate("http://"+p.addr+"/?"+query)); err != nil {
		p.t.Fatal(err)
	}
	return board{p.t, ctx}
}

func (b board) get(js string) string { b.t.Helper(); return value(b.t, b.ctx, js) }

// is waits for JavaScript to have this value.
func (b board) is(want, js string) {
	b.t.Helper()
	last := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if last = b.get(js); last == want {
			return
		}
	}
	b.t.Fatalf("%s is %q, want %q", js, last, want)
}

// says waits for an element's text to have a part.
func (b board) says(part, selector string) {
	b.t.Helper()
	last := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if last = b.get(fmt.Sprintf(`document.querySelector(%q)?.textContent`, selector)); strings.Contains(last, part) {
			return
		}
	}
	b.t.Fatalf("%s says %q, want %q in it", selector, last, part)
}

func (b board) do(js string) {
	b.t.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[chromedp.Void](js)); err != nil {
		b.t.Fatal(err)
	}
}

func (b board) click(selector string) {
	b.t.Helper()
	b.do(fmt.Sprintf(`document.querySelector(%q).click()`, selector))
}

// apart waits until a price gets a point of its own on its line: they are half a second apart.
func (b board) apart() {
	b.t.Helper()
	const step = `Math.floor(Date.now() / 500)`
	now := b.get(step)
	redistest.Eventually(b.t, "time for another point", func() bool { return b.get(step) != now })
}

// row is a part of a topic's row.
func row(topic, part string) string { return fmt.Sprintf(`[data-topic="%s"] %s`, topic, part) }

// rowStatus is JavaScript.
func rowStatus(topic string) string {
	return fmt.Sprintf(`document.querySelector('[data-topic="%s"]')?.dataset.status`, topic)
}

// shown is JavaScript: the topics of the rows that are shown, in their order.
const shown = `[...document.querySelectorAll('#board tr')].filter(r => !r.hidden).map(r => r.dataset.topic).join()`
