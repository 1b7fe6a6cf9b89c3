// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"tickedge/internal/broker/redis/redistest"
)

// offered is JavaScript: the names that the field offers.
const offered = `[...document.querySelectorAll('#known option')].map(o => o.value).join()`

// typed is JavaScript that types into the field.
func typed(text string) string {
	return fmt.Sprintf(`{ const f = document.querySelector('#topic'); f.value = %q; f.dispatchEvent(new Event('input')) }`, text)
}

// Where the edge lists its names the board offers them: the first dozen where it is empty, and as one types.
func TestBoardOffersNames(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 70 {
		names = append(names, fmt.Sprintf("N%02d", i))
	}
	e := start(t, "-demo", "-list-topics", "held", "-demo-symbols", strings.Join(append(names, "fx:EUR", "fx:GBP"), ","))
	ctx := openBrowser(t)
	b := board{t, ctx}
	if err := chromedp.Do(ctx, chromedp.Navigate("http://"+e.addr+"/?topics="+strings.Join(append(names, "fx:EUR", "fx:GBP"), ","))); err != nil {
		t.Fatal(err)
	}
	b.is("live", pageState)
	redistest.Eventually(t, "the edge has values of all", func() bool {
		return b.get(`document.querySelectorAll('[data-status=fresh]').length`) == "72"
	})
	listed := func() bool {
		b.do(`window.n = ''; fetch('/topics?limit=1000').then(r => r.json()).then(r => { n = r.topics.length })`)
		b.is("false", `window.n === ''`)
		return b.get(`window.n`) == "72"
	}
	redistest.Eventually(t, "and lists them", listed)

	// What is on the board is not offered, and no more than fifty.
	b.do(typed("N"))
	b.is("", offered)
	b.click("#clear")
	b.says("start with what this edge has: "+strings.Join(names[:12], ", ")+".", "#empty")
	b.do(typed("fx"))
	b.is("fx:EUR,fx:GBP", offered)
	b.do(typed("A, N0"))
	b.is("A, "+strings.Join(names[:10], ",A, "), offered)
	b.do(typed("N"))
	b.is(strings.Join(names[:50], ","), offered)
	b.click("#usual")
	b.is(strings.Join(names[:12], ","), shown)
	b.do(typed("N1"))
	b.is(strings.Join(names[12:20], ","), offered)
}

// Where it lists none the board offers what it knows, and asks once.
func TestBoardWithoutNames(t *testing.T) {
	t.Parallel()
	p := play(t)
	asked := make(chan string, 100)
	p.names = func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.RawQuery
		http.Error(w, "names are listed with the flag -list-topics only", http.StatusNotFound)
	}
	b := p.open(openBrowser(t), "topics=")
	b.is("idle", pageState)
	b.is("true", `document.querySelector('#banner').hidden`)
	b.is("1", `performance.getEntriesByType('resource').filter(e => e.name.includes('/topics') && e.responseEnd).length`)
	b.says("start with the usual ones", "#empty")
	before := b.get(offered)
	if !strings.HasPrefix(before, "AAPL,MSFT,") {
		t.Errorf("it offers %s", before)
	}
	b.do(typed("A"))
	b.wait(`new Promise(r => setTimeout(() => r(''), 500))`) // Three times the pause; a slow machine only makes it blind.
	b.is(before, offered)
	b.click("#usual")
	b.is("live", pageState)
	b.is("12", `document.querySelectorAll('#board tr').length`)
	b.click("#clear")
	if n := len(asked); n != 1 {
		t.Errorf("it asked %d times", n)
	}
}
