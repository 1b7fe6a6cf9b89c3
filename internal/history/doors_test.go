// SPDX-License-Identifier: Apache-2.0

package history_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/bars"
	"tickedge/internal/guard"
	"tickedge/internal/history"
	"tickedge/internal/history/historytest"
	"tickedge/internal/logtest"
	"tickedge/internal/trade"
)

// token makes a token of a user, with a list of topics unless it is empty.
func token(user, topics string) string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	claims := fmt.Sprintf(`{"sub":%q,"exp":%d`, user, time.Now().Add(time.Hour).Unix())
	if topics != "" {
		claims += `,"topics":` + topics
	}
	signed := part(`{"alg":"HS256","typ":"JWT"}`) + "." + part(claims+"}")
	mac := hmac.New(sha256.New, []byte(tokenSecret))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

const tokenSecret = "0123456789abcdef0123456789abcdef"

func TestTokens(t *testing.T) {
	log, _ := logtest.New(t)
	private, err := auth.ParsePrivate("kline:1s:")
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := auth.NewVerifier(auth.Config{Secret: []byte(tokenSecret), Private: private}, log)
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, func(c *history.ServerConfig) { c.Verifier, c.Private = verifier, private })
	for _, c := range []struct {
		topics, tf string
		status     int
	}{
		{"", "1m", 200}, {`["kline:1m:COINBASE:BTC-USD"]`, "1m", 200}, {`["kline:1m:*"]`, "1m", 200}, {`["kline:1m:*"]`, "1d", 403}, {`["COINBASE:BTC-USD"]`, "1m", 403}, {`[]`, "1m", 403},
		{"", "1s", 403}, {`["kline:*"]`, "1s", 403}, {`["kline:1s:COINBASE:BTC-USD"]`, "1s", 200},
	} {
		for _, way := range []string{"field", "query"} {
			target, header := path+"?tf="+c.tf, "X: y"
			if way == "field" {
				header = "Authorization: Bearer " + token("ann", c.topics)
			} else {
				target += "&token=" + token("ann", c.topics)
			}
			res := s.ask("GET", target, header)
			if text := body(t, res); res.StatusCode != c.status || c.status == 200 && !strings.HasPrefix(res.Header.Get("Cache-Control"), "private") {
				t.Errorf("%s of %s by %s: %d %s", c.tf, c.topics, way, res.StatusCode, text)
			}
		}
	}
	if res := s.ask("GET", path+"?tf=1m"); res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("without a token: %d", res.StatusCode)
	}
	if res := s.ask("GET", path+"?tf=1m", "Authorization: Bearer "+token("ann", "")+"x"); res.StatusCode != 401 || !strings.Contains(res.Header.Get("WWW-Authenticate"), "invalid_token") {
		t.Errorf("with a bad token: %d", res.StatusCode)
	}
}

