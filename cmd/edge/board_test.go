// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tickedge/internal/broker/redis/redistest"
)

// While the feed is down, the pill, the title and the rows say so, and so does a row whose feed alone is.
func TestBoardSaysThatTheFeedIsDown(t *testing.T) {
	t.Parallel()
	p := play(t)
	b := p.open(openBrowser(t), "topics=AAPL,fx:EURUSD,fxe,NOSUCH")
	b.is("live", pageState)
	p.rows("snapshot", 1, "10.5", "AAPL", "fx:EURUSD", "fxe")
	b.is("fresh", rowStatus("AAPL"))

	p.say(`{"t":"feed","state":"down","since":1732181744000,"topics":"fx:*,*x*y"}`)
	b.is("part", pageState)
	b.is("down", rowStatus("fx:EURUSD"))
	b.says("feed down", row("fx:EURUSD", "[data-word]"))
	for _, topic := range []string{"AAPL", "fxe"} {
		b.is("fresh", rowStatus(topic))
	}
	b.is("Feed partly down: Tickedge live board", "document.title")
	b.says("The feed of fx:*, *x*y is down since ", "#feed")

	p.say(`{"t":"feed","state":"down","since":1732181744000}`)
	b.is("down", pageState)
	b.says("feed down", "#state")
	b.is("Feed down: Tickedge live board", "document.title")
	b.says("feed down", row("AAPL", "[data-word]"))
	b.says("No value yet, and the feed is down.", row("NOSUCH", "[data-note]"))
	b.says("Feed down. The feed of fx:*, *x*y is down since ", "#announce")

	p.say(`{"t":"feed","state":"up","since":1732181751000}`)
	p.say(`{"t":"feed","state":"up","since":1732181751000,"topics":"fx:*,*x*y"}`)
	b.is("live", pageState)
	b.is("fresh", rowStatus("AAPL"))
	b.is("", `document.querySelector('[data-topic="AAPL"] [data-word]').textContent`)
	b.is("Tickedge live board", "document.title")
	b.is("true", `document.querySelector('#feed').hidden`)
}

// A row says in a word that it is stale, and why if the edge says it; and what it has once the edge is gone.
func TestBoardSaysWhatARowIs(t *testing.T) {
	t.Parallel()
	p := play(t)
	p.rejects["BAD"] = `"code":403,"reason":"the token does not allow this topic"`
	p.rejects["long"] = `"code":422,"reason":"not a topic name"`
	b := p.open(openBrowser(t), "topics=AAPL,MSFT,NOSUCH,BAD,long,%5EGSPC,币安")
	p.rows("snapshot", 1, "10.5", "AAPL", "MSFT", "^GSPC", "币安")
	b.is("fresh", rowStatus("币安"))
	b.is("fresh", rowStatus("^GSPC"))
	p.say(`{"t":"stale","ts":1732181755000,"topics":["AAPL"]}`)
	p.say(`{"t":"stale","ts":1732181755000,"topics":["MSFT","NOSUCH"],"code":403,"reason":"its source refuses it"}`)
	b.is("stale", rowStatus("AAPL"))
	b.says("stale", row("AAPL", "[data-word]"))
	b.says("its source refuses it", row("MSFT", "[data-why]"))
	b.says("Its source refuses it.", row("NOSUCH", "[data-note]"))
	b.says("403 the token does not allow this topic", row("BAD", "[data-note]"))
	b.says("422 not a topic name", row("long", "[data-note]"))
	p.tick(2, "10.6", "AAPL", "MSFT")
	b.is("fresh", rowStatus("MSFT"))
	b.is("", `document.querySelector('[data-topic="MSFT"] [data-why]').textContent`)

	// Ticks are no news for a screen reader.
	b.do(`window.said = 0; for (const el of document.querySelectorAll('[role=status], [aria-live]'))
		new MutationObserver(() => said++).observe(el, { childList: true, characterData: true, subtree: true })`)
	for n := range 5 {
		price := fmt.Sprint(10.7 + float64(n))
		p.tick(n+3, price, "AAPL", "MSFT")
		b.is(price, `document.querySelector('[data-topic="AAPL"] [data-price]').dataset.price`)
	}
	b.is("0", `said`)

	// The name opens all of the row, and Escape leaves it.
	b.click(row("MSFT", "[data-more]"))
	b.is("true", `document.querySelector('#more').open`)
	b.says("MSFT", "#more-title")
	b.says(`"p": 14.7`, "#more-body")
	if err := chromedp.Do(b.ctx, chromedp.KeyEvent(kb.Escape)); err != nil {
		t.Fatal(err)
	}
	b.is("false", `document.querySelector('#more').open`)

	p.close()
	b.is("lost", rowStatus("AAPL"))
	b.says("last known", row("AAPL", "[data-word]"))
	b.is("14.7", `document.querySelector('[data-topic="AAPL"] [data-price]').dataset.price`)
}

