// SPDX-License-Identifier: Apache-2.0

package history_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/bars"
	"tickedge/internal/contracttest"
	"tickedge/internal/guard"
	"tickedge/internal/history"
	"tickedge/internal/history/historytest"
	"tickedge/internal/logtest"
	"tickedge/internal/trade"
)

var dayBar = historytest.Interval("1d")

// site is a server with bars of btc: 1,000 of a minute from 1970 on, and days.
type site struct {
	*testing.T
	*history.Server
	store history.Store
	list  []bars.Bar
}

func newSite(t *testing.T, change func(*history.ServerConfig)) *site {
	t.Helper()
	origins, err := auth.ParseOrigins("https://app.example.com,self")
	if err != nil {
		t.Fatal(err)
	}
	log, _ := logtest.New(t)
	store := new(historytest.Fake)
	list := historytest.Run(btc, minute, 0, 1000)
	if err := store.Put(context.Background(), list); err != nil {
		t.Fatal(err)
	}
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	known := &trade.Symbol{Name: btc.Name, PriceScale: 2, SizeScale: 8, Zone: zone}
	c := history.ServerConfig{Store: store, Origins: origins, Log: log, Intervals: []*bars.Interval{second, minute, dayBar}, Symbol: func(name string) *trade.Symbol {
		if name == btc.Name {
			return known
		}
		return nil
	}}
	if change != nil {
		change(&c)
	}
	s, err := history.NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	return &site{t, s, c.Store, list}
}

