// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"tickedge/internal/app"
	program "tickedge/internal/app/demo"
	"tickedge/internal/logtest"
	"tickedge/internal/nettest"
)

const patience = 60 * time.Second

// start runs a demo until the test ends, and returns where it is.
func start(t *testing.T, args ...string) (addr string) {
	t.Helper()
	addr = nettest.FreeAddr(t)
	ctx, cancel := context.WithCancel(context.Background())
	var log logtest.Log
	ended := make(chan int, 1)
	go func() {
		ended <- program.Main(ctx, append([]string{"-listen=" + addr, "-volatility=50"}, args...), strings.NewReader(""), io.Discard, &log)
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != app.OK {
			t.Errorf("exit code %d", code)
		}
		if t.Failed() {
			t.Logf("log:\n%s", &log)
		}
	})
	return addr
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so in %v: %s", patience, what)
		}
	}
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func post(t *testing.T, url, origin, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if origin != "" {
		req.Header.Set("Origin", origin)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// page is a page of Chromium.
type page struct {
	t   *testing.T
	ctx context.Context
}

func open(t *testing.T, url string) page {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is missing: make deps")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 1000), chromedp.Flag("disable-background-networking", true))
	ctx, quit := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(quit)
	ctx, leave := chromedp.NewContext(ctx)
	t.Cleanup(leave)
	ctx, cancel := context.WithTimeout(ctx, 4*patience)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	return page{t, ctx}
}

func (p page) value(js string) string {
	p.t.Helper()
	text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string]("String("+js+")"))
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

func (p page) data(name string) float64 {
	v, _ := strconv.ParseFloat(p.value("document.getElementById('chart').dataset."+name), 64)
	return v
}

// The board shows the candles of the simulated market: those of the history, and the one that moves. A page that is loaded
// anew has the same ones.
func TestCandles(t *testing.T) {
	addr := start(t)
	eventually(t, "the board is there", func() bool { status, _ := get(t, "http://"+addr+"/"); return status == http.StatusOK })
	eventually(t, "there are bars", func() bool {
		_, body := get(t, "http://"+addr+"/history/AAPL?tf=1s")
		return strings.Count(body, `"t":`) > 4
	})
	p := open(t, "http://"+addr+"/?symbol=AAPL") // It is a minute old at most: bars of seconds are shown.
	eventually(t, "bars are shown", func() bool {
		return p.data("bars") > 4 && p.value("document.getElementById('chart').dataset.state") == "live"
	})
	n, last := p.data("bars"), p.data("last")
	eventually(t, "the chart goes on", func() bool { return p.data("last") > last && p.data("bars") > n })
	first := p.data("first")

	if status, answer := post(t, "http://"+addr+"/market", "", `{"paused":true}`); status != http.StatusOK || !strings.Contains(answer, `"paused":true`) {
		t.Fatalf("%d %s", status, answer)
	}
	// What is shown is what the history says, once the last trade is in it.
	var bars []map[string]json.Number
	same := func() bool {
		_, body := get(t, "http://"+addr+"/history/AAPL?tf=1s&limit=5000")
		var a struct {
			Bars []map[string]json.Number `json:"bars"`
			Open map[string]json.Number   `json:"open"`
		}
		if err := json.Unmarshal([]byte(body), &a); err != nil {
			t.Fatal(err)
		}
		if bars = a.Bars; a.Open != nil {
			bars = append(bars, a.Open)
		}
		b := bars[len(bars)-1]
		return fmt.Sprint(p.data("bars")) == fmt.Sprint(len(bars)) && p.value("document.getElementById('chart').dataset.last") == string(b["t"]) &&
			p.value("document.getElementById('chart').dataset.close") == string(b["c"])
	}
	eventually(t, "the chart shows what the history has", same)
	if err := chromedp.Do(p.ctx, chromedp.Reload()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the same is shown after the page was loaded anew", func() bool { return p.data("first") == first && same() })
	p.value("document.querySelector('[name=tf][value=\"1m\"]').click()")
	eventually(t, "the minute is shown", func() bool {
		return p.data("bars") >= 1 && p.data("last") <= last+60_000 && int64(p.data("last"))%60_000 == 0
	})
}

// A page of another origin may not change the market, and what is no command is refused.
func TestMarket(t *testing.T) {
	addr := start(t)
	eventually(t, "the market is there", func() bool { status, _ := get(t, "http://"+addr+"/market"); return status == http.StatusOK })
	for _, c := range []struct {
		origin, body string
		status       int
	}{
		{"http://" + addr, `{"speed":5}`, 200},
		{"https://evil.example", `{"speed":5}`, 403},
		{"", `{"speed":500}`, 400},
		{"", `{"spede":5}`, 400},
		{"", `{}`, 400},
		{"", strings.Repeat(" ", 2000), 413},
	} {
		if status, answer := post(t, "http://"+addr+"/market", c.origin, c.body); status != c.status {
			t.Errorf("%q of %q: %d %s, want %d", c.body, c.origin, status, answer, c.status)
		}
	}
	if _, body := get(t, "http://"+addr+"/market"); !strings.Contains(body, `"speed":5`) {
		t.Errorf("the market says %s", body)
	}
}
