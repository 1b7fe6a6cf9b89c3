// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// -screenshots dir keeps a picture of each state of the board, in both themes, on a phone and a desk.
var screenshots = flag.String("screenshots", "", "keep pictures of the live board in this `folder`")

// axe returns the program that looks for what keeps people with disabilities out.
func axe(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "tools", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatalf("axe-core is missing: make deps (%v)", err)
	}
	return string(text)
}

// media sets what the browser says of its user.
func (b board) media(features map[string]string) {
	b.t.Helper()
	var list []*emulation.MediaFeature
	for name, value := range features {
		list = append(list, &emulation.MediaFeature{Name: name, Value: value})
	}
	_, err := chromedp.Run(b.ctx, func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: list})
		return chromedp.Void{}, err
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b board) size(width, height int64) {
	b.t.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.EmulateViewport(width, height)); err != nil {
		b.t.Fatal(err)
	}
	b.is(fmt.Sprint(width), `innerWidth`)
	// Two frames, so that what lies in sight is known, painted, and laid out.
	b.wait(`new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(''))))`)
}

// wait evaluates a promise of a string.
func (b board) wait(js string) string {
	b.t.Helper()
	s, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](js, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// clipped is JavaScript: the text that is not all inside of what holds it, or of the window.
const clipped = `(() => {
	const bad = new Set();
	if (document.documentElement.scrollWidth > innerWidth) bad.add('the page is ' + document.documentElement.scrollWidth + ' wide');
	for (const el of document.querySelectorAll('body *')) {
		if (el.closest('.sr, .lab, svg, script, noscript') || !el.checkVisibility({ contentVisibilityAuto: true })) continue;
		for (const node of el.childNodes) {
			if (node.nodeType !== 3 || !node.data.trim()) continue;
			const range = document.createRange(), box = (el.closest('td, th, dt, dd, button, label, p, summary, .bar, #toasts div') || el).getBoundingClientRect();
			range.selectNodeContents(node);
			for (const r of range.getClientRects())
				if (r.left < box.left - 1 || r.right > box.right + 1 || r.bottom > box.bottom + 4 || r.left < -1 || r.right > innerWidth + 1)
					bad.add(el.tagName + ' ' + el.className + ' ' + el.id + ' ' + node.data.slice(0, 40));
		}
	}
	return [...bad].slice(0, 8).join('; ');
})()`

// small is JavaScript: what a thumb is to hit and may miss. What lies over the whole of its cell counts as that.
const small = `[...document.querySelectorAll('a, button, input, select, summary')].filter(el => el.checkVisibility({ contentVisibilityAuto: true })).filter(el => {
	const r = (getComputedStyle(el, '::after').position === 'absolute' ? el.offsetParent : el).getBoundingClientRect();
	return r.width < 44 || r.height < 44;
}).map(el => el.tagName + ' ' + el.className + ' ' + el.id + ' ' + el.textContent.slice(0, 20)).slice(0, 8).join('; ')`

// runAxe is JavaScript: what axe finds, all of its rules and that of the size of targets.
const runAxe = `axe.run(document, { rules: { 'target-size': { enabled: true } }, resultTypes: ['violations'] })
	.then(r => r.violations.map(v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.html.slice(0, 120) + ' ' + n.any.concat(n.all, n.none).map(c => c.message).join(' ')).join(' | ')).join('\n'))`

// longName has as many bytes as a name may have.
var longName = "a-very-long-topic-name/" + strings.Repeat("x", 41)

// Whatever the state of the board is: nothing is cut off from 320 to 2,560 px, what is to be touched has 44 px, axe finds
// nothing, in both themes, and no state lacks its word.
func TestBoardLooks(t *testing.T) {
	t.Parallel()
	program := axe(t)
	p := play(t)
	p.rejects["BAD"] = `"code":403,"reason":"the token does not allow this topic"`
	b := p.open(openBrowser(t), "topics=AAPL,BTC-USD,MSFT,NOSUCH,BAD,JSON,"+longName)
	b.do(program)

	states := 0
	look := func(state string, widths ...int64) {
		t.Helper()
		states++
		long := widths != nil || *screenshots != ""
		if widths == nil {
			widths = []int64{320, 1280}
		}
		for i, width := range widths {
			theme := []string{"light", "dark"}[i%2]
			b.media(map[string]string{"prefers-color-scheme": theme, "prefers-reduced-motion": "reduce"})
			b.is(theme, `document.documentElement.dataset.theme`)
			b.size(width, 900)
			if bad := b.get(clipped); bad != "" {
				t.Errorf("%s, %d px: cut off: %s", state, width, bad)
			}
			if bad := b.get(small); bad != "" {
				t.Errorf("%s, %d px: too small to touch: %s", state, width, bad)
			}
			if n := b.get(`document.getAnimations().length`); n != "0" {
				t.Errorf("%s, %d px: %s things move for who wants none to", state, width, n)
			}
			// It takes its time: of the states but the first, each is looked at in one way, and they take turns.
			if i == states%2 || i < 2 && long {
				if bad := b.wait(runAxe); bad != "" {
					t.Errorf("%s, %d px, %s: axe finds\n%s", state, width, theme, bad)
				}
			}
		}
		b.picture(state)
	}

	b.is("live", pageState)
	for n, price := range []string{"189.87", "190.4", "190.2", "191.2", "190.9"} {
		p.tick(n+1, price, "AAPL")
		p.tick(n+1, "64"+price, "BTC-USD")
		b.apart()
	}
	p.rows("snapshot", 1, "12345678.123456789", longName)
	p.rows("snapshot", 1, "411.5", "MSFT")
	p.say(`{"t":"snapshot","ts":1,"d":[{"s":"JSON","n":1,"v":{"text":"%s","<b>":"<img src=x onerror=alert(1)>"}}]}`, strings.Repeat("some words ", 30))
	p.say(`{"t":"stale","ts":1732181755000,"topics":["MSFT"],"code":403,"reason":"its source refuses it"}`)
	b.is("stale", rowStatus("MSFT"))
	b.says("names are case-sensitive", row("NOSUCH", "[data-note]"))
	look("live", 320, 1280, 360, 390, 480, 481, 620, 621, 768, 1024, 1139, 1140, 1440, 1920, 2560)

	b.click("#words summary")
	look("words")
	b.click("#words summary")
	b.click(`[data-term="w-conflated"]`)
	look("term")
	b.click("#shut")
	b.click(row("JSON", "[data-more]"))
	look("more")
	b.click("#shut")

	b.choose("movers")
	p.heardOf("screen * s1 -chg_pct")
	p.screen("s1", `"full":true`, `{"s":"`+longName+`","n":1,"v":{"p":12345678.123456789,"chg_pct":12345.67}}`, `{"s":"AAPL","n":1,"v":{"p":190.9,"chg_pct":-1.5}}`, `{"s":"MSFT","n":1,"v":1}`)
	b.is("3", `document.querySelectorAll('#inside li').length`)
	look("screens")
	p.mu.Lock()
	p.wrong = `"code":400,"reason":"where, at byte 8: write == to compare, and not ` + strings.Repeat("one equals sign ", 12) + `","at":8`
	p.mu.Unlock()
	b.ask("chg_pct = "+strings.Repeat("5", 60), "*", "")
	b.says("write ==", "#wrong")
	look("screens-wrong")
	b.choose("off")

	p.say(`{"t":"feed","state":"down","since":1732181744000}`)
	b.is("down", pageState)
	look("feed-down")
	p.say(`{"t":"feed","state":"up","since":1732181751000}`)
	b.is("live", pageState)

	b.click(row("BAD", "[data-remove]"))
	b.do(`{ const f = document.querySelector('#filter'); f.value = 'a'; f.dispatchEvent(new Event('input')) }`)
	p.say(`{"t":"error","code":429,"reason":"too fast: the command was not carried out"}`)
	b.says("429", "#toasts")
	look("undo-filter-toast")
	b.do(`{ const f = document.querySelector('#filter'); f.value = ''; f.dispatchEvent(new Event('input')) }`)

	p.close()
	b.is("unreachable", pageState)
	look("unreachable")
	p.refuses(403, "this page (Origin) may not connect here")
	p.listen()
	b.click("#retry")
	b.is("refused", pageState)
	look("refused")
	p.refuses(401, "the token has expired")
	b.click("#retry")
	b.says("401", "#reason")
	look("refused-token")
	b.click("#clear")
	b.click("#keep")
	look("empty")
}

// picture keeps pictures of the state of the board, if they are asked for.
func (b board) picture(state string) {
	b.t.Helper()
	if *screenshots == "" {
		return
	}
	for _, theme := range []string{"light", "dark"} {
		for _, width := range []int64{320, 1280} {
			b.media(map[string]string{"prefers-color-scheme": theme, "prefers-reduced-motion": "reduce"})
			b.size(width, 900)
			height, err := strconv.ParseInt(b.get(`document.documentElement.scrollHeight`), 10, 64)
			if err != nil {
				b.t.Fatal(err)
			}
			b.size(width, max(900, height)) // All rows in sight.
			png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
			if err != nil {
				b.t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(*screenshots, fmt.Sprintf("%s-%s-%d.png", state, theme, width)), png, 0o644); err != nil {
				b.t.Fatal(err)
			}
		}
	}
}