// A name without a tick is told what that may mean. It is asked for as it was written.
func TestBoardSaysThatATopicHasNoTick(t *testing.T) {
	t.Parallel()
	p := play(t)
	b := p.open(openBrowser(t), "topics=AAPL")
	b.is("live", pageState)
	b.do(`document.querySelector('#topic').value = 'btc-usd M&M.NS;'; document.querySelector('#add button').click()`)
	redistest.Eventually(t, "the names are asked for as they are", func() bool { return p.has("subscribe btc-usd,M&M.NS;", &p.heard) })
	b.says("No such topic, or no tick yet; names are case-sensitive.", row("btc-usd", "[data-note]"))
	b.says("no value", row("btc-usd", "[data-word]"))
	p.tick(1, "10.5", "btc-usd")
	b.is("fresh", rowStatus("btc-usd"))
	b.is("", `document.querySelector('[data-topic="btc-usd"] [data-note]').textContent`)
}

// An edge that is gone is unreachable. One that answers and refuses is not, and the board says why.
func TestBoardTellsUnreachableFromRefused(t *testing.T) {
	t.Parallel()
	p := play(t)
	b := p.open(openBrowser(t), "topics=AAPL")
	b.is("live", pageState)
	p.rows("snapshot", 1, "10.5", "AAPL")
	p.close()
	b.is("unreachable", pageState)
	b.says("Nothing answers at "+p.addr, "#reason")
	b.is("Unreachable: Tickedge live board", "document.title")
	b.says("Unreachable. Nothing answers", "#announce")
	// It is said once, and not with each try.
	b.do(`window.said = 0; new MutationObserver(() => said++).observe(document.querySelector('#announce'), { childList: true, characterData: true, subtree: true });
		window.tries = 0; new MutationObserver(() => tries++).observe(document.querySelector('#state'), { attributeFilter: ['data-trying'] })`)
	b.is("true", `tries > 3`)
	b.is("0", `said`)

	p.refuses(429, "too many connections from your address, close some or try again later", "Retry-After", "1")
	p.listen()
	b.click("#retry")
	b.is("refused", pageState)
	b.says("HTTP 429: too many connections from your address", "#reason")
	b.is("Refused: Tickedge live board", "document.title")
	for _, tc := range []struct {
		status      int
		text, state string
		want        string
	}{
		{403, "this page (Origin) may not connect here", "refused", "HTTP 403: this page (Origin) may not connect here"},
		{502, "Bad Gateway", "unreachable", "A proxy answers, and no edge behind it (HTTP 502"},
		{503, "going down, try again later", "refused", "HTTP 503: going down, try again later"},
		{404, "not found", "refused", "There is no WebSocket at /ws (HTTP 404"},
	} {
		p.refuses(tc.status, tc.text)
		b.click("#retry")
		b.says(tc.want, "#reason")
		b.is(tc.state, pageState)
		b.is("false", `document.querySelector('#retry').hidden`)
	}

	// Without a good token another try changes nothing: it is not made.
	p.refuses(401, "the token has expired")
	b.click("#retry")
	b.says("The edge wants a token (HTTP 401: the token has expired)", "#reason")
	b.is("refused", pageState)
	b.is("refused", `document.querySelector('#state').textContent`)
	p.takes()
	b.do(`document.querySelector('#token').value = 'a.b.c'; document.querySelector('#retry').click()`)
	b.is("live", pageState)
	if !p.has("GET a.b.c", &p.tries) {
		t.Errorf("no handshake had the token: %q", p.tries)
	}
	// A conn that the edge closes for its token, too.
	p.mu.Lock()
	ws := p.ws
	p.mu.Unlock()
	_ = ws.Close(4501, "the token has expired")
	b.is("refused", pageState)
	b.says("4501 the token has expired", "#reason")
	b.is("false", `document.querySelector('#token').parentNode.hidden`)
}

