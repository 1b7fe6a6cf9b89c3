// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"tickedge/internal/broker/redis/redistest"
)

// The client port says what /readyz of the admin port says.
func TestHealthPath(t *testing.T) {
	t.Parallel()
	redis := redistest.New(t)
	e := start(t, "-redis", redis.URL(), "-health-path", "/healthz", "-ready-needs-feed", "-origin", "https://app.example")
	check := func(method string) int {
		req, err := http.NewRequest(method, "http://"+e.addr+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "https://evil.example")
		res, err := (&http.Client{Timeout: patience}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if body, err := io.ReadAll(res.Body); err != nil || len(body) > 0 {
			t.Errorf("answered with %q (%v)", body, err)
		}
		return res.StatusCode
	}
	both := func(want int) {
		t.Helper()
		redistest.Eventually(t, fmt.Sprintf("both say %d", want), func() bool {
			code, _ := e.get("/readyz")
			return code == want && check("GET") == want && check("HEAD") == want && check("OPTIONS") == want
		})
	}
	both(503)
	redis.Start()
	both(200)
	redis.Kill()
	both(503)
	redis.Start()
	both(200)
	if n := e.metric(`edge_connections_refused_total{reason="unavailable"}`); n != "0" {
		t.Errorf("%s are counted as refused", n)
	}
	if n := e.metric("edge_health_checks_total"); n == "0" {
		t.Error("no health checks are counted")
	}
}

// wiretap passes connections on to an edge, and keeps what clients say.
type wiretap struct {
	net.Listener
	mu   sync.Mutex
	said bytes.Buffer
}

func (w *wiretap) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.said.Write(p)
}

func (w *wiretap) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.said.String()
}

func newWiretap(t *testing.T, to string) *wiretap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wiretap{Listener: l}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	pass := func(client net.Conn) {
		defer client.Close()
		edge, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer edge.Close()
		stop := context.AfterFunc(ctx, func() { client.Close() })
		defer stop()
		all.Go(func() {
			_, _ = io.Copy(client, edge)
			client.Close()
		})
		_, _ = io.Copy(io.MultiWriter(w, edge), client)
	}
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { pass(c) })
		}
	})
	t.Cleanup(func() {
		cancel()
		l.Close()
		all.Wait()
	})
	return w
}

// Browsers and other clients bring their token as a sub-protocol, by libraries that know
// nothing of us. It is in no URL and in no log.
func TestTokenAsSubprotocol(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	secret := t.TempDir() + "/secret"
	if err := os.WriteFile(secret, []byte(tokenSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	e := start(t, "-redis", redis.URL(), "-page", "-path", "/feed", "-path", "/prices/ws", "-interval", "100ms", "-log-level", "debug", "-jwt-secret-file", secret)
	token := signed("HS256", fmt.Sprintf(`{"sub":"alice","exp":%d}`, time.Now().Add(time.Hour).Unix()), withSecret)
	publish := func() { redis.cli("EVAL", tickScript, "0") }
	publish()

	for name, args := range map[string][]string{
		"node": {"node", "testdata/client.js"}, "python": {"/usr/bin/python3", "testdata/client.py"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, args[0], append(args[1:], "ws://"+e.addr+"/prices/ws/", token, "snapshot")...)
			cmd.WaitDelay = time.Second
			cmd.Env = append(os.Environ(), "NODE_PATH=/usr/share/nodejs")
			out, err := cmd.CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte(`"t":"snapshot"`)) || !bytes.Contains(out, []byte("1000")) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}

	tap := newWiretap(t, e.addr)
	ctx := openBrowser(t)
	if err := chromedp.Do(ctx, chromedp.Navigate("http://"+tap.Addr().String()+"/?topics=AAPL#")); err != nil {
		t.Fatal(err)
	}
	// A page of its own, as the README has it.
	value(t, ctx, `(() => {
		const ws = window.ws = new WebSocket('ws://' + location.host + '/feed?topics=AAPL', ['tickedge.v1', 'bearer.`+token+`']);
		ws.onmessage = e => { window.heard = (window.heard || '') + e.data; };
	})()`)
	redistest.Eventually(t, "the browser has a row", func() bool { publish(); return strings.Contains(value(t, ctx, `window.heard`), `"t":"update"`) })
	if protocol := value(t, ctx, `window.ws.protocol`); protocol != "tickedge.v1" {
		t.Errorf("the browser was told %q", protocol)
	}
	// The board asks for a token, and brings it in the same way to the first path.
	value(t, ctx, `(() => {
		document.querySelector('#token').value = '`+token+`';
		document.querySelector('#token').form.requestSubmit();
	})()`)
	redistest.Eventually(t, "the board is live", func() bool { return value(t, ctx, pageState) == "live" })
	said := tap.String()
	if strings.Contains(said, "token=") || strings.Count(said, "Sec-WebSocket-Protocol: tickedge.v1, bearer."+token) < 2 || !strings.Contains(said, "GET /feed?interval=") {
		t.Errorf("the browser said\n%s", said)
	}
	if log := e.stderr.String(); strings.Contains(log, token) || strings.Contains(log, "bearer.") || !strings.Contains(log, "connection opened") {
		t.Errorf("the log has a token, or nothing:\n%s", log)
	}
}
