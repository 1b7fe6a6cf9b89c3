// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tickedge/internal/app"
	program "tickedge/internal/app/demo"
	"tickedge/internal/logtest"
	"tickedge/internal/nettest"
)

var screenshots = flag.String("screenshots", "", "folder for pictures of the board with alerts")

// asProgram makes this test binary the program itself, so that it can be killed.
const asProgram = "TICKEDGE_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		app.Main(program.Main)
	}
	os.Exit(m.Run())
}

// The first requests that programs make to alerts are answered by a demo too.
func TestAlertsAreAnswered(t *testing.T) {
	base := "http://" + start(t)
	eventually(t, "alerts are there", func() bool {
		status, body := get(t, base+"/health")
		return status == 200 && body == `{"status":"ok"}`
	})
	eventually(t, "there is a price", func() bool {
		status, body := get(t, base+"/price/AAPL")
		var p struct {
			Symbol string
			Price  float64
			TS     int64
		}
		return status == 200 && json.Unmarshal([]byte(body), &p) == nil && p.Symbol == "AAPL" && p.Price > 0 && p.TS > 0
	})
	res, err := http.Post(base+"/alerts", "application/json",
		strings.NewReader(`{"user_id":1,"symbol":"AAPL","target_price":150.00,"condition":"ABOVE"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	made, err := io.ReadAll(res.Body)
	const want = `{"id":1,"user_id":1,"symbol":"AAPL","condition":"ABOVE","target_price":150,"state":"active","active":true,`
	if err != nil || res.StatusCode != http.StatusCreated || !strings.HasPrefix(string(made), want) {
		t.Fatalf("%d %s (%v), want 201 %s…", res.StatusCode, made, err, want)
	}
	// The market begins above 150: it fires with the next price, and is not among the active ones then.
	eventually(t, "it fires", func() bool {
		_, body := get(t, base+"/alerts/fired?user_id=1")
		_, active := get(t, base+"/alerts?user_id=1&active_only=true")
		return strings.HasPrefix(body, `{"fired":[{"n":1,"alert":1,"arm":1,"price":`) && active == `{"alerts":[],"next":null}`
	})
	// Pages of others may not ask, although everybody else may.
	req, err := http.NewRequest(http.MethodGet, base+"/alerts?user_id=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "https://evil.example")
	if res, err = http.DefaultClient.Do(req); err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("a page of another origin gets %d, want 403", res.StatusCode)
	}
}

// process starts a demo that can be killed, and is at the end of the test.
func process(t *testing.T, addr, folder string) *exec.Cmd {
	t.Helper()
	var log logtest.Log
	cmd := exec.Command(os.Args[0], "-listen="+addr, "-volatility=50", "-folder="+folder)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			kill(t, cmd)
		}
		if t.Failed() {
			t.Logf("log:\n%s", &log)
		}
	})
	eventually(t, "alerts and the board are there", func() bool {
		alerts, _ := get(t, "http://"+addr+"/health")
		board, _ := get(t, "http://"+addr+"/")
		return alerts == http.StatusOK && board == http.StatusOK
	})
	return cmd
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

const (
	pressed = `document.querySelector('#aim').getAttribute('aria-pressed')`
	listed  = `document.querySelectorAll('#alertlist li').length`
	fired   = `document.querySelectorAll('#alertlist li[data-state=fired]').length`
	told    = `told.filter(s => s.startsWith('Alert: AAPL crosses')).length`
	// small is what has less than 44 px or lies outside of the screen, of what is to be touched.
	small = `[...document.querySelectorAll('#candles button')].filter(el => el.checkVisibility()).map(el => [el, el.getBoundingClientRect()])
		.filter(([el, r]) => r.width < 44 || r.height < 44 || r.left < 0 || r.right > innerWidth)
		.map(([el]) => el.id + ' ' + el.className + ' ' + el.textContent).join('; ')`
	// countPosts counts what is sent, which begins within the click.
	countPosts = `(window.posts = 0, (ask => {
		window.fetch = (url, o) => { if (o?.method === 'POST') posts++; return ask(url, o); };
	})(window.fetch))`
	// hear keeps what toasts have said.
	hear = `(window.told = [], new MutationObserver(l => l.forEach(m => m.addedNodes.forEach(el => told.push(el.textContent))))
		.observe(document.querySelector('#toasts'), { childList: true }))`
)

// at clicks in the chart beside what deletes alerts, at a part of its height, as a mouse or a finger does.
func (p page) at(part float64, click func(x, y float64) chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	p.value(`document.querySelector('#chart').scrollIntoView({ block: 'center' })`)
	const rect = `document.querySelector('#chart').getBoundingClientRect()`
	place := strings.Fields(p.value(`(r => [r.x + r.width * 0.7, r.y, r.height].join(' '))(` + rect + `)`))
	var n [3]float64
	for i, text := range place {
		n[i], _ = strconv.ParseFloat(text, 64)
	}
	if err := chromedp.Do(p.ctx, click(n[0], n[1]+part*n[2])); err != nil {
		p.t.Fatal(err)
	}
}

var mouse = func(x, y float64) chromedp.Action[chromedp.Void] { return chromedp.MouseClickXY(x, y) }

func (p page) key(keys string) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, chromedp.KeyEvent(keys)); err != nil {
		p.t.Fatal(err)
	}
}

// be has the page be a user when it is loaded again, to whom more was told than the store has: another one had that.
func (p page) be(user string) {
	p.t.Helper()
	p.value(fmt.Sprintf(`(localStorage.setItem('tickedge.user', %q), localStorage.setItem('tickedge.fired', '9999'))`, user))
}

func (p page) goTo(url string) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, chromedp.Navigate(url)); err != nil {
		p.t.Fatal(err)
	}
}

func (p page) atLeast(what, js string, n int) {
	p.t.Helper()
	eventually(p.t, what, func() bool { got, err := strconv.Atoi(p.value(js)); return err == nil && got >= n })
}

// A click in the chart sets an alert. It is told when it fires, and is listed after the page was loaded anew, and after the demo was
// killed. What fires while nobody looks is told later.
func TestAlertsOnTheBoard(t *testing.T) {
	addr, folder := nettest.FreeAddr(t), t.TempDir()
	board, demo := "http://"+addr+"/?symbol=AAPL", process(t, addr, folder)
	eventually(t, "there are bars", func() bool {
		_, body := get(t, "http://"+addr+"/history/AAPL?tf=1s")
		return strings.Count(body, `"t":`) > 8
	})
	p := open(t, board)
	eventually(t, "bars are shown", func() bool { return p.data("bars") > 8 })
	p.value(hear)
	p.value(countPosts)
	if p.at(0.3, mouse); p.value(`posts`) != "0" {
		t.Fatal("a click without Alert sets one")
	}
	p.value(`document.querySelector('#aim').click()`)
	for i := range 8 { // Whichever way the price goes, it crosses one of them.
		p.at(0.05+0.1*float64(i), mouse)
	}
	p.atLeast("clicks set alerts", listed, 6)
	p.atLeast("a toast says that one fired", told, 1)
	p.atLeast("the list says so", fired, 1)
	if said := p.value(`told.find(s => s.startsWith('Alert: AAPL crosses'))`); !strings.Contains(said, ". It was at ") {
		t.Errorf("the toast says %s", said)
	}
	user := p.value(`localStorage.getItem('tickedge.user')`)

	// By keys: a price above the highest that is shown, which is not there soon.
	n, _ := strconv.Atoi(p.value(listed))
	p.value(`document.querySelector('#chart').focus()`)
	p.key(strings.Repeat(kb.ArrowUp, 3))
	p.key(kb.Enter)
	p.atLeast("Enter sets an alert", listed, n+1)
	// By a tap.
	n, _ = strconv.Atoi(p.value(listed))
	if err := chromedp.Do(p.ctx, chromedp.EmulateViewport(360, 800, chromedp.EmulateMobile, chromedp.EmulateTouch)); err != nil {
		t.Fatal(err)
	}
	p.at(0.63, chromedp.TapXY)
	p.at(0.67, chromedp.TapXY) // One of both has no alert yet.
	p.atLeast("a tap sets an alert", listed, n+1)
	if bad := p.value(small); bad != "" {
		t.Errorf("too small to touch, or beside the screen: %s", bad)
	}
	if err := chromedp.Do(p.ctx, chromedp.EmulateViewport(1280, 1000)); err != nil {
		t.Fatal(err)
	}
	p.key(kb.Escape)
	if p.value(pressed) != "false" {
		t.Error("Escape does not end it")
	}
	posts := p.value(`posts`)
	if p.at(0.5, mouse); p.value(`posts`) != posts {
		t.Error("a click after Escape set an alert")
	}
	n, _ = strconv.Atoi(p.value(listed))
	pictures(p)
	if p.value(`told.length - new Set(told).size`) != "0" || p.value(`localStorage.getItem('tickedge.fired') > 0`) != "true" {
		t.Errorf("what was told is told again: %s", p.value(`told.join(' | ')`))
	}

	was, _ := strconv.Atoi(p.value(fired))
	p.goTo(board)
	p.atLeast("they are listed after the page was loaded anew", listed, n)
	p.atLeast("those that have fired too", fired, was)

	// Another user has but one alert, which is told whatever the market does. Nobody looks when it fires.
	const other = "board-other"
	p.be(other)
	p.goTo("about:blank")
	res, err := http.Post("http://"+addr+"/alerts", "application/json",
		strings.NewReader(fmt.Sprintf(`{"user_id":%q,"symbol":"AAPL","target_price":"0.01","condition":"ABOVE"}`, other)))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	eventually(t, "it fires while nobody looks", func() bool {
		_, body := get(t, "http://"+addr+"/alerts/fired?user_id="+other)
		return strings.Contains(body, `"n":1,`)
	})
	kill(t, demo)
	process(t, addr, folder)
	p.goTo(board)
	eventually(t, "it is told when the page is opened, after the demo was killed", func() bool {
		return strings.Contains(p.value(`document.querySelector('#toasts').textContent`), "Alert: AAPL is at or above 0.01. It was at ")
	})
	p.be(user)
	p.goTo(board)
	p.atLeast("they are listed after the demo was killed", listed, n)
	p.atLeast("those that have fired too", fired, was)
	refusals(p)
}

// refusals has alerts deleted, and the API refuse what is asked for.
func refusals(p page) {
	t := p.t
	t.Helper()
	n, _ := strconv.Atoi(p.value(listed))
	id := p.value(`document.querySelector('#alertlist [data-remove]').dataset.alert`)
	p.value(`document.querySelector('#alertlist [data-remove]').click()`)
	eventually(t, "it is deleted", func() bool { return p.value(listed) == strconv.Itoa(n-1) })
	if p.value(`document.querySelectorAll('[data-alert="`+id+`"]').length`) != "0" {
		t.Errorf("another alert than %s was deleted", id)
	}
	p.value(`window.fetch = async () => new Response('{"detail":"you have 1000 active alerts: delete <b>some</b>"}', { status: 409 })`)
	p.value(`document.querySelector('#aim').click()`)
	p.at(0.41, mouse)
	eventually(t, "a refusal is shown as text", func() bool {
		return strings.Contains(p.value(`document.querySelector('#toasts').textContent`), "You have 1000 active alerts: delete <b>some</b>.")
	})
}

// pictures are for who looks at them.
func pictures(p page) {
	if *screenshots == "" {
		return
	}
	p.value(`document.querySelector('#aim').click()`)
	for _, c := range []struct {
		name  string
		width int64
		dark  bool
	}{{"light", 1280, false}, {"dark", 1280, true}, {"phone", 360, false}, {"phone-dark", 360, true}} {
		if err := chromedp.Do(p.ctx, chromedp.EmulateViewport(c.width, 1000)); err != nil {
			p.t.Fatal(err)
		}
		if dark := p.value(`document.documentElement.dataset.theme`) == "dark"; dark != c.dark {
			p.value(`document.querySelector('#theme').click()`)
		}
		p.value(`document.querySelector('#candles').scrollIntoView()`)
		png, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			p.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(*screenshots, c.name+".png"), png, 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
	p.key(kb.Escape)
	if err := chromedp.Do(p.ctx, chromedp.EmulateViewport(1280, 1000)); err != nil {
		p.t.Fatal(err)
	}
}