func TestLimits(t *testing.T) {
	trusted, err := guard.ParseTrusted("192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, func(c *history.ServerConfig) { c.Rate, c.Trusted = guard.Rate{PerSecond: 1, Burst: 3}, trusted })
	codes := map[int]int{}
	for range 10 {
		res := s.ask("GET", path+"?tf=1m", "X-Forwarded-For: 10.0.0.1")
		if codes[res.StatusCode]++; res.StatusCode == 429 && res.Header.Get("Retry-After") != "1" {
			t.Errorf("%v", res.Header)
		}
	}
	if codes[200] < 3 || codes[429] == 0 {
		t.Errorf("%v", codes)
	}
	if res := s.ask("GET", path+"?tf=1m", "X-Forwarded-For: 10.0.0.2"); res.StatusCode != 200 {
		t.Errorf("another client of the proxy: %d", res.StatusCode)
	}

	entered, leave := make(chan struct{}), make(chan struct{})
	store := &historytest.Fake{OnBars: func(history.Query) error { entered <- struct{}{}; <-leave; return errors.New("the disk is on fire") }}
	s = newSite(t, func(c *history.ServerConfig) { c.Store, c.Requests = store, 1 })
	first := make(chan *http.Response)
	go func() { first <- s.ask("GET", path+"?tf=1m") }()
	<-entered
	if res := s.ask("GET", path+"?tf=1m"); res.StatusCode != 503 || !strings.Contains(body(t, res), "at a time") {
		t.Errorf("a second request: %d", res.StatusCode)
	}
	close(leave)
	if res := <-first; res.StatusCode != 503 || strings.Contains(body(t, res), "fire") {
		t.Errorf("a store that fails: %d", res.StatusCode)
	}
	s = newSite(t, func(c *history.ServerConfig) {
		c.Store = &historytest.Fake{OnBars: func(history.Query) error { panic("a bug") }}
	})
	for range 2 {
		if res := s.ask("GET", path+"?tf=1m"); res.StatusCode != 500 {
			t.Errorf("a panic: %d", res.StatusCode)
		}
	}
	for name, spoil := range map[string]func(*history.ServerConfig){
		"no store": func(c *history.ServerConfig) { c.Store = nil }, "no intervals": func(c *history.ServerConfig) { c.Intervals = nil },
		"a rate": func(c *history.ServerConfig) { c.Rate.Burst = 1 },
	} {
		log, _ := logtest.New(t)
		c := history.ServerConfig{Store: store, Origins: new(auth.Origins), Log: log, Intervals: []*bars.Interval{minute}, Symbol: func(string) *trade.Symbol { return nil }}
		spoil(&c)
		if _, err := history.NewServer(c); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// Who reads slowly has a quarter of the slots at most, and gives them back.
func TestSlotsOfAnAddress(t *testing.T) {
	trusted, err := guard.ParseTrusted("192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	entered, leave := make(chan struct{}, 20), make(chan struct{}, 20)
	store := &historytest.Fake{OnBars: func(history.Query) error { entered <- struct{}{}; <-leave; return nil }}
	s := newSite(t, func(c *history.ServerConfig) { c.Store, c.Requests, c.Trusted = store, 8, trusted })
	answers := make(chan int, 20)
	t.Cleanup(func() { close(leave) })
	enter := func() {
		t.Helper()
		select {
		case <-entered:
		case code := <-answers:
			t.Fatalf("a request that has a slot is answered with %d", code)
		}
	}
	refused := func(what string) {
		t.Helper()
		select {
		case <-entered:
			t.Fatalf("%s gets a slot", what)
		case code := <-answers:
			if code != 503 {
				t.Errorf("%s: %d", what, code)
			}
		}
	}
	get := func(from string) { answers <- s.ask("GET", path+"?tf=1m", "X-Forwarded-For: "+from).StatusCode }
	for range 2 {
		for range 2 {
			go get("10.0.0.1")
			enter()
		}
		go get("10.0.0.1")
		refused("a third request of an address")
		for i := range 6 {
			go get(fmt.Sprintf("10.0.0.%d", 2+i))
			enter()
		}
		go get("10.0.0.9")
		refused("one more than there are slots")
		for range 8 {
			leave <- struct{}{}
			if code := <-answers; code != 200 {
				t.Errorf("%d", code)
			}
		}
	}
}

// An address has a quarter of the connections at most, though it asks nothing on them, and a proxy that is trusted has more.
func TestConnsOfAnAddress(t *testing.T) {
	trusted, err := guard.ParseTrusted("127.0.0.3")
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, func(c *history.ServerConfig) { c.Conns, c.Trusted = 8, trusted })
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	ask := func(from string) (c net.Conn, answered bool) {
		t.Helper()
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}).Dial("tcp4", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, "GET "+path+"?tf=1m&limit=1 HTTP/1.1\r\nHost: x\r\n\r\n")
		n, err := c.Read(make([]byte, 4))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%s is neither answered nor refused", from)
		}
		return c, n == 4
	}
	first, ok := ask("127.0.0.1")
	if _, second := ask("127.0.0.1"); !ok || !second {
		t.Error("an address has no two of eight connections")
	}
	if _, third := ask("127.0.0.1"); third {
		t.Error("an address has a third of eight connections")
	}
	if _, other := ask("127.0.0.2"); !other {
		t.Error("another address has none")
	}
	for range 3 {
		if _, proxy := ask("127.0.0.3"); !proxy {
			t.Error("a proxy has no more")
		}
	}
	_ = first.Close()
	for end := time.Now().Add(patience); ; { // The server closes its end when it has read that.
		if _, again := ask("127.0.0.1"); again {
			break
		}
		if time.Now().After(end) {
			t.Fatal("what an address closed counts for ever")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Over a socket: HEAD, a body, a head that is too long, and the end.
func TestServe(t *testing.T) {
	s := newSite(t, nil)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableCompression: true}}
	do := func(method, target string, in io.Reader) *http.Response {
		t.Helper()
		r, err := http.NewRequest(method, "http://"+ln.Addr().String()+target, in)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		res.Body = io.NopCloser(strings.NewReader(string(b)))
		return res
	}
	get := do("GET", path+"?tf=1m", nil)
	head := do("HEAD", path+"?tf=1m", nil)
	if head.StatusCode != 200 || body(t, head) != "" || head.ContentLength != get.ContentLength || head.Header.Get("ETag") != get.Header.Get("ETag") || get.ContentLength < 1000 {
		t.Errorf("HEAD: %d %v, GET: %v", head.StatusCode, head.Header, get.Header)
	}
	if res := do("GET", path+"?tf=1m", strings.NewReader("x")); res.StatusCode != 400 || !res.Close {
		t.Errorf("with a body: %d", res.StatusCode)
	}
	long, err := http.NewRequest("GET", "http://"+ln.Addr().String()+path+"?tf=1m", nil)
	if err != nil {
		t.Fatal(err)
	}
	long.Header.Set("X-Long", strings.Repeat("x", 40_000))
	if res, err := client.Do(long); err == nil && res.StatusCode != 431 { // It may be cut off before it has read why.
		t.Errorf("with a long head: %d", res.StatusCode)
	}
	if res := do("GET", "/history/A%2FB:C?tf=1m", nil); res.StatusCode != 404 || !strings.Contains(body(t, res), "no such symbol") {
		t.Errorf("a name with a slash: %d", res.StatusCode)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := client.Get("http://" + ln.Addr().String() + path); err == nil {
		t.Error("it answers after its end")
	}
}
