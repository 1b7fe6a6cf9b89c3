// SPDX-License-Identifier: Apache-2.0

package alertapi_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tickedge/internal/alert"
	"tickedge/internal/alertapi"
	"tickedge/internal/auth"
	"tickedge/internal/contracttest"
	"tickedge/internal/guard"
	"tickedge/internal/logtest"
)

const (
	now         = 1_700_000_000_000
	tokenSecret = "0123456789abcdef0123456789abcdef"
	trustedKey  = "a key of a trusted caller"
	patience    = 60 * time.Second
	// burst is more requests than a test makes.
	burst = 100_000
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

func bearer(token string) string { return "Authorization: Bearer " + token }

func num(t testing.TB, s string) alert.Num {
	t.Helper()
	n, err := alert.ParseNum(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// site is a server, what it stores and whom it has told.
type site struct {
	testing.TB
	*alertapi.Server
	store *memory
	log   *logtest.Log

	mu      sync.Mutex
	changed []alert.Alert
}

// newSite makes a server that is open. AAPL is at 150.25, and is the only symbol that has a price.
func newSite(t testing.TB, change func(*alertapi.Config)) *site {
	t.Helper()
	origins, err := auth.ParseOrigins("https://app.example.com,self")
	if err != nil {
		t.Fatal(err)
	}
	logger, log := logtest.New(t)
	s := &site{TB: t, store: newMemory(), log: log}
	price := num(t, "150.25")
	c := alertapi.Config{
		Store: s.store, Open: true, Origins: origins, Log: logger, Now: func() int64 { return now },
		Rate:  guard.Rate{PerSecond: burst, Burst: burst},
		Price: func(symbol string) (alert.Num, int64, bool) { return price, now - 5, symbol == "AAPL" },
		Changed: func(a alert.Alert) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.changed = append(s.changed, a)
		},
	}
	if change != nil {
		change(&c)
	}
	if s.Server, err = alertapi.New(c); err != nil {
		t.Fatal(err)
	}
	return s
}

// guarded has a server ask for tokens and keys.
func guarded(t testing.TB, change func(*alertapi.Config)) *site {
	t.Helper()
	private, err := auth.ParsePrivate("alerts:")
	if err != nil {
		t.Fatal(err)
	}
	logger, _ := logtest.New(t)
	verifier, err := auth.NewVerifier(auth.Config{Secret: []byte(tokenSecret), Private: private}, logger)
	if err != nil {
		t.Fatal(err)
	}
	return newSite(t, func(c *alertapi.Config) {
		c.Open, c.Verifier, c.Private = false, verifier, private
		c.Keys = func(key []byte) bool { return subtle.ConstantTimeCompare(key, []byte(trustedKey)) == 1 }
		if change != nil {
			change(c)
		}
	})
}

// ask sends a request with header lines such as "If-Match: \"1\"". A body is JSON unless they say something else.
func (s *site) ask(method, target, body string, header ...string) *http.Response {
	s.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, in)
	r.Host = "edge.example.com"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Content-Type" {
			r.Header.Del(name)
		}
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

func text(t testing.TB, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// want asks, and checks the status and that an answer of it is as it is described.
func (s *site) want(status int, method, target, body string, header ...string) string {
	s.Helper()
	res := s.ask(method, target, body, header...)
	got := text(s, res)
	if res.StatusCode != status {
		s.Errorf("%s %s %s %q: %d %s, want %d", method, target, body, header, res.StatusCode, got, status)
	}
	kind := kindOf(method, target, res.StatusCode)
	if kind == "" {
		return got
	}
	if err := contracttest.Check(contracttest.Strict, kind, []byte(got)); err != nil {
		s.Errorf("%s %s: %v", method, target, err)
	}
	return got
}

// kindOf is of which schema an answer is; empty for none.
func kindOf(method, target string, status int) string {
	path, _, _ := strings.Cut(target, "?")
	switch {
	case status >= 400:
		return "problem"
	case status == 204, path == "/health":
		return ""
	case path == "/alerts/fired":
		return "alerts-fired"
	case path == "/alerts" && method != "POST":
		return "alerts"
	case strings.HasPrefix(path, "/price/"):
		return "alerts-price"
	}
	return "alert"
}

// answer is an alert as a client reads it.
type answer struct {
	ID     int64
	UserID any `json:"user_id"`
	State  string
	Active bool
	Arm    int64
	Armed  int64
	Note   string
	Symbol string
	Fired  *struct {
		N, At int64
		Price json.Number
		By    string
	}
}

func read[T any](t testing.TB, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

type page struct {
	Alerts []answer
	Next   *string
}

// put creates an alert, and returns its ID.
func (s *site) put(body string, header ...string) int64 {
	s.Helper()
	return read[answer](s, s.want(201, "POST", "/alerts", body, header...)).ID
}

func at(id int64) string { return "/alerts/" + strconv.FormatInt(id, 10) }

// apple is the alert of the public example.
const apple = `{"user_id": 1, "symbol": "AAPL", "target_price": 150.00, "condition": "ABOVE"}`
