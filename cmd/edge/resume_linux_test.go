// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"

	"tickedge/internal/broker/redis/redistest"
)

// A browser's EventSource comes back by itself, here to another edge, and is sent what has changed since its last id.
func TestResumeOfABrowser(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	for _, topic := range []string{"A", "B", "C"} {
		redis.price(topic, "1")
	}
	args := []string{"-redis", redis.URL(), "-page", "-resume-tolerance", "500ms"}
	one, two := start(t, args...), start(t, args...)
	for _, e := range []*edge{one, two} {
		redistest.Eventually(t, "the edge is ready", func() bool { code, _ := e.get("/readyz"); return code == http.StatusOK })
	}
	stays := &resumer{t: t, name: "who stays", request: func(string) (string, string, []string) { return "?topics=A,B,C", "", nil }}
	stays.connect(two)
	way := newRelay(t, one.addr)

	browser := openBrowser(t)
	js := func(text string) string { t.Helper(); return value(t, browser, text) }
	if err := chromedp.Do(browser, chromedp.Navigate("http://"+way.listener.Addr().String()+"/")); err != nil {
		t.Fatal(err)
	}
	js(`(() => {
		window.opened = 0;
		window.source = new EventSource('/sse?topics=A,B,C&interval=100&events=plain');
		source.onopen = () => { opened++; window.resumed = undefined; window.rows = {} };
		source.onmessage = (e) => {
			const m = JSON.parse(e.data);
			if (m.t === 'ack') resumed = m.resumed;
			if (e.lastEventId) window.last = e.lastEventId;
			for (const row of m.d ?? []) (rows[row.s] ??= []).push(row.v);
		};
	})()`)
	redistest.Eventually(t, "the browser has all rows", func() bool { return js(`Object.keys(window.rows ?? {}).sort()`) == "A,B,C" })
	who := &resumer{t: t, name: "the browser"}
	who.takenAt(two, redis, func() string { return js(`window.last ?? ""`) })

	way.cut()
	way.turn(two.addr)
	redis.price("A", "2")
	redistest.Eventually(t, "A has changed", func() bool { return stays.has("A", "2") })
	way.admit()
	redistest.Eventually(t, "the browser has what has changed", func() bool { return js(`rows.A?.at(-1)`) == "2" })
	redis.price("C", "3")
	redistest.Eventually(t, "the browser has what changes now", func() bool { return js(`rows.C?.at(-1)`) == "3" })
	if got := js(`[opened, resumed, rows.A, rows.B]`); got != "2,true,2," {
		t.Errorf("opened, resumed, rows of A and B: %s", got)
	}
	js(`source.close()`)
	stays.leave()
}
