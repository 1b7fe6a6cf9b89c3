// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"

	"tickedge/internal/broker/redis/redistest"
)

// chromium is the browser of all tests, which have it one after the other: it is heavy, and
// paints only the page that is in front.
var chromium struct {
	sync.Mutex
	ctx  context.Context
	quit []func()
}

// startChromium starts it for the first test that wants it.
func startChromium(t *testing.T) context.Context {
	t.Helper()
	if chromium.ctx != nil {
		return chromium.ctx
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is missing: make deps")
	}
	profile, err := os.MkdirTemp("", "edge-test-chromium")
	if err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(profile),
		chromedp.WindowSize(1280, 1000),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	ctx, quit := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, leave := chromedp.NewContext(ctx)
	chromium.quit = append(chromium.quit, leave, quit, func() { os.RemoveAll(profile) })
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	chromium.ctx = ctx
	return ctx
}

// quitChromium ends it after all tests.
func quitChromium() {
	for _, quit := range chromium.quit {
		quit()
	}
}

// openBrowser returns a page of a real Chromium. What the page writes to its console
// or throws fails the test.
func openBrowser(t *testing.T) context.Context {
	t.Helper()
	chromium.Lock()
	t.Cleanup(chromium.Unlock)
	ctx, cancel := chromedp.NewContext(startChromium(t))
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 6*patience)
	t.Cleanup(cancel)
	var mu sync.Mutex
	var complaints []any
	err := chromedp.Listen(ctx, func(ev any) {
		mu.Lock()
		defer mu.Unlock()
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			complaints = append(complaints, *ev.ExceptionDetails)
		case *runtime.EventConsoleAPICalled:
			if ev.Type == runtime.ConsoleAPICalledTypeError {
				complaints = append(complaints, ev.Args)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		if len(complaints) > 0 {
			t.Errorf("the page complained: %+v", complaints)
		}
	})
	return ctx
}

// value evaluates JavaScript to a string.
func value(t *testing.T, ctx context.Context, js string) string {
	t.Helper()
	s, err := chromedp.Run(ctx, chromedp.Evaluate[string]("String("+js+")"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	pageState = `document.querySelector('#state').dataset.state`
	feedDown  = `document.querySelector('#feed')`
	applRow   = `document.querySelector('[data-topic="AAPL"]')`
)

// The live board in a real browser: prices tick, the figures move, a price that does not
// tick is greyed, the feed and then the edge goes away and comes back, and so does the board.
func TestPage(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	publish := func() { redis.cli("EVAL", tickScript, "0") }
	e := start(t, "-redis", redis.URL(), "-page", "-interval", "100ms", "-stale-after", "1s")
	ctx := openBrowser(t)
	if err := chromedp.Do(ctx, chromedp.Navigate("http://"+e.addr+"/?topics=AAPL,MSFT")); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, "the page is live", func() bool { return value(t, ctx, pageState) == "live" })
	seen := map[string]bool{}
	redistest.Eventually(t, "AAPL ticks", func() bool {
		publish()
		seen[value(t, ctx, applRow+`?.querySelector('[data-price]')?.dataset.price`)] = true
		return len(seen) > 3
	})
	redistest.Eventually(t, "the figures move", func() bool {
		publish()
		frames := value(t, ctx, `document.querySelector('#frames').textContent`)
		return frames != "" && !strings.HasPrefix(frames, "0") && !strings.HasPrefix(frames, "–")
	})

	status := func() string { return value(t, ctx, applRow+`.dataset.status`) }
	redistest.Eventually(t, "AAPL is stale", func() bool { return status() == "stale" })
	redistest.Eventually(t, "AAPL is fresh again", func() bool { publish(); return status() == "fresh" })
	redis.Kill()
	redistest.Eventually(t, "the page says that the feed is down", func() bool {
		return value(t, ctx, feedDown+`.hidden`) == "false" && strings.HasPrefix(value(t, ctx, feedDown+`.textContent`), "The feed is down since ")
	})
	if state := value(t, ctx, pageState); state != "down" {
		t.Errorf("without its feed the page is %s", state)
	}
	redistest.Eventually(t, "AAPL says so", func() bool { return status() == "down" })
	redis.Start()
	redistest.Eventually(t, "the page says so no more", func() bool { return value(t, ctx, feedDown+`.hidden`) == "true" })

	if code := e.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	redistest.Eventually(t, "the page notices", func() bool {
		state := value(t, ctx, pageState)
		return state == "reconnecting" || state == "unreachable"
	})
	before := value(t, ctx, applRow+`.querySelector('[data-price]').dataset.price`)
	if before == "" {
		t.Error("the last price is gone from the view")
	}
	start(t, "-redis", redis.URL(), "-page", "-listen", e.addr)
	redistest.Eventually(t, "the page is live again", func() bool { return value(t, ctx, pageState) == "live" })
	redistest.Eventually(t, "AAPL ticks again", func() bool {
		publish()
		return value(t, ctx, applRow+`.querySelector('[data-price]').dataset.price`) != before &&
			value(t, ctx, applRow+`.dataset.status`) == "fresh"
	})
}

// A topic that the edge has taken away says so in its row.
func TestPageLosesATopic(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	e := start(t, "-redis", redis.URL(), "-page", "-max-topics", "2", "-max-topics-total", "2")
	ctx := openBrowser(t)
	if err := chromedp.Do(ctx, chromedp.Navigate("http://"+e.addr+"/?topics=AAPL,MSFT")); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, "the page has both", func() bool { return e.metric("edge_topics") == "2" })

	// Another address asks for another one: the page has the most without a value.
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	other := &http.Client{Transport: &http.Transport{DialContext: d.DialContext}}
	dialing, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(dialing, "ws://"+e.addr+"/ws?topics=OTHER", &websocket.DialOptions{HTTPClient: other})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	note := `[...document.querySelectorAll('[data-topic]')].filter(r => r.dataset.status === 'rejected').map(r => r.textContent).join()`
	redistest.Eventually(t, "a row says why", func() bool { return strings.Contains(value(t, ctx, note), "the edge is full of topics") })
}

// tickScript publishes a new price of AAPL.
const tickScript = `
local p = redis.call('INCRBY', 'n', 7) % 100 + 100
local v = '{"p":' .. p .. '.25,"b":' .. p .. '.20,"a":' .. p .. '.30}'
redis.call('SET', 'price:AAPL', v)
redis.call('PUBLISH', 'channel:prices:AAPL', v)`