// ask sends a request with header lines such as "Accept: text/csv".
func (s *site) ask(method, target string, header ...string) *http.Response {
	s.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Host = "edge.example.com"
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// answer is the JSON of a page.
type answer struct {
	Symbol, TF string
	Bars       []struct {
		T, N, Rev int64
		O, V      json.Number
	}
	Next *string
	Open *struct{ T int64 }
	Revs *int64
	Ver  int64
}

func (s *site) page(target string, header ...string) (a answer) {
	s.Helper()
	res := s.ask("GET", target, header...)
	text := body(s.T, res)
	if res.StatusCode != 200 {
		s.Fatalf("%s: %d %s", target, res.StatusCode, text)
	}
	if err := contracttest.Check(contracttest.Strict, "history", []byte(text)); err != nil {
		s.Error(err)
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		s.Fatal(err)
	}
	return a
}

const path = "/history/COINBASE:BTC-USD"

func TestPages(t *testing.T) {
	s := newSite(t, nil)
	for query, want := range map[string][2]int{
		"": {500, 1000}, "&limit=3": {997, 1000}, "&from=600&to=1200": {10, 20}, "&from=600&to=1200&limit=4": {16, 20},
		"&from=601&to=1201": {10, 21}, "&to=60": {0, 1}, "&to=0": {0, 0}, "&from=60000": {1000, 1000}, "&from=59940": {999, 1000},
		"&from=1970-01-01T01:00:00Z&to=1970-01-01T02:00:00%2B01:00": {60, 60}, "&from=1970-01-01T01:00:00Z&to=1970-01-01T02:00:00Z": {60, 120},
		"&from=1970-01-01T02:00:00+01:00&to=1970-01-01T02:00:00Z": {60, 120}, "&limit=5000": {0, 1000},
	} {
		a := s.page(path + "?tf=1m" + query)
		if a.Symbol != btc.Name || a.TF != "1m" || a.Open != nil || a.Revs != nil || a.Ver != 0 {
			t.Errorf("%s: %+v", query, a)
		}
		if len(a.Bars) != want[1]-want[0] || len(a.Bars) > 0 && a.Bars[0].T != int64(want[0])*60_000 {
			t.Errorf("%q: %d bars, want those from %d to %d", query, len(a.Bars), want[0], want[1])
		}
	}
	// All pages together are all bars.
	var starts []int64
	cursor := ""
	for pages := 1; ; pages++ {
		a := s.page(path + "?tf=1m&limit=300&from=300" + cursor)
		var page []int64
		for _, b := range a.Bars {
			page = append(page, b.T)
		}
		starts = append(page, starts...)
		if a.Next == nil {
			if pages != 4 {
				t.Errorf("%d pages", pages)
			}
			break
		}
		cursor = "&before=" + *a.Next
	}
	if len(starts) != 995 || starts[0] != 300_000 {
		t.Fatalf("%d bars", len(starts))
	}
	for i, at := range starts {
		if at != 300_000+int64(i)*60_000 {
			t.Fatalf("bar %d begins at %d", i, at)
		}
	}
	// Times in milliseconds, and days that begin in the zone of the symbol.
	now := time.Date(2026, 3, 8, 12, 0, 0, 0, time.UTC).UnixMilli() // The clocks change in New York.
	day := historytest.Bar(btc, dayBar, time.Date(2026, 3, 8, 5, 0, 0, 0, time.UTC).UnixMilli())
	store := new(historytest.Fake)
	if err := store.Put(context.Background(), []bars.Bar{day}); err != nil {
		t.Fatal(err)
	}
	s = newSite(t, func(c *history.ServerConfig) { c.Store = store })
	for query, n := range map[string]int{
		fmt.Sprintf("&from=%d", now): 1, fmt.Sprintf("&from=%d", now+16*3600_000): 0, fmt.Sprintf("&from=%d", now+16*3600_000-1): 1,
		fmt.Sprintf("&to=%d", now): 1, fmt.Sprintf("&to=%d", now-7*3600_000): 0, fmt.Sprintf("&to=%d", now-7*3600_000+1): 1,
	} {
		if a := s.page(path + "?tf=1d" + query); len(a.Bars) != n {
			t.Errorf("%s: %d days, want %d", query, len(a.Bars), n)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := newSite(t, func(c *history.ServerConfig) { c.Trusted, _ = guard.ParseTrusted("192.0.2.0/24") })
	next := *s.page(path + "?tf=1m&limit=2").Next
	for _, c := range []struct {
		method, target string
		header         []string
		status         int
		want           string
	}{
		{"GET", path, nil, 400, "want one of 1s, 1m, 1d"}, {"GET", path + "?tf=5m", nil, 400, "want one of"}, {"GET", path + "?tf=1m&tf=1m", nil, 400, "more than once"},
		{"GET", path + "?tf=1m&limit=0", nil, 400, "1 to 5000"}, {"GET", path + "?tf=1m&limit=5001", nil, 400, "1 to 5000"}, {"GET", path + "?tf=1m&limit=x", nil, 400, "1 to 5000"},
		{"GET", path + "?tf=1m&from=1.5", nil, 400, "from is"}, {"GET", path + "?tf=1m&to=-1", nil, 400, "to is"}, {"GET", path + "?tf=1m&to=2026-13-01T00:00:00Z", nil, 400, "to is"},
		{"GET", path + "?tf=1m&from=999999999999999999", nil, 400, "from is"}, {"GET", path + "?tf=1m&from=120&to=60", nil, 400, "behind"}, {"GET", path + "?tf=1m&before=x", nil, 400, "no cursor"},
		{"GET", path + "?tf=1s&before=" + next, nil, 400, "no cursor"}, {"GET", path + "?tf=1m&before=B" + next[1:], nil, 400, "no cursor"}, {"GET", path + "?tf=1m&format=xml", nil, 400, "csv"},
		{"GET", path + "?tf=1m&a=%zz", nil, 400, "well formed"}, {"GET", "/history/?tf=1m", nil, 404, "want /history"}, {"GET", "/other", nil, 404, "want /history"},
		{"GET", "/history/NOPE?tf=1m", nil, 404, "no such symbol"}, {"GET", "/history/a%20b?tf=1m", nil, 422, "name"}, {"GET", "/history/" + strings.Repeat("x", 60) + "?tf=1m", nil, 422, "too long"},
		{"GET", "/history/%ff?tf=1m", nil, 422, "name"}, {"POST", path + "?tf=1m", nil, 405, "GET"}, {"DELETE", path, nil, 405, "GET"},
		{"GET", path + "?tf=1m", []string{"Origin: https://evil.example"}, 403, "Origin"}, {"OPTIONS", path + "?tf=1m", []string{"Origin: https://evil.example"}, 403, "Origin"},
		{"GET", path + "?tf=1m", []string{"Origin: https://app.example.com", "Origin: https://app.example.com"}, 403, "Origin"},
		{"GET", path + "?tf=1m&token=a", []string{"Authorization: Bearer b"}, 400, "token"},
	} {
		res := s.ask(c.method, c.target, c.header...)
		text := body(t, res)
		if res.StatusCode != c.status || !strings.Contains(text, c.want) || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("ETag") != "" {
			t.Errorf("%s %s %q: %d %.300s %v", c.method, c.target, c.header, res.StatusCode, text, res.Header)
		}
		if err := contracttest.Check(contracttest.Strict, "problem", []byte(text)); err != nil || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %v", c.target, err)
		}
	}
	if allow := s.ask("POST", path).Header.Get("Allow"); allow != "GET, HEAD, OPTIONS" {
		t.Errorf("Allow: %s", allow)
	}
	if n := s.Answers(); n[400] == 0 || n[405] != 3 || n[200] != 1 {
		t.Errorf("%v", n)
	}
}

func TestForms(t *testing.T) {
	s := newSite(t, nil)
	line := string(s.list[998].AppendJSON(nil))
	for _, c := range []struct{ query, accept, kind, want string }{
		{"", "", "application/json", `{"symbol":"COINBASE:BTC-USD","tf":"1m","bars":[` + line + `,` + string(s.list[999].AppendJSON(nil)) + `],"next":"`},
		{"&format=ndjson", "", "application/x-ndjson", line + "\n"}, {"", "application/x-ndjson", "application/x-ndjson", line + "\n"},
		{"&format=csv", "application/json", "text/csv; charset=utf-8", "t,o,h,l,c,v,q,n,rev\r\n59880000,"}, {"", "text/csv;q=0.9, application/json;q=0.5", "text/csv; charset=utf-8", "t,o,h"},
		{"", "text/csv;q=0.1, */*", "application/json", "{"}, {"", "image/png", "application/json", "{"}, {"", "text/csv;q=0", "application/json", "{"},
	} {
		res := s.ask("GET", path+"?tf=1m&limit=2"+c.query, "Accept: "+c.accept)
		text := body(t, res)
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != c.kind || !strings.HasPrefix(text, c.want) {
			t.Errorf("%q %q: %d %s %s", c.query, c.accept, res.StatusCode, res.Header.Get("Content-Type"), text)
		}
		if link := res.Header.Get("Link"); (link == "") != (c.kind == "application/json") {
			t.Errorf("%q: Link: %s", c.query, link)
		}
	}
	link := s.ask("GET", path+"?tf=1m&limit=2&format=csv&token=secret").Header.Get("Link")
	target, ok := strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	if !ok || strings.Contains(link, "secret") {
		t.Fatalf("Link: %s", link)
	}
	if text := body(t, s.ask("GET", target)); strings.Count(text, "\n") != 3 || !strings.Contains(text, "\n59760000,") {
		t.Errorf("the next page of %s is %s", target, text)
	}
	b := historytest.Bar(historytest.Symbol("A", 2, 8), minute, 0)
	b.Open, b.Close, b.High, b.Low, b.Rev, b.Count = 10, 12, 1300, 9, 3, 7
	b.Volume, b.Turnover = bars.Sum{Lo: 150_000_000}, bars.Sum{Lo: 1}
	store := new(historytest.Fake)
	if err := store.Put(context.Background(), []bars.Bar{b}); err != nil {
		t.Fatal(err)
	}
	s = newSite(t, func(c *history.ServerConfig) { c.Store = store })
	if text := body(t, s.ask("GET", "/history/A?tf=1m&format=csv")); text != "t,o,h,l,c,v,q,n,rev\r\n0,0.1,13,0.09,0.12,1.5,0.0000000001,7,3\r\n" {
		t.Errorf("%q", text)
	}
}

func TestCaches(t *testing.T) {
	s := newSite(t, nil)
	for query, want := range map[string]string{"": "no-cache", "&to=600": "max-age=3600", "&from=60&to=" + fmt.Sprint(time.Now().Unix()): "no-cache",
		"&limit=2&before=" + *s.page(path + "?tf=1m&limit=2").Next: "max-age=3600"} {
		res := s.ask("GET", path+"?tf=1m"+query)
		tag := res.Header.Get("ETag")
		if got := res.Header.Get("Cache-Control"); got != want || !strings.HasPrefix(tag, `W/"`) {
			t.Errorf("%s: %s %s", query, got, tag)
		}
		if vary := strings.Join(res.Header["Vary"], ", "); vary != "Origin, Accept, Accept-Encoding" {
			t.Errorf("Vary: %s", vary)
		}
		for _, none := range []string{tag, "*", `"x", ` + tag, strings.TrimPrefix(tag, "W/")} {
			if again := s.ask("GET", path+"?tf=1m"+query, "If-None-Match: "+none); again.StatusCode != 304 || body(t, again) != "" || again.Header.Get("ETag") != tag {
				t.Errorf("%s: %d", none, again.StatusCode)
			}
		}
		if other := s.ask("GET", path+"?tf=1m&format=csv"+query, "If-None-Match: "+tag); other.StatusCode != 200 {
			t.Errorf("another form: %d", other.StatusCode)
		}
	}
	plain := body(t, s.ask("GET", path+"?tf=1m"))
	for accept, packed := range map[string]bool{"gzip": true, "br, gzip;q=0.5": true, "gzip;q=0": false, "": false, "identity": false} {
		res := s.ask("GET", path+"?tf=1m", "Accept-Encoding: "+accept)
		text := body(t, res)
		if packed {
			z, err := gzip.NewReader(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(z)
			if text = string(b); err != nil {
				t.Fatal(err)
			}
		}
		if (res.Header.Get("Content-Encoding") == "gzip") != packed || text != plain {
			t.Errorf("%q: %v", accept, res.Header)
		}
	}
	if res := s.ask("OPTIONS", path, "Origin: https://app.example.com"); res.StatusCode != 204 || res.Header.Get("Access-Control-Allow-Origin") != "https://app.example.com" ||
		!strings.Contains(res.Header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}