// The line of a price is broken where it was not known, and coloured by what it shows.
func TestBoardLines(t *testing.T) {
	t.Parallel()
	p := play(t)
	b := p.open(openBrowser(t), "topics=UP,DOWN,FLAT")
	b.is("live", pageState)
	pieces := func(topic string) string {
		return fmt.Sprintf(`document.querySelector('[data-topic="%s"] .line').getAttribute('d')?.split('M').length - 1`, topic)
	}
	trend := func(topic string) string {
		return fmt.Sprintf(`document.querySelector('[data-topic="%s"]').dataset.trend`, topic)
	}
	// The last tick goes against the line.
	for n, prices := range [][3]string{{"10", "20", "5"}, {"14", "14", "6"}, {"13", "15", "5"}} {
		p.tick(n+1, prices[0], "UP")
		p.tick(n+1, prices[1], "DOWN")
		p.tick(n+1, prices[2], "FLAT")
		b.is(prices[0], `document.querySelector('[data-topic="UP"] [data-price]').dataset.price`)
		b.apart()
	}
	b.is("up", trend("UP"))
	b.is("down", trend("DOWN"))
	b.is("undefined", trend("FLAT"))
	b.is("1", pieces("UP"))
	p.say(`{"t":"feed","state":"down","since":1732181744000}`)
	b.is("down", pageState)
	b.apart()
	p.say(`{"t":"feed","state":"up","since":1732181751000}`)
	b.is("2", pieces("UP"))
	b.apart()
	p.close()
	b.is("unreachable", pageState)
	p.listen()
	b.click("#retry")
	b.is("live", pageState)
	p.rows("snapshot", 1, "16", "UP")
	b.is("3", pieces("UP"))
	b.is("up", trend("UP"))
}

// Rows are sorted, filtered and taken away, and Undo brings them back to where they were.
func TestBoardSortsFiltersAndRemoves(t *testing.T) {
	t.Parallel()
	p := play(t)
	b := p.open(openBrowser(t), "topics=C2,A,C10,NONE")
	b.is("live", pageState)
	p.tick(1, "5", "C2")
	p.tick(1, "7", "A")
	p.tick(1, "6", "C10")
	b.is("fresh", rowStatus("C10"))
	choose := func(by string) {
		b.do(fmt.Sprintf(`{ const s = document.querySelector('#sort'); s.value = %q; s.dispatchEvent(new Event('change')) }`, by))
	}
	for by, want := range map[string]string{"topic": "A,C2,C10,NONE", "price": "A,C10,C2,NONE", "added": "C2,A,C10,NONE"} {
		choose(by)
		b.is(want, shown)
	}
	choose("price")
	b.click("#way")
	b.is("C2,C10,A,NONE", shown)
	b.is("ascending", `document.querySelector('[data-by=price]').parentNode.getAttribute('aria-sort')`)
	b.click("[data-by=topic]")
	b.is("A,C2,C10,NONE", shown)
	b.click("[data-by=topic]")
	b.is("NONE,C10,C2,A", shown)
	choose("added")

	filter := func(s string) {
		b.do(fmt.Sprintf(`{ const f = document.querySelector('#filter'); f.value = %q; f.dispatchEvent(new Event('input')) }`, s))
	}
	filter("c")
	b.is("C2,C10", shown)
	b.says("2 of 4 rows shown.", "#count")
	filter("no value")
	b.is("NONE", shown)
	filter("zzz")
	b.says("0 of 4 rows shown. No name and no state has this text in it.", "#count")
	filter("c")

	// What is taken away is what is shown, and one that follows adds to what Undo brings back.
	b.says("Remove these 2", "#clear")
	b.click("#clear")
	b.is("A,NONE", shown)
	redistest.Eventually(t, "the edge is told", func() bool { return p.has("unsubscribe C2,C10", &p.heard) })
	b.is("back", `document.activeElement.id`)
	b.click(row("A", "[data-remove]"))
	b.is("NONE", shown)
	b.is("Remove NONE", `document.activeElement.getAttribute('aria-label')`)
	b.says("3 topics are off the board.", "#undo")
	b.click("#back")
	b.is("C2,A,C10,NONE", shown)
	b.is("true", `document.querySelector('#undo').hidden`)
	redistest.Eventually(t, "they are asked for again", func() bool { return p.has("subscribe A,C10,C2", &p.heard) })
	b.is("5", `document.querySelector('[data-topic="C2"] [data-price]').dataset.price`)
	b.says("last known", row("C2", "[data-word]"))
	p.rows("snapshot", 1, "5", "A", "C2", "C10")
	b.is("fresh", rowStatus("C2"))

	b.click("#clear")
	b.is("", shown)
	b.is("false", `document.querySelector('#empty').hidden`)
	b.click("#back")
	b.is("C2,A,C10,NONE", shown)
}
