// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"tickedge/internal/auth"
	"tickedge/internal/fanout"
)

// withRevoked makes a server want tokens, of which some may be revoked.
func withRevoked(t testing.TB) (*auth.Revocations, func(*Config)) {
	r := auth.NewRevocations()
	v, err := auth.NewVerifier(auth.Config{Secret: []byte(tokenSecret), Revoked: r}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return r, func(c *Config) { c.Verifier = v }
}

// revoke has a list take the place of the one before, and returns how many connections were ended for it.
func (e *edge) revoke(r *auth.Revocations, list string) (ended int) {
	e.t.Helper()
	if err := r.TakeValue(list); err != nil {
		e.t.Fatal(err)
	}
	ended, err := e.EndRevoked(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	return ended
}

// wantAlive checks that a connection goes on.
func (c *raw) wantAlive() {
	c.t.Helper()
	c.send(command(`{"op":"ping"}`))
	c.want("pong")
}

func TestRevokedTokenEndsConns(t *testing.T) {
	r, tokens := withRevoked(t)
	e := serveHeld(t, map[string]string{"A": `1`}, tokens)
	of := func(user, jti string) string { return tokenOf(user, later(), `,"iat":1000,"jti":"`+jti+`"`) }
	first, second, bob := e.admit(of("alice", "a1"), ""), e.admit(of("alice", "a2"), ""), e.admit(of("bob", "b1"), "")
	_, _, events := e.follow("?topics=A&token=" + of("alice", "a3"))
	events.want("hello")
	// These await what comes: the token of the one is revoked.
	waiting := func(jti string) *raw {
		c := dialRaw(t, e.Addr())
		res, _ := c.get("/price/A?token=" + of("alice", jti))
		before := e.table.Subscriptions()
		c.send([]byte(request("GET", "/price/A?wait=30s&token="+of("alice", jti), "If-None-Match: "+res.Header.Get("ETag"))))
		until(t, func() bool { return e.table.Subscriptions() == before+1 }, "the topic to be held")
		return c
	}
	asking, patient := waiting("a1"), waiting("a2")
	between := dialRaw(t, e.Addr())
	if res, body := between.get("/price/A?token=" + of("alice", "a1")); res.StatusCode != 200 {
		t.Fatalf("%s %s", res.Status, body)
	}

	if n := e.revoke(r, `{"jti":["a1","zz"]}`); n != 2 {
		t.Errorf("%d connections were ended", n)
	}
	if m := first.wantBye(4501); m.Reason != "token revoked" || m.RetryMS != 0 {
		t.Errorf("%+v", m)
	}
	first.close()
	res, body := asking.reply("GET")
	if p := wantProblem(t, res, body, 401, 401); p.Detail != "the token has been revoked" || !strings.Contains(res.Header.Get("WWW-Authenticate"), "revoked") {
		t.Errorf("%v %+v", res.Header, p)
	}
	asking.wantEOF()
	asking.close()
	e.wantClosed("revoked", "4501", 2)
	res, body = between.get("/price/A?token=" + of("alice", "a1"))
	wantProblem(t, res, body, 401, 401)
	second.wantAlive()
	bob.wantAlive()

	// Who comes back with it is refused, and so is who shows it to go on.
	_, res, body = e.ask("", upgradeRequest("?token="+of("alice", "a1")))
	if res.StatusCode != 401 || body != "the token has been revoked" ||
		res.Header.Get("WWW-Authenticate") != `Bearer error="invalid_token", error_description="the token has been revoked"` {
		t.Errorf("%s %v %q", res.Status, res.Header, body)
	}
	_, res, _ = e.ask("", request("GET", "/sse?topics=A&token="+of("alice", "a1")))
	if res.StatusCode != 401 {
		t.Errorf("events: %s", res.Status)
	}
	second.send(command(`{"op":"auth","token":%q,"id":7}`, of("alice", "a1")))
	if m := second.want("error"); m.Code != 401 || m.Reason != "the token has been revoked" || string(m.ID) != "7" {
		t.Errorf("%+v", m)
	}
	until(t, func() bool { return e.tokensRefused("revoked") == 4 }, "four refused tokens")

	// What counts is the token that a connection has now.
	second.send(command(`{"op":"auth","token":%q}`, tokenOf("alice", later(), `,"iat":2000,"jti":"a4"`)))
	second.want("ack")
	if n := e.revoke(r, `{"jti":["a2"],"sub":["bobby",{"sub":"alice","before":1500}]}`); n != 2 {
		t.Errorf("%d connections were ended", n)
	}
	events.want("ack")
	events.want("snapshot")
	if m := events.want("bye"); m.Code != 4501 || m.Reason != "token revoked" {
		t.Errorf("%+v", m)
	}
	res, body = patient.reply("GET")
	wantProblem(t, res, body, 401, 401)
	second.wantAlive()
	if n := e.revoke(r, `{"jti":["a4","b1"]}`); n != 2 {
		t.Errorf("%d connections were ended", n)
	}
	second.wantBye(4501)
	bob.wantBye(4501)
	// A token that is not in the list any more is good again.
	e.revoke(r, `{"jti":[]}`)
	e.admit(of("alice", "a1"), "").wantAlive()
}

// More connections than a turn ends are ended in several.
func TestManyRevokedConns(t *testing.T) {
	r, tokens := withRevoked(t)
	e := serve(t, tokens, func(c *Config) { c.Loops = 1 })
	const n = 3*endMost + 1
	var conns, others []*raw
	for range n {
		conns = append(conns, e.admit(tokenOf("alice", later(), ""), ""))
		if len(conns)%50 == 0 {
			others = append(others, e.admit(tokenOf("bob", later(), ""), ""))
		}
	}
	if ended := e.revoke(r, `{"sub":["alice"]}`); ended != n {
		t.Errorf("%d connections were ended, want %d", ended, n)
	}
	for _, c := range conns {
		c.wantBye(4501)
	}
	for _, c := range others {
		c.wantAlive()
	}
}

// What one turn looks at is bounded, whatever it finds.
func TestTurnsOfRevocation(t *testing.T) {
	r, tokens := withRevoked(t)
	e := serve(t, tokens, func(c *Config) { c.Loops = 1 })
	c := e.admit(tokenOf("alice", later(), ""), "")
	e.onLoops(func(l *loop) {
		next, turns, more := fanout.ConnID(0), 0, true
		for ; more; turns++ {
			if _, more = l.endRevoked(r, &next); int(next) != (turns+1)*revokedMost {
				t.Errorf("turn %d is through with %d places", turns, next)
				return
			}
		}
		if places := len(l.slabs) << slabBits; places == 0 || int(next) != places {
			t.Errorf("looked at %d of %d places", next, places)
		}
	})
	c.wantAlive()
}

func TestNothingToRevoke(t *testing.T) {
	for name, change := range map[string]func(*Config){"no tokens": func(*Config) {}, "no lists": withTokens(t)} {
		t.Run(name, func(t *testing.T) {
			e := serve(t, change)
			c := e.admit(tokenOf("alice", later(), ""), "")
			if n, err := e.EndRevoked(t.Context()); n != 0 || err != nil {
				t.Errorf("%d %v", n, err)
			}
			c.wantAlive()
		})
	}
	t.Run("another user", func(t *testing.T) {
		r, tokens := withRevoked(t)
		e := serve(t, tokens)
		c := e.admit(tokenOf("alice", later(), ""), "")
		if n := e.revoke(r, `{"sub":["bob"]}`); n != 0 {
			t.Errorf("%d were ended", n)
		}
		c.wantAlive()
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := e.EndRevoked(gone); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
