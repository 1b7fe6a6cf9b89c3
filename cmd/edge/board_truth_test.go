// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tickedge/internal/broker/redis/redistest"
)

// The board says which window is in force when the edge slows it down, and what is back on it is not said to be off.
func TestBoardSaysWhatIsSo(t *testing.T) {
	t.Parallel()
	p := play(t)
	b := p.open(openBrowser(t), "topics=C1,A,C2")
	b.is("live", pageState)
	p.say(`{"t":"interval","ms":2000,"reason":"slow"}`)
	b.says("edge uses 2000 ms", "#used")
	p.say(`{"t":"interval","ms":500,"reason":"recovered"}`)
	b.is("", `document.querySelector('#used').textContent.trim()`)

	// The row that is next to the one taken away has the focus, if it is shown.
	b.do(`{ const f = document.querySelector('#filter'); f.value = 'c'; f.dispatchEvent(new Event('input')) }`)
	b.is("C1,C2", shown)
	b.click(row("C2", "[data-remove]"))
	b.is("Remove C1", `document.activeElement.getAttribute('aria-label')`)

	b.says("C2 is off the board.", "#undo")
	b.click(`[data-chip="C2"]`)
	b.is("C1,C2", shown)
	b.is("true", `document.querySelector('#undo').hidden`)

	// A topic that its source refuses may well exist.
	p.say(`{"t":"stale","ts":1732181755000,"topics":["C2"],"code":403,"reason":"its source refuses it"}`)
	b.says("Its source refuses it.", row("C2", "[data-note]"))
	b.click(row("C2", "[data-more]"))
	b.says("Its source refuses it.", "#more-body p")
	b.click("#shut")

	// What is delisted has no price, and no null for one.
	p.say(`{"t":"update","ts":1732181755000,"d":[{"s":"C1","n":900,"v":null}]}`)
	b.says("delisted", row("C1", "[data-word]"))
	b.says("Its source has withdrawn it.", row("C1", "[data-note]"))
	if said := b.get(`document.querySelector('` + row("C1", "[data-price]") + `').textContent`); strings.TrimSpace(said) != "" {
		t.Errorf("the price of a topic that is delisted is %q", said)
	}
	b.click(row("C1", "[data-more]"))
	b.says("The source has withdrawn the topic", "#more-body p")
	b.click("#shut")
	p.say(`{"t":"update","ts":1732181756000,"d":[{"s":"C1","n":901,"v":{"p":7.25}}]}`)
	b.says("7.25", row("C1", "[data-price]"))

	b.do(`document.querySelector('#topic').value = ','; document.querySelector('#add button').click()`)
	b.says("That is no name of a topic", "#toasts")
	b.do(`document.querySelector('#topic').value = Array.from({ length: 1100 }, (_, i) => 'T' + i).join(); document.querySelector('#add button').click()`)
	b.says("This page shows at most 1024 topics.", "#toasts")
	b.do(`document.querySelector('#topic').value = 'ONE-MORE'; document.querySelector('#add button').click()`)
	if said := b.get(`document.querySelector('#toasts').textContent`); strings.Contains(said, "on the board") {
		t.Errorf("it says %q", said)
	}
}

// However many topics are chosen, the page can be loaded anew, and has them again.
func TestBoardOfManyTopicsCanBeLoadedAnew(t *testing.T) {
	t.Parallel()
	redis := redistest.StartStandin(t)
	e := start(t, "-redis", "redis://"+redis.Addr(), "-page")
	ctx := openBrowser(t)
	b := board{t, ctx}
	if err := chromedp.Do(ctx, chromedp.Navigate("http://"+e.addr+"/?topics=A&other=1")); err != nil {
		t.Fatal(err)
	}
	b.is("live", pageState)
	b.do(fmt.Sprintf(`document.querySelector('#topic').value = Array.from({ length: 100 }, (_, i) => '%s' + i).join(); document.querySelector('#add button').click()`, strings.Repeat("币", 20)))
	b.is("101", `document.querySelectorAll('#board tr').length`)
	b.is("101", `document.querySelector('#topics').textContent`)
	href := b.get(`location.href`)
	res, err := http.Get(href)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK || !strings.Contains(href, "other=1") {
		t.Errorf("the page of %d bytes of address is answered with %s", len(href), res.Status)
	}
	if err := chromedp.Do(ctx, chromedp.Reload()); err != nil {
		t.Fatal(err)
	}
	b.is("live", pageState)
	b.is("101", `document.querySelectorAll('#board tr').length`)
}

// What has the focus is not under the head of the table, which stands still while rows move.
func TestBoardFocusIsInSight(t *testing.T) {
	t.Parallel()
	p := play(t)
	b := p.open(openBrowser(t), "topics=A")
	b.is("live", pageState)
	b.do(`document.querySelector('#topic').value = Array.from({ length: 60 }, (_, i) => 'T' + i).join(); document.querySelector('#add button').click()`)
	b.is("61", `document.querySelectorAll('#board tr').length`)
	b.size(1280, 700)
	b.do(`document.querySelector('[data-topic="T50"] [data-remove]').focus()`)
	for range 60 {
		if err := chromedp.Do(b.ctx, chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(8))); err != nil {
			t.Fatal(err)
		}
		if under := b.get(`(() => {
			const a = document.activeElement, top = a.getBoundingClientRect().top, end = document.querySelector('thead').getBoundingClientRect().bottom;
			return document.querySelector('#board').contains(a) && top < end - 1 ? a.closest('tr').dataset.topic + ': ' + top + ' above ' + end : '';
		})()`); under != "" {
			t.Fatal(under)
		}
	}
	// Undo of many begins at the first.
	b.click("#clear")
	b.click("#back")
	b.is("A", `document.activeElement.textContent`)
}
