// SPDX-License-Identifier: Apache-2.0

package exchangetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"
	"time"
)

type coinbase struct{}

func (coinbase) admit(*Server, *http.Request) int { return 0 }

// stamp is the envelope of a message, which has the next number of its connection.
func (coinbase) stamp(c *conn, channel, events string) string {
	n := c.sequence
	c.sequence++
	return fmt.Sprintf(`{"channel":%q,"client_id":"","timestamp":%q,"sequence_num":%d,"events":[%s]}`,
		channel, time.Now().UTC().Format(time.RFC3339Nano), n, events)
}

func (f coinbase) command(s *Server, c *conn, message []byte) {
	var m struct {
		Type     string   `json:"type"`
		Products []string `json:"product_ids"`
		Channel  string   `json:"channel"`
	}
	if json.Unmarshal(message, &m) != nil || m.Type != "subscribe" {
		s.refuse("a message that is not documented: %s", message)
		c.say(`{"type":"error","message":"failure","reason":"malformed"}`)
		return
	}
	for _, p := range m.Products {
		if s.products[p] == nil { // None of a message is subscribed then.
			s.refuse("unknown product %s", p)
			if s.c.Vague {
				p = "this"
			}
			c.say(fmt.Sprintf(`{"type":"error","message":"Failed to subscribe","reason":"%s is not a valid product"}`, p))
			return
		}
	}
	switch m.Channel {
	case "heartbeats":
		c.others[m.Channel] = true
	case "market_trades", "ticker":
		var recent []Trade
		for _, p := range m.Products {
			if m.Channel == "ticker" {
				c.others[p] = true
				continue
			}
			c.trades[p] = true
			all := s.products[p].trades
			recent = append(recent, all[max(0, len(all)-3):]...)
		}
		if len(recent) > 0 {
			c.say(f.stamp(c, "market_trades", `{"type":"snapshot","trades":[`+f.list(recent)+`]}`))
		}
	default:
		s.refuse("unknown channel %q", m.Channel)
		return
	}
	b, _ := json.Marshal(map[string]any{"subscriptions": map[string][]string{"market_trades": keys(c.trades), "ticker": keys(c.others)}})
	c.say(f.stamp(c, "subscriptions", string(b)))
}

