// SPDX-License-Identifier: Apache-2.0

// Package exchangetest is for tests: exchanges that speak as their documents say, refuse what those say is
// refused, and fail on demand. Each knows all of its trades, so that a test can compare.
package exchangetest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Token is the one that the stand-in for Finnhub takes.
const Token = "the-token-of-tests"

// Trade is one trade as the exchange has it.
type Trade struct {
	ID        int64
	Product   string
	Price     string
	Size      string
	Time      time.Time
	MakerBuys bool
}

// Config says what an exchange has, and how its times are scaled. Times that are 0 don't run.
type Config struct {
	Vendor   string // coinbase, binance or finnhub.
	Products []string
	First    int64         // Id of the first trade of each product. Default 1000.
	Beat     time.Duration // Between heartbeats of Coinbase, pings of Binance and Finnhub's. Default 20 ms.
	Idle     time.Duration // After which Coinbase ends a connection that has no heartbeats. Default 4 s.
	Pong     time.Duration // Within which Binance wants a pong. Default 4 s.
	Cut      time.Duration // After which Binance ends a connection.
	Messages int           // That a connection may send within a second. Default as documented.
	Vague    bool          // Coinbase's errors don't name the product.
	Streams  int           // That a connection may have. Default as documented.
}

// Server is an exchange. Any goroutine may use it.
type Server struct {
	WS, REST string
	c        Config
	face     face

	mu       sync.Mutex
	products map[string]*product
	conns    map[*conn]bool
	refusals []string
	muted    bool // New connections are dead too.
	banned   []ban
	until    time.Time // Nobody may ask before.
	strays   int       // Requests before until.
	failing  int
	dials    int
	requests int
	age      time.Duration // Of the trades that are made.
}

type ban struct {
	status int
	after  string
}

type product struct {
	trades []Trade
	shown  int64 // The history has no ids below it.
	holes  map[int64]bool
}

// face is what differs between exchanges.
type face interface {
	// admit answers a handshake, 0 if it is taken.
	admit(s *Server, r *http.Request) int
	// command takes what a client sends. The server is locked.
	command(s *Server, c *conn, message []byte)
	// frame is the message about trades, or "" if it is not for the connection. The server is locked.
	frame(c *conn, trades ...Trade) string
	// beat is what is said from time to time. The server is locked.
	beat(c *conn) string
	rest(s *Server, w http.ResponseWriter, r *http.Request)
}

// Start starts an exchange, which ends with the test.
func Start(t testing.TB, c Config) *Server {
	t.Helper()
	s := &Server{c: c, products: make(map[string]*product), conns: make(map[*conn]bool)}
	limits := map[string]struct {
		face              face
		messages, streams int
	}{"coinbase": {coinbase{}, 8, 1 << 20}, "binance": {binance{}, 5, 1024}, "finnhub": {finnhub{}, 1000, 50}}[c.Vendor]
	s.face = limits.face
	if s.face == nil {
		t.Fatalf("no stand-in for %q", c.Vendor)
	}
	def(&s.c.First, 1000)
	def(&s.c.Beat, 20*time.Millisecond)
	def(&s.c.Idle, 4*time.Second)
	def(&s.c.Pong, 10*time.Second)
	def(&s.c.Messages, limits.messages)
	def(&s.c.Streams, limits.streams)
	for _, p := range c.Products {
		s.products[p] = &product{holes: make(map[int64]bool)}
	}
	h := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		s.mu.Lock()
		for c := range s.conns {
			c.cancel()
		}
		s.mu.Unlock()
		h.Close()
	})
	s.REST, s.WS = h.URL, "ws"+strings.TrimPrefix(h.URL, "http")
	return s
}

func def[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		s.socket(w, r)
		return
	}
	s.mu.Lock()
	s.requests++
	b := s.ban()
	failing := s.failing > 0
	if failing && b.status == 0 {
		s.failing--
	}
	s.mu.Unlock()
	switch {
	case b.status != 0:
		w.Header().Set("Retry-After", b.after)
		w.WriteHeader(b.status)
	case failing:
		w.WriteHeader(http.StatusBadGateway)
	default:
		s.face.rest(s, w, r)
	}
}

