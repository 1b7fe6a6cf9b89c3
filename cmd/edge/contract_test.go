// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"tickedge/internal/contracttest"
)

// contractClient notes the kinds of all that it reads.
type contractClient struct {
	*client
	seen *contracttest.Seen
}

// until reads up to a message of a kind.
func (c contractClient) until(kind string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, b, err := c.ws.Read(ctx)
		if err == nil {
			err = c.seen.Receive(b)
		}
		if err != nil {
			c.t.Fatalf("before %s: %v", kind, err)
		}
		if contracttest.Kind(b) == kind {
			return
		}
	}
}

// What an edge sends by its socket is what docs/schemas has. The two kinds that only a crowd
// brings about, interval and unsubscribed, are seen in the scenarios of fanout.
func TestContract(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	redis.cli("SET", "price:AAPL", `{"p":189.9}`)
	redis.cli("SET", "price:BAD", `no JSON`)
	e := start(t, "-redis", redis.URL(), "-heartbeat", "1s", "-drain", "0s")
	var seen contracttest.Seen
	c := contractClient{e.dial(""), &seen}
	c.until("hello")
	c.send(`{"op":"subscribe","topics":["AAPL","BAD","a b"],"id":1}`)
	c.until("ack")
	c.until("snapshot")
	redis.cli("PUBLISH", "channel:prices:AAPL", `{"p":190.1}`)
	c.until("update")
	contractClient{e.dial("?resume=&topics=AAPL"), &seen}.until("resume")
	for _, step := range [][2]string{
		{`{"op":"list","id":"x"}`, "topics"}, {`{"op":"interval","ms":1000}`, "ack"}, {`{"op":"auth","token":"…"}`, "ack"},
		{`{"op":"later"}`, "error"}, {`{"op":"ping","id":1.5}`, "pong"}, {`"ping"`, "pong-word"},
		{`{"op":"unsubscribe","topics":["AAPL"]}`, "ack"},
	} {
		c.send(step[0])
		c.until(step[1])
	}
	c.until("heartbeat")
	again := contractClient{e.dial("?topics=BAD,%ff"), &seen}
	again.until("stale")
	redis.Kill()
	again.until("feed")
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	again.until("bye")
	want := []string{"hello", "ack", "error", "topics", "snapshot", "update", "resume", "feed", "stale", "heartbeat", "pong", "pong-word", "bye"}
	if missing := seen.Missing(want); len(missing) > 0 {
		t.Errorf("%q were not seen", missing)
	}
}

// described is what openapi.yaml says of a response.
type described struct {
	Ref     string `yaml:"$ref"`
	Headers map[string]struct {
		Ref      string `yaml:"$ref"`
		Required bool
	}
	Content map[string]struct {
		Schema struct {
			Ref string `yaml:"$ref"`
		}
	}
}

// openAPI is as much of openapi.yaml as answers are held against.
type openAPI struct {
	Paths map[string]struct {
		Get struct{ Responses map[string]described }
	}
	Components struct {
		Responses map[string]described
		Headers   map[string]struct{ Required bool }
	}
}

// check holds an answer against the response of that path and status. Content-Length and
// Content-Type are said by the content.
func (doc *openAPI) check(path string, res *http.Response, body string) error {
	d, ok := doc.Paths[path].Get.Responses[strconv.Itoa(res.StatusCode)]
	if !ok {
		return fmt.Errorf("%s has no %d", path, res.StatusCode)
	}
	if d.Ref != "" {
		d = doc.Components.Responses[filepath.Base(d.Ref)]
	}
	known := map[string]bool{"Content-Length": true, "Content-Type": true}
	for name, h := range d.Headers {
		required := h.Required
		if h.Ref != "" {
			required = doc.Components.Headers[filepath.Base(h.Ref)].Required
		}
		if known[http.CanonicalHeaderKey(name)] = true; required && res.Header.Get(name) == "" {
			return fmt.Errorf("%d has no %s", res.StatusCode, name)
		}
	}
	for name := range res.Header {
		if !known[name] {
			return fmt.Errorf("%d has %s, which is not described", res.StatusCode, name)
		}
	}
	kind := res.Header.Get("Content-Type")
	content, ok := d.Content[kind]
	if ok != (body != "") {
		return fmt.Errorf("%d has %q of type %q", res.StatusCode, body, kind)
	}
	if schema := strings.TrimSuffix(filepath.Base(content.Schema.Ref), ".json"); content.Schema.Ref != "" {
		return contracttest.Check(contracttest.Strict, schema, []byte(body))
	}
	return nil
}

// answer sends the text of a request and reads its response. Connection is among its headers.
func answer(t *testing.T, addr, request string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%.60q: %v", request, err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusSwitchingProtocols {
		return res, ""
	}
	if res.Header.Get("Content-Type") == "text/event-stream" {
		return res, "events"
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%.60q: %v", request, err)
	}
	return res, string(body)
}

func TestOpenAPI(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc openAPI
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(tokenSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	const upgrade = "Host: e\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
	open := start(t, "-demo", "-demo-symbols", "AAPL", "-origin", "https://app.example", "-list-topics", "source", "-fetch-timeout", "20s")
	closed := start(t, "-demo", "-jwt-secret-file", secret, "-list-topics", "held")
	crowded := start(t, "-demo", "-max-conns-per-ip", "1")
	full := start(t, "-demo", "-max-conns", "1")
	crowded.dial("").next("hello")
	full.dial("").next("hello")
	unfed := start(t, "-redis", "redis://127.0.0.1:1", "-ready-needs-feed")
	limited := start(t, "-demo", "-request-rate-per-ip", "1", "-request-burst-per-ip", "1", "-list-topics", "held")
	const get = " HTTP/1.1\r\nHost: e\r\nOrigin: https://app.example\r\n"
	res, _ := answer(t, open.addr, "GET /prices?topics=AAPL"+get+"\r\n")
	tag := "If-None-Match: *, " + res.Header.Get("ETag") + "\r\n"
	seen := make(map[string]bool)
	// ask holds an answer against the document. Unless it is the status that is wanted, that is an error.
	ask := func(e *edge, path, request string, want int) (status int) {
		res, body := answer(t, e.addr, request)
		if res.Close && res.Header.Get("Connection") == "" {
			res.Header.Set("Connection", "close") // net/http takes it away.
		}
		if want != 0 && res.StatusCode != want {
			t.Errorf("%.60q is answered with %d, want %d", request, res.StatusCode, want)
		}
		if err := doc.check(path, res, body); err != nil {
			t.Errorf("%.60q: %v", request, err)
		}
		seen[path+" "+strconv.Itoa(res.StatusCode)] = true
		return res.StatusCode
	}
	for _, tt := range []struct {
		e             *edge
		path, request string
		want          int
	}{
		{open, "/ws", "GET /ws HTTP/1.1\r\n" + upgrade + "Sec-WebSocket-Protocol: tickedge.v1\r\n\r\n", 101},
		{open, "/ws", "GET /ws?interval=1 HTTP/1.1\r\n" + upgrade + "\r\n", 400},
		{closed, "/ws", "GET /ws HTTP/1.1\r\n" + upgrade + "\r\n", 401},
		{closed, "/ws", "GET /ws?token=x HTTP/1.1\r\n" + upgrade + "\r\n", 401},
		{open, "/ws", "GET /ws HTTP/1.1\r\n" + upgrade + "Origin: https://evil.example\r\n\r\n", 403},
		{open, "/ws", "GET /other HTTP/1.1\r\nHost: e\r\n\r\n", 404},
		{open, "/ws", "POST /ws HTTP/1.1\r\nHost: e\r\n\r\n", 405},
		{open, "/ws", "GET /ws HTTP/1.1\r\nHost: e\r\n\r\n", 426},
		{crowded, "/ws", "GET /ws HTTP/1.1\r\n" + upgrade + "\r\n", 429},
		{open, "/ws", "GET /ws HTTP/1.1\r\nHost: e\r\nX: " + strings.Repeat("x", 9000) + "\r\n\r\n", 431},
		{full, "/ws", "GET /ws HTTP/1.1\r\n" + upgrade + "\r\n", 503},
		{open, "/ws", "GET /ws HTTP/2.0\r\nHost: e\r\n\r\n", 505},
		{open, "/health", "GET /health HTTP/1.1\r\nHost: e\r\n\r\n", 200},
		{open, "/health", "GET /health HTTP/1.1\r\nHost: e\r\nHost: e\r\n\r\n", 400},
		{open, "/health", "PUT /health HTTP/1.1\r\nHost: e\r\n\r\n", 405},
		{unfed, "/health", "GET /health HTTP/1.1\r\nHost: e\r\n\r\n", 503},
		{open, "/sse", "GET /sse?topics=AAPL" + get + "\r\n", 200},
		{open, "/sse", "GET /sse" + get + "\r\n", 400},
		{closed, "/sse", "GET /sse?topics=AAPL HTTP/1.1\r\nHost: e\r\n\r\n", 401},
		{open, "/sse", "GET /sse?topics=AAPL HTTP/1.1\r\nHost: e\r\nOrigin: https://evil.example\r\n\r\n", 403},
		{open, "/sse", "POST /sse?topics=AAPL" + get + "\r\n", 405},
		{open, "/prices", "GET /prices?topics=AAPL,NONE,a%20b" + get + "\r\n", 200},
		{unfed, "/prices", "GET /prices?topics=AAPL HTTP/1.1\r\nHost: e\r\n\r\n", 200},
		{open, "/prices", "GET /prices?topics=AAPL" + get + tag + "\r\n", 304},
		{open, "/prices", "GET /prices" + get + "\r\n", 400},
		{open, "/prices/{topic}", "GET /prices/AAPL" + get + "\r\n", 200},
		{open, "/prices/{topic}", "GET /prices/AAPL" + get + tag + "\r\n", 304},
		{open, "/prices/{topic}", "GET /prices/NONE" + get + "\r\n", 404},
		{open, "/prices/{topic}", "GET /prices/a%20b" + get + "\r\n", 422},
		{unfed, "/prices/{topic}", "GET /prices/AAPL HTTP/1.1\r\nHost: e\r\n\r\n", 503},
		{open, "/topics", "GET /topics" + get + "\r\n", 200},
		{open, "/topics", "GET /topics?limit=0" + get + "\r\n", 400},
		{unfed, "/topics", "GET /topics HTTP/1.1\r\nHost: e\r\n\r\n", 404},
	} {
		ask(tt.e, tt.path, tt.request, tt.want)
	}
	for path, target := range map[string]string{"/prices": "/prices?topics=AAPL", "/prices/{topic}": "/prices/AAPL?x", "/topics": "/topics?x"} {
		ask(open, path, "GET "+target+"&interval=1"+get+"\r\n", 400)
		ask(closed, path, "GET "+target+" HTTP/1.1\r\nHost: e\r\n\r\n", 401)
		ask(open, path, "GET "+target+" HTTP/1.1\r\nHost: e\r\nOrigin: https://evil.example\r\n\r\n", 403)
		ask(open, path, "PUT "+target+get+"\r\n", 405)
		for range 1000 { // Two come within a second, sooner or later.
			if ask(limited, path, "GET "+target+" HTTP/1.1\r\nHost: e\r\n\r\n", 0) == 429 {
				break
			}
		}
	}
	for path, item := range doc.Paths {
		switch path {
		case "/history/{symbol}": // Of marketdata: internal/history holds its answers against the document.
			continue
		case "/alerts", "/alerts/{id}", "/alerts/fired", "/price/{symbol}": // Of alerts: internal/alertapi does the same.
			continue
		}
		for status := range item.Get.Responses {
			if !seen[path+" "+status] {
				t.Errorf("%s %s is described and was not seen", path, status)
			}
		}
	}
}