func keys(m map[string]bool) []string {
	out := []string{}
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// list is trades with the newest first.
func (coinbase) list(trades []Trade) string {
	var out []string
	for _, t := range slices.Backward(trades) {
		side := "SELL"
		if t.MakerBuys {
			side = "BUY"
		}
		out = append(out, fmt.Sprintf(`{"trade_id":"%d","product_id":%q,"price":%q,"size":%q,"side":%q,"time":%q}`,
			t.ID, t.Product, t.Price, t.Size, side, t.Time.UTC().Format(time.RFC3339Nano)))
	}
	return strings.Join(out, ",")
}

func (f coinbase) frame(c *conn, trades ...Trade) string {
	if !c.trades[trades[0].Product] {
		return ""
	}
	return f.stamp(c, "market_trades", `{"type":"update","trades":[`+f.list(trades)+`]}`)
}

func (f coinbase) beat(c *conn) string {
	if !c.others["heartbeats"] {
		if time.Since(c.ponged) > c.s.c.Idle {
			c.s.refuse("no heartbeats are subscribed")
			return "end"
		}
		return ""
	}
	c.beats++
	return f.stamp(c, "heartbeats", fmt.Sprintf(`{"current_time":%q,"heartbeat_counter":%d}`, time.Now().UTC().Format("2006-01-02 15:04:05.999999999 -0700 MST"), c.beats))
}

func (f coinbase) rest(s *Server, w http.ResponseWriter, r *http.Request) {
	path, found := strings.CutPrefix(r.URL.Path, "/api/v3/brokerage/market/products/")
	name, found2 := strings.CutSuffix(path, "/ticker")
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.products[name]
	if !found || !found2 || p == nil {
		http.Error(w, `{"error":"NOT_FOUND"}`, http.StatusNotFound)
		return
	}
	limit, start, end := number(r, "limit", 100), number(r, "start", 0), number(r, "end", 1<<40)
	var out []Trade
	for _, t := range p.trades {
		if at := t.Time.Unix(); t.ID >= p.shown && !p.holes[t.ID] && at >= start && at < end {
			out = append(out, t)
		}
	}
	out = out[max(0, int64(len(out))-limit):]
	fmt.Fprintf(w, `{"trades":[%s],"best_bid":"99.5","best_ask":"100.5"}`, f.list(out))
}

type binance struct{}

func (binance) admit(s *Server, r *http.Request) int {
	if r.URL.Path != "/stream" {
		s.refuse("path %s", r.URL.Path)
		return http.StatusNotFound
	}
	return 0
}

func (binance) command(s *Server, c *conn, message []byte) {
	var m struct {
		Method string   `json:"method"`
		Params []string `json:"params"`
		ID     int64    `json:"id"`
	}
	if json.Unmarshal(message, &m) != nil || m.Method != "SUBSCRIBE" {
		s.refuse("a message that is not documented: %s", message)
		c.say(`{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}`)
		return
	}
	for _, stream := range m.Params {
		name, kind, _ := strings.Cut(stream, "@")
		if stream != strings.ToLower(stream) && kind != "bookTicker" {
			s.refuse("the stream %s is not lower case", stream)
		}
		if name = strings.ToUpper(name); kind == "trade" {
			c.trades[name] = true
		} else {
			c.others[stream] = true
		}
	}
	if len(c.trades)+len(c.others) > s.c.Streams {
		s.refuse("more than %d streams", s.c.Streams)
		c.say(fmt.Sprintf(`{"error":{"code":4,"msg":"Too many subscriptions"},"id":%d}`, m.ID))
		return
	}
	c.say(fmt.Sprintf(`{"result":null,"id":%d}`, m.ID))
}

func (binance) frame(c *conn, trades ...Trade) string {
	t := trades[0]
	if !c.trades[t.Product] {
		return ""
	}
	return fmt.Sprintf(`{"stream":"%s@trade","data":{"e":"trade","E":%d,"s":%q,"t":%d,"p":%q,"q":%q,"T":%d,"m":%v,"M":true}}`,
		strings.ToLower(t.Product), t.Time.UnixMilli(), t.Product, t.ID, t.Price, t.Size, t.Time.UnixMilli(), t.MakerBuys)
}

func (binance) beat(*conn) string { return "ping" }

func (binance) rest(s *Server, w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.products[r.URL.Query().Get("symbol")]
	if p == nil {
		http.Error(w, `{"code":-1121,"msg":"Invalid symbol."}`, http.StatusBadRequest)
		return
	}
	limit := int(number(r, "limit", 500))
	all := slices.DeleteFunc(slices.Clone(p.trades), func(t Trade) bool { return t.ID < p.shown || p.holes[t.ID] })
	switch r.URL.Path {
	case "/api/v3/trades":
		all = all[max(0, len(all)-limit):]
	case "/api/v3/historicalTrades":
		from := number(r, "fromId", 0)
		all = slices.DeleteFunc(all, func(t Trade) bool { return t.ID < from })
		all = all[:min(len(all), limit)]
	case "/api/v3/aggTrades":
		at := number(r, "startTime", 0)
		all = slices.DeleteFunc(all, func(t Trade) bool { return t.Time.UnixMilli() < at })
		if len(all) == 0 {
			fmt.Fprint(w, `[]`)
			return
		}
		fmt.Fprintf(w, `[{"a":1,"p":%q,"q":%q,"f":%d,"l":%d,"T":%d,"m":true,"M":true}]`, all[0].Price, all[0].Size, all[0].ID, all[0].ID, all[0].Time.UnixMilli())
		return
	default:
		http.NotFound(w, r)
		return
	}
	var out []string
	for _, t := range all {
		out = append(out, fmt.Sprintf(`{"id":%d,"price":%q,"qty":%q,"quoteQty":"1","time":%d,"isBuyerMaker":%v,"isBestMatch":true}`,
			t.ID, t.Price, t.Size, t.Time.UnixMilli(), t.MakerBuys))
	}
	fmt.Fprintf(w, "[%s]", strings.Join(out, ","))
}

type finnhub struct{}

func (finnhub) admit(s *Server, r *http.Request) int {
	token := r.URL.Query().Get("token")
	if token != Token {
		s.refuse("a wrong token")
		return http.StatusUnauthorized
	}
	for c := range s.conns {
		if c.token == token {
			s.refuse("two connections with one key")
			return http.StatusTooManyRequests
		}
	}
	return 0
}

func (finnhub) command(s *Server, c *conn, message []byte) {
	var m struct{ Type, Symbol string }
	switch {
	case json.Unmarshal(message, &m) != nil || m.Type != "subscribe":
		s.refuse("a message that is not documented: %s", message)
	case s.products[m.Symbol] == nil:
		s.refuse("unknown symbol %s", m.Symbol)
		c.say(fmt.Sprintf(`{"type":"error","msg":"Invalid symbol: %s"}`, m.Symbol))
	case len(c.trades) >= s.c.Streams:
		s.refuse("more than %d symbols", s.c.Streams)
		c.say(`{"type":"error","msg":"Subscribing to too many symbols"}`)
	default:
		c.trades[m.Symbol] = true
	}
}

func (finnhub) frame(c *conn, trades ...Trade) string {
	t := trades[0]
	if !c.trades[t.Product] {
		return ""
	}
	return fmt.Sprintf(`{"data":[{"c":null,"p":%s,"s":%q,"t":%d,"v":%s}],"type":"trade"}`, t.Price, t.Product, t.Time.UnixMilli(), t.Size)
}

func (finnhub) beat(*conn) string { return `{"type":"ping"}` }

func (finnhub) rest(_ *Server, w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }
