// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	cryptorand "crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"tickedge/internal/auth"
	"tickedge/internal/fanout"
	"tickedge/internal/guard"
	"tickedge/internal/topics"
)

const tokenSecret = "open-sesame-open-sesame-open-sesame"

// mint returns a token (HS256, RFC 7515) with a secret and a payload.
func mint(secret, payload string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// tokenOf returns a good token of a user. more begins with a comma or is empty.
func tokenOf(user string, expires time.Time, more string) string {
	return mint(tokenSecret, fmt.Sprintf(`{"sub":%q,"exp":%d%s}`, user, expires.Unix(), more))
}

// later is when the tokens of most tests end.
func later() time.Time { return time.Now().Add(time.Hour) }

// withTokens makes a server want tokens.
func withTokens(t testing.TB) func(*Config) {
	v, err := auth.NewVerifier(auth.Config{Secret: []byte(tokenSecret)}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) { c.Verifier = v }
}

// admit opens a WebSocket with a token in the query.
func (e *edge) admit(token, query string) *raw {
	e.t.Helper()
	return dialRaw(e.t, e.Addr()).upgrade("?token=" + token + query)
}

func (e *edge) tokensRefused(reason string) uint64 {
	n, ok := e.Stats().Tokens[reason]
	if !ok {
		e.t.Fatalf("no reason %s", reason)
	}
	return n
}

func TestTokenOfTheHandshake(t *testing.T) {
	const invalid = `Bearer error="invalid_token", error_description="`
	e := serve(t, withTokens(t))
	good, bad := tokenOf("alice", later(), ""), mint("another-secret-another-secret-anot", `{"sub":"alice","exp":99999999999}`)
	for _, tc := range []struct {
		name, query, field string
		status             int
		challenge, counted string
	}{
		{"in the query", "?token=" + good, "X: y", 101, "", ""},
		{"in the field", "", "Authorization: Bearer " + good, 101, "", ""},
		{"none", "", "X: y", 401, "Bearer", "missing"},
		{"empty", "?token=", "X: y", 401, "Bearer", "missing"},
		{"another scheme", "", "Authorization: Basic " + good, 401, "Bearer", "missing"},
		{"bad signature", "?token=" + bad, "X: y", 401, invalid + `the signature of the token is wrong"`, "bad_signature"},
		{"bad signature in the field", "", "Authorization: Bearer " + bad, 401, invalid + `the signature of the token is wrong"`, "bad_signature"},
		{"expired", "?token=" + tokenOf("alice", time.Unix(1, 0), ""), "X: y", 401, invalid + `the token has expired"`, "expired"},
		{"no JWT", "?token=x", "X: y", 401, invalid, "malformed"},
		{"twice", "?token=" + good, "Authorization: Bearer " + good, 400, "", ""},
		{"twice in the query", "?token=" + good + "&token=" + good, "X: y", 400, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := uint64(0)
			if tc.counted != "" {
				before = e.tokensRefused(tc.counted)
			}
			_, res, body := e.ask("", upgradeWith(tc.query, tc.field))
			if res.StatusCode != tc.status || !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), tc.challenge) {
				t.Errorf("answered with %s %v %q, want %d", res.Status, res.Header, body, tc.status)
			}
			if tc.counted != "" {
				until(t, func() bool { return e.tokensRefused(tc.counted) == before+1 }, "%s to be counted", tc.counted)
			}
		})
	}
	// It is asked for a token only if its page may connect, and whether or not it asks for a WebSocket: a page finds out
	// with another request what is against its WebSocket.
	if _, res, body := e.ask("", request("POST", "/ws?token="+bad, "Content-Length: 0")); res.StatusCode != 401 || body != "the signature of the token is wrong" {
		t.Errorf("no upgrade, and a bad token: %s %q", res.Status, body)
	}
	if _, res, _ := e.ask("", request("POST", "/ws", "Content-Length: 0", "Authorization: Bearer "+good)); res.StatusCode != 405 {
		t.Errorf("no upgrade, and a good token: %s", res.Status)
	}
	if _, res, _ := e.ask("", upgradeWith("", "Origin: https://evil.example")); res.StatusCode != 403 {
		t.Errorf("another page: %s", res.Status)
	}
	until(t, func() bool { return e.refused("token") == 8 }, "all to be counted")
}

// Wrong signatures that take milliseconds to verify are verified only so often for one address. The
// others of its tokens are refused unseen, by whichever way they come, and nobody else's.
func TestWrongSignaturesThatCostMuch(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P521(), cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := auth.NewVerifier(auth.Config{KeyFile: file}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	good, err := jwt.NewWithClaims(jwt.SigningMethodES512, jwt.MapClaims{"sub": "alice", "exp": later().Unix()}).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	bad := good[:strings.LastIndexByte(good, '.')+1] + strings.Repeat("A", 176)
	e := serve(t, func(c *Config) { c.Verifier, c.Loops = v, 1 })
	connected := dialRaw(t, e.Addr()).upgrade("?token=" + good)

	// Some are verified and given back while the test goes on, so it counts none of them.
	_, res, _ := e.ask("", upgradeRequest("?token="+bad))
	for range 400 * auth.WrongTokens.Burst {
		if res.StatusCode != 401 {
			break
		}
		_, res, _ = e.ask("", upgradeRequest("?token="+bad))
	}
	if res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Fatalf("answered with %s %v", res.Status, res.Header)
	}
	e.Server.wrongTokens.Spend(guard.PrefixOf(netip.MustParseAddr("127.0.0.1")), 1000, time.Now())
	if _, res, body := e.ask("", upgradeRequest("?token="+good)); res.StatusCode != 429 {
		t.Errorf("a good token of the address: %s %q", res.Status, body)
	}
	connected.send(command(`{"op":"auth","token":%q}`, good))
	if m := connected.want("error"); m.Code != 429 {
		t.Errorf("auth: %+v", m)
	}
	other := dialFrom(t, "127.0.0.2", e.Addr())
	if err := other.handshake("?token=" + good); err != nil {
		t.Errorf("another address: %v", err)
	}
	until(t, func() bool { return e.tokensRefused("too_many_wrong") == 3 }, "the refusals to be counted")
}