// ban is what a request is refused with, if it is. The server is locked.
func (s *Server) ban() (b ban) {
	if time.Now().Before(s.until) {
		if s.strays++; s.strays == 1 { // It was on its way, perhaps, when the first one was refused. Who does not listen asks again.
			return ban{http.StatusTeapot, "1"}
		}
		s.refuse("a request before Retry-After is over")
		return ban{http.StatusTeapot, "60"}
	}
	if len(s.banned) > 0 {
		b, s.banned = s.banned[0], s.banned[1:]
		seconds, _ := strconv.Atoi(b.after)
		s.until, s.strays = time.Now().Add(time.Duration(seconds)*time.Second), 0
	}
	return b
}

// Make makes trades of a product, which its subscribers get one by one.
func (s *Server) Make(name string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.send(s.trade(name))
	}
}

// Lose makes trades that no connection gets.
func (s *Server) Lose(name string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.trade(name)
		for c := range s.conns {
			c.sequence++
		}
	}
}

// Age is how old the trades are that are made from now on.
func (s *Server) Age(d time.Duration) {
	s.mu.Lock()
	s.age = d
	s.mu.Unlock()
}

// Swap makes two trades that come in the wrong order.
func (s *Server) Swap(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, b := s.trade(name), s.trade(name)
	s.send(b)
	s.send(a)
}

// Repeat sends the newest trades of a product again.
func (s *Server) Repeat(name string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.products[name].trades
	for _, t := range all[len(all)-n:] {
		s.send(t)
	}
}

// SendPrice sends a trade whose price is anything. It is counted in ids, and in no list.
func (s *Server) SendPrice(name, price string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.trade(name)
	p := s.products[name]
	p.holes[t.ID] = true
	t.Price, t.Time = price, at
	s.send(t)
}

// SendRaw sends text to all connections.
func (s *Server) SendRaw(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.say(text)
	}
}

func (s *Server) trade(name string) Trade {
	p := s.products[name]
	n := s.c.First + int64(len(p.trades))
	t := Trade{
		ID: n, Product: name, Time: time.Now().Add(-s.age).Truncate(time.Millisecond), MakerBuys: n%3 == 0,
		Price: fmt.Sprintf("%d.%02d", 100+n%7, n%100), Size: fmt.Sprintf("0.%06d", n%999983+1),
	}
	p.trades = append(p.trades, t)
	return t
}

func (s *Server) send(t Trade) {
	for c := range s.conns {
		if text := s.face.frame(c, t); text != "" {
			c.say(text)
		}
	}
}

// Trades are all trades of a product, but those with a price that was sent by SendPrice.
func (s *Server) Trades(name string) []Trade {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.products[name]
	return slices.DeleteFunc(slices.Clone(p.trades), func(t Trade) bool { return p.holes[t.ID] })
}

// Forget has the history not know of trades up to the newest.
func (s *Server) Forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.products[name].shown = s.c.First + int64(len(s.products[name].trades))
}

// Drop ends all connections.
func (s *Server) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.cancel()
	}
}

// Mute has connections stay open and silent: those that there are, and if future those that come.
func (s *Server) Mute(future bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.muted = future
	for c := range s.conns {
		c.muted = true
	}
}

// Ban answers the next requests for history, or handshakes, with a status and Retry-After.
func (s *Server) Ban(status int, after string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.banned = append(s.banned, ban{status, after})
	}
}

// Fail answers the next requests for history with 502.
func (s *Server) Fail(n int) {
	s.mu.Lock()
	s.failing = n
	s.mu.Unlock()
}

// Refusals are what clients did that the exchange refuses, but for what it was told to refuse.
func (s *Server) Refusals() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.refusals)
}

// Dials is how many connections were asked for.
func (s *Server) Dials() int { s.mu.Lock(); defer s.mu.Unlock(); return s.dials }

// Requests is how often the history was asked.
func (s *Server) Requests() int { s.mu.Lock(); defer s.mu.Unlock(); return s.requests }

// Subscribers is how many connections get a product's trades.
func (s *Server) Subscribers(name string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.trades[name] && !c.muted {
			n++
		}
	}
	return n
}

func (s *Server) refuse(format string, args ...any) {
	s.refusals = append(s.refusals, fmt.Sprintf(format, args...))
}

func number(r *http.Request, name string, def int64) int64 {
	if n, err := strconv.ParseInt(r.URL.Query().Get(name), 10, 64); err == nil {
		return n
	}
	return def
}
