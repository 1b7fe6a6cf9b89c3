// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"

	"tickedge/internal/broker/redis/redistest"
)

// screen sends a message of a screen: its members, and rows.
func (p *played) screen(name, members string, rows ...string) {
	p.t.Helper()
	d := ""
	if len(rows) > 0 {
		d = `,"d":[` + strings.Join(rows, ",") + `]`
	}
	p.say(`{"t":"screen","ts":1732181723500,"screen":%q,%s%s}`, name, members, d)
}

// heardOf waits for a command.
func (p *played) heardOf(what string) {
	p.t.Helper()
	redistest.Eventually(p.t, "the command "+what, func() bool { return p.has(what, &p.heard) })
}

// choose chooses a recipe.
func (b board) choose(recipe string) {
	b.t.Helper()
	b.do(fmt.Sprintf(`{ const r = document.querySelector('#recipe'); r.value = %q; r.dispatchEvent(new Event('change')) }`, recipe))
}

// ask asks for a screen of the user's own.
func (b board) ask(where, topics, by string) {
	b.t.Helper()
	b.do(fmt.Sprintf(`{ const set = (id, text) => { const el = document.querySelector(id); el.value = text; el.dispatchEvent(new Event('input')); };
		set('#where', %q); set('#within', %q); set('#by', %q); document.querySelector('#ask button').click(); }`, where, topics, by))
}

const (
	inside  = `[...document.querySelectorAll('#inside li')].map(el => el.textContent).join('; ')`
	insides = `[...document.querySelectorAll('#inside li')].map(el => el.dataset.inside).join()`
)

// quote is a row of a screen.
func quote(topic, price, percent string) string {
	return fmt.Sprintf(`{"s":%q,"n":1,"v":{"p":%s,"chg_pct":%s}}`, topic, price, percent)
}

// The board shows what is inside of a screen as it is ranked, says what is wrong with a condition and where, comes back with
// what was chosen, and asks for no screen before one is.
func TestBoardScreens(t *testing.T) {
	t.Parallel()
	p := play(t)
	b := p.open(openBrowser(t), "topics=AAPL")
	b.is("live", pageState)
	p.heardOf("subscribe AAPL")
	for _, c := range p.heard {
		if strings.HasPrefix(c, "screen") {
			t.Errorf("without a choice it asks %q", c)
		}
	}
	b.choose("movers")
	p.heardOf("screen * s1 -chg_pct")
	b.says("Waiting", "#found")
	p.screen("s1", `"full":true,"order":["B","A"]`, quote("A", "1.50", "2.1"), quote("B", "20", "-3"))
	b.is("1B20chg_pct −3 %; 2A1.5chg_pct +2.1 %", inside)
	b.says("2 topics inside.", "#found")
	p.screen("s1", `"out":["B"],"order":["C","A"]`, quote("C", "5", "9"), quote("A", "1.75", "2.2"))
	b.is("1C5chg_pct +9 %; 2A1.75chg_pct +2.2 %", inside)

	// Under the focus rows keep their places, and have the newest values.
	b.do(`document.querySelector('#inside button').focus()`)
	p.screen("s1", `"out":["C"],"order":["D","A"]`, quote("D", "7", "11"), quote("A", "1.80", "2.3"))
	b.is("1C5chg_pct +9 %; 2A1.8chg_pct +2.3 %", inside)
	b.is("C", `document.querySelector('[data-out]')?.dataset.inside`)
	b.do(`document.activeElement.blur()`)
	b.is("D,A", insides)

	b.click(`[data-inside="D"] button`)
	p.heardOf("subscribe D")
	b.is("true", `!!document.querySelector('#board [data-topic="D"]')`)

	p.mu.Lock()
	p.wrong = `"code":400,"reason":"where, at byte 7: write == to compare","at":7`
	p.mu.Unlock()
	b.ask("币 <b = 5", "crypto:* fx:*", "")
	p.heardOf("unscreen s1")
	p.heardOf("screen crypto:*,fx:* s2 币 <b = 5")
	b.is("Where, at byte 7: write == to compare.币 <b = 5", `document.querySelector('#wrong').textContent`)
	b.is("=", `document.querySelector('#wrong mark').textContent`)
	b.is("true own", `document.querySelector('#where').ariaInvalid + ' ' + document.querySelector('#recipe').value`)
	b.is("", insides)

	// A newer page has what was chosen last, and a lost connection takes nothing from it.
	p.mu.Lock()
	p.wrong = ""
	p.mu.Unlock()
	b = p.open(b.ctx, "topics=AAPL")
	p.heardOf("screen crypto:*,fx:* s1 币 <b = 5")
	p.screen("s1", `"full":true`, quote("fx:B", "1", "1"), quote("crypto:A", "1", "1"))
	b.is("crypto:A,fx:B", insides)
	b.is("true", `document.querySelector('#wrong').hidden`)
	p.close()
	b.says("The connection is lost.", "#found")
	b.is("crypto:A,fx:B", insides)
	p.mu.Lock()
	p.heard = nil
	p.mu.Unlock()
	p.listen()
	b.click("#retry")
	p.heardOf("screen crypto:*,fx:* s1 币 <b = 5")
	b.choose("off")
	b.is("", insides)
	b.is("true", `document.querySelector('#ask').hidden`)
}

// Where the edge is an older one the panel says so in words.
func TestBoardWithoutScreens(t *testing.T) {
	t.Parallel()
	p := play(t)
	p.wrong = `"code":400,"reason":"unknown op \"screen\""`
	b := p.open(openBrowser(t), "topics=AAPL")
	b.is("live", pageState)
	b.choose("all")
	b.says("This edge has no screens", "#found")
	b.is("true", `document.querySelector('#wrong').hidden`)
	p.wrong = `"code":501,"reason":"its source has no patterns"`
	b.choose("movers")
	b.says("501 its source has no patterns.", "#wrong")
}