// Without keys nobody can be verified yet, and is told to come back.
func TestNoTokenKeysYet(t *testing.T) {
	v, err := auth.NewVerifier(auth.Config{JWKSURL: "http://127.0.0.1:1/"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	e := serve(t, func(c *Config) { c.Verifier = v })
	_, res, _ := e.ask("", upgradeRequest("?token="+tokenOf("alice", later(), "")))
	if res.StatusCode != 503 || res.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("answered with %s %v", res.Status, res.Header)
	}
	wantRetry(t, res, 1, 10)
	until(t, func() bool { return e.tokensRefused("not_ready") == 1 && e.refused("unavailable") == 1 }, "it to be counted")
}

func TestTokenLimitsTopics(t *testing.T) {
	e := serve(t, withTokens(t))
	c := dialRaw(t, e.Addr())
	if err := c.handshake("?topics=AAPL,MSFT,FX:EUR&token=" + tokenOf("alice", later(), `,"topics":["AAPL","FX:*"]`)); err != nil {
		t.Fatal(err)
	}
	c.want("hello")
	ack := c.want("ack")
	if string(ack.Topics) != "2" || len(ack.Rejected) != 1 || ack.Rejected[0].Topic != "MSFT" || ack.Rejected[0].Code != 403 {
		t.Errorf("ack = %+v", ack)
	}
	c.send(subscribe("GOOG", "FX:GBP", "A A", "AAPL"))
	ack = c.want("ack")
	if string(ack.Topics) != "3" || len(ack.Rejected) != 2 || ack.Rejected[0].Topic != "GOOG" || ack.Rejected[0].Code != 403 || ack.Rejected[1].Code != 422 {
		t.Errorf("ack = %+v", ack)
	}
	// A token without the claim allows all, and one with an empty list none.
	all := e.admit(tokenOf("bob", later(), ""), "&topics=GOOG,MSFT")
	none := e.admit(tokenOf("carol", later(), `,"topics":[]`), "&topics=GOOG,AAPL")
	e.publish("GOOG", "1")
	if m := all.want("update"); m.Rows[0].S != "GOOG" {
		t.Errorf("update = %+v", m)
	}
	for _, x := range []struct {
		*raw
		has string
	}{{c, `["AAPL","FX:EUR","FX:GBP"]`}, {all, `["GOOG","MSFT"]`}, {none, `[]`}} {
		x.send(command(`{"op":"list"}`))
		if m := x.want("topics"); string(m.Topics) != x.has {
			t.Errorf("topics = %s, want %s", m.Topics, x.has)
		}
	}
}

// expireAt does what a second of turns does at the time given.
func (e *edge) expireAt(now time.Time) {
	e.onLoops(func(l *loop) {
		for range sweepTurns {
			l.expire(now)
		}
	})
}

func TestRenewal(t *testing.T) {
	e := serve(t, withTokens(t))
	first, second := time.Now().Add(10*time.Minute), time.Now().Add(20*time.Minute)
	c := e.admit(tokenOf("alice", first, ""), "&topics=AAPL,MSFT,GOOG")
	say := func(token string) { c.send(command(`{"op":"auth","token":%q,"id":7}`, token)) }

	for _, tc := range []struct{ token, reason string }{
		{mint("another-secret-another-secret-anot", `{"sub":"alice","exp":99999999999}`), "bad_signature"},
		{tokenOf("alice", time.Unix(1, 0), ""), "expired"},
		{tokenOf("bob", second, `,"topics":[]`), "other_user"},
		{"", "missing"},
	} {
		say(tc.token)
		if m := c.want("error"); m.Code != 401 || string(m.ID) != "7" || m.Reason == "" {
			t.Errorf("%s: %+v", tc.reason, m)
		}
		until(t, func() bool { return e.tokensRefused(tc.reason) == 1 }, "%s to be counted", tc.reason)
	}
	// The old token is in force.
	c.send(command(`{"op":"list"}`))
	if m := c.want("topics"); string(m.Topics) != `["AAPL","MSFT","GOOG"]` {
		t.Errorf("topics = %s", m.Topics)
	}

	say(tokenOf("alice", second, `,"topics":["MSFT","TSLA"]`))
	m := c.want("ack")
	if string(m.ID) != "7" || string(m.Topics) != "1" || len(m.Rejected) != 2 || m.Rejected[0].Topic != "AAPL" || m.Rejected[0].Code != 403 || m.Rejected[1].Topic != "GOOG" {
		t.Errorf("ack = %+v", m)
	}
	if n := e.table.Subscriptions(); n != 1 {
		t.Errorf("%d subscriptions, want 1", n)
	}
	e.expireAt(first.Add(2 * time.Second))
	c.send(subscribe("AAPL", "TSLA"))
	if m := c.want("ack"); string(m.Topics) != "2" || len(m.Rejected) != 1 || m.Rejected[0].Topic != "AAPL" {
		t.Errorf("ack = %+v", m)
	}
	// So it is when a worse one comes, to the topic and to the second.
	say(tokenOf("alice", time.Unix(1, 0), ""))
	c.want("error")
	c.send(subscribe("AAPL"))
	if m := c.want("ack"); len(m.Rejected) != 1 {
		t.Errorf("ack = %+v", m)
	}
	e.expireAt(second.Add(-2 * time.Second))
	c.send(command(`{"op":"ping"}`))
	c.want("pong")
	e.expireAt(second.Add(2 * time.Second))
	c.wantBye(4501)
	e.wantClosed("token_expired", "4501", 0) // The peer has not answered yet.
	c.send(closeFrame(4501, ""))
	c.wantEOF()
	c.close()
	e.wantClosed("token_expired", "4501", 1)
}

// Without a verifier every token is good and none is needed.
func TestAuthWithoutTokens(t *testing.T) {
	e := serve(t)
	c := dialRaw(t, e.Addr()).upgrade("?token=x&topics=A")
	c.send(command(`{"op":"auth","token":"x","id":1}`))
	if m := c.want("ack"); string(m.Topics) != "1" || len(m.Rejected) != 0 {
		t.Errorf("ack = %+v", m)
	}
}

// A turn finds the end of a token, and not before it.
func TestTokenExpires(t *testing.T) {
	e := serve(t, withTokens(t))
	var c *raw
	var ends time.Time
	for life := 2 * time.Second; c == nil; life *= 2 { // A machine may be so busy that it is over before it begins.
		ends = time.Now().Add(life).Truncate(time.Second)
		c, _, _ = e.ask("", upgradeRequest("?topics=A&token="+tokenOf("alice", ends, "")))
	}
	c.want("ack")
	forever := e.admit(tokenOf("bob", later(), ""), "&topics=A")
	if m := c.wantBye(4501); m.Reason != "token expired" || m.RetryMS != 0 {
		t.Errorf("bye = %+v", m)
	}
	if now := time.Now(); now.Before(ends) {
		t.Errorf("the end came %v early", ends.Sub(now))
	}
	c.close()
	e.wantClosed("token_expired", "4501", 1)
	forever.send(command(`{"op":"ping"}`))
	forever.want("pong")
}

// expirer is a loop without sockets: only its expiries and what they end.
type expirer struct {
	fanout.Sink
	l     *loop
	ended map[fanout.ConnID]bool
}

func newExpirer(conns int) *expirer {
	x := &expirer{l: &loop{}, ended: map[fanout.ConnID]bool{}}
	for range conns>>slabBits + 1 {
		x.l.slabs = append(x.l.slabs, new([1 << slabBits]conn))
	}
	x.l.shard = fanout.New(quick().Shard, topics.New(topics.Config{Max: 1, Linger: time.Minute}), x, time.Now())
	for range conns {
		x.l.shard.Add() // So that the shard knows the ids.
	}
	return x
}

func (x *expirer) Backlog(fanout.ConnID) int { return 0 }

func (x *expirer) Evict(id fanout.ConnID, _ fanout.Reason) {
	x.ended[id] = true
	x.remove(id)
}

func (x *expirer) remove(id fanout.ConnID) {
	x.l.expiries.remove(x.l, &x.l.conn(id).more.session)
	x.l.conn(id).more = nil
}

func (x *expirer) set(id fanout.ConnID, at int64) {
	s := &x.l.conn(id).details().session
	s.id = id
	x.l.expiries.remove(x.l, s)
	x.l.expiries.add(s, time.Unix(at, 0))
}

// Whatever comes, goes and is renewed, each session is where it says, and a sweep finds
// exactly those that have ended.
func TestExpiriesModel(t *testing.T) {
	const conns, rounds, steps, span = 3000, 20, 4000, 1000
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	x := newExpirer(conns)
	want := map[fanout.ConnID]int64{}
	for range rounds {
		for range steps {
			id := fanout.ConnID(rng.IntN(conns))
			if rng.IntN(3) > 0 {
				want[id] = int64(rng.IntN(span))
				x.set(id, want[id])
			} else if _, ok := want[id]; ok {
				delete(want, id)
				x.remove(id)
			}
			if rng.IntN(100) == 0 {
				x.l.expire(time.Unix(0, -1)) // A turn of a sweep, in which nothing has ended.
			}
		}
		if len(x.l.expiries.list) != len(want) || len(x.ended) != 0 {
			t.Fatalf("%d expiries and %d ended, want %d and none", len(x.l.expiries.list), len(x.ended), len(want))
		}
		for i, y := range x.l.expiries.list {
			if at, ok := want[y.id]; !ok || at != y.at || int(x.l.conn(y.id).more.expiry) != i+1 {
				t.Fatalf("at %d is %+v, want it at %d with the end %d", i, y, x.l.conn(y.id).more.expiry-1, at)
			}
		}
		now := int64(rng.IntN(span))
		for range 10 * sweepTurns { // Plenty for the rest of a sweep, and a whole one.
			x.l.expire(time.Unix(now, 999_999_999))
		}
		for id, at := range want {
			if x.ended[id] != (at <= now) {
				t.Fatalf("%d ends at %d; at %d it has ended: %v", id, at, now, x.ended[id])
			}
			if at <= now {
				delete(want, id)
			}
		}
		clear(x.ended)
	}
}

// Many tokens that end together do not make one long turn, and all end in the end.
func TestExpiriesAreSpread(t *testing.T) {
	const conns = 2 * expireMax * sweepTurns
	x := newExpirer(conns)
	for id := range fanout.ConnID(conns) {
		x.set(id, 1)
	}
	turns := 0
	for before := 0; before < conns; turns++ {
		x.l.expire(time.Unix(2, 0))
		if n := len(x.ended) - before; n == 0 || n > expireMax {
			t.Fatalf("%d ended in turn %d, want 1 to %d", n, turns, expireMax)
		}
		before = len(x.ended)
	}
	// As the list gets shorter, so do the turns' parts of it.
	if turns > 10*sweepTurns {
		t.Errorf("it took %d turns", turns)
	}
}

// Many go while a sweep is on its way. Those who are left are found, and nobody else.
func TestSweepOfAListThatShrinks(t *testing.T) {
	const conns = 1000
	x := newExpirer(conns)
	for id := range fanout.ConnID(conns) {
		x.set(id, int64(id%2)) // Every other one has ended.
	}
	x.l.expire(time.Unix(0, -1))
	for id := range fanout.ConnID(conns) {
		if id%10 > 1 {
			x.remove(id)
		}
	}
	for range 2 * sweepTurns {
		x.l.expire(time.Unix(0, 0))
	}
	for id := range fanout.ConnID(conns) {
		if want := id%10 == 0; x.ended[id] != want {
			t.Fatalf("%d has ended: %v, want %v", id, x.ended[id], want)
		}
	}
}

// A fraction of a second is not taken from anybody.
func TestExpiryIsRoundedUp(t *testing.T) {
	x := newExpirer(1)
	s := &x.l.conn(0).details().session
	x.l.expiries.add(s, time.Unix(100, 1))
	x.l.expire(time.Unix(100, 2))
	if len(x.ended) != 0 {
		t.Error("it ended in its last second")
	}
	x.l.expire(time.Unix(101, 0))
	if len(x.ended) != 1 {
		t.Error("it did not end")
	}
}
