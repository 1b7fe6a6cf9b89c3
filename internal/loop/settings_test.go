// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/guard"
)

// adjust has a server go by another configuration.
func (e *edge) adjust(change func(*Config)) {
	e.t.Helper()
	cfg := e.cfg
	set := e.settings.Load()
	cfg.MaxConns, cfg.MaxSessions, cfg.Backlog, cfg.RetrySpread = set.maxConns, set.maxSessions, set.backlog, set.retrySpread
	cfg.Origins, cfg.Existing, cfg.Verifier, cfg.Requests, cfg.Shard = set.origins, set.existing, set.verifier, set.requests, set.shard
	change(&cfg)
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	defer cancel()
	if err := e.Adjust(ctx, cfg); err != nil {
		e.t.Fatal(err)
	}
}

// status is that of a handshake from a page, which a client that is let in ends.
func (e *edge) status(query, origin string) (code int) {
	e.t.Helper()
	c := dialRaw(e.t, e.Addr())
	defer c.close()
	fields := []string{}
	if origin != "" {
		fields = append(fields, "Origin: "+origin)
	}
	c.send([]byte(upgradeWith(query, fields...)))
	var line [12]byte
	if _, err := io.ReadFull(c.br, line[:]); err != nil {
		e.t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(line[:]), "HTTP/1.1 %d", &code); err != nil {
		e.t.Fatal(err)
	}
	return code
}

// A loop that never had a connection goes by the newest settings with its first one, and one that slept does too.
func TestAdjustOfIdleLoops(t *testing.T) {
	origins := func(list string) func(*Config) {
		return func(c *Config) {
			o, err := auth.ParseOrigins(list)
			if err != nil {
				t.Fatal(err)
			}
			c.Origins = o
		}
	}
	const a, b = "https://a.example.com", "https://b.example.com"
	e := serve(t, origins(a))
	e.adjust(origins(b))
	for range 20 { // Of 20 connections some fall to either loop.
		if got := [2]int{e.status("", a), e.status("", b)}; got != [2]int{403, 101} {
			t.Fatalf("they get %v", got)
		}
	}
	until(t, func() bool { return e.Conns() == 0 }, "all to be gone")
	e.adjust(origins(a))
	for range 20 {
		if got := [2]int{e.status("", a), e.status("", b)}; got != [2]int{101, 403} {
			t.Fatalf("they get %v", got)
		}
	}
}

// Limits of connections hold for those that come: nobody has to go.
func TestAdjustConnections(t *testing.T) {
	e := serve(t, func(c *Config) { c.MaxConns = 3 })
	first, second := dialRaw(t, e.Addr()).upgrade(""), dialRaw(t, e.Addr()).upgrade("")
	e.adjust(func(c *Config) { c.MaxConns = 1 })
	if got := e.status("", ""); got != 503 {
		t.Errorf("above the maximum it is %d", got)
	}
	e.adjust(func(c *Config) { c.MaxConns, c.Guard = 10, guard.Config{ConnsPerPrefix: 2} })
	if got := e.status("", ""); got != 429 {
		t.Errorf("above the limit of an address it is %d", got)
	}
	for _, c := range []*raw{first, second} {
		c.send(command(`{"op":"ping"}`))
		c.want("pong")
		c.close()
	}
	until(t, func() bool { return e.Conns() == 0 }, "all to be gone")
	for range 2 {
		dialRaw(t, e.Addr()).upgrade("")
	}
	if got := e.status("", ""); got != 429 {
		t.Errorf("above the limit of an address it is %d", got)
	}
}

// Who was told that commands may be long sends them, also when there may be fewer topics by then.
func TestAdjustTopics(t *testing.T) {
	e := serve(t, func(c *Config) { c.Loops, c.Shard.MaxTopics, c.Shard.SubscribeBurst = 1, 100, 0 })
	c := dialRaw(t, e.Addr()).upgrade("")
	e.adjust(func(c *Config) { c.Shard.MaxTopics = 2 })
	c.send(subscribe(longNames(100)...))
	if m := c.want("ack"); len(m.Rejected) == 0 || m.Rejected[0].Code != 413 || m.Rejected[0].Topic != longNames(100)[2] {
		t.Errorf("%+v are rejected", m.Rejected)
	}
	e.adjust(func(c *Config) { c.Shard.MaxTopics = 200 })
	c.send(subscribe(longNames(200)...))
	if m := c.want("ack"); len(m.Rejected) != 0 {
		t.Errorf("%d topics are rejected, want none", len(m.Rejected))
	}
	late := dialRaw(t, e.Addr())
	if err := late.handshake(""); err != nil {
		t.Fatal(err)
	}
	if m := late.want("hello"); m.MaxTopics != 200 {
		t.Errorf("a new client is told of %d topics", m.MaxTopics)
	}
}

// A lower number of sessions has all go that are too many, when one more comes. Those that came while there was no limit do not
// count, and a limit that is gone leaves nothing behind.
func TestAdjustSessions(t *testing.T) {
	e := serve(t, withTokens(t), withSessions(3))
	ann := tokenOf("ann", later(), "")
	old := []*raw{e.admit(ann, ""), e.admit(ann, ""), e.admit(ann, "")}
	e.adjust(withSessions(1))
	newest := e.admit(ann, "")
	for _, c := range old {
		c.wantBye(4504)
		c.close()
	}
	e.adjust(withSessions(0))
	free := []*raw{e.admit(ann, ""), e.admit(ann, "")}
	newest.close()
	until(t, func() bool { return len(e.sessionsOf()) == 0 }, "the registry to be empty")
	e.adjust(withSessions(1))
	last := e.admit(ann, "")
	for _, c := range append(free, last) {
		c.send(command(`{"op":"ping"}`))
		c.want("pong")
	}
}

// Another verifier takes other tokens, for commands too. It can't be taken away.
func TestAdjustVerifier(t *testing.T) {
	e := serve(t, withTokens(t))
	c := e.admit(tokenOf("ann", later(), ""), "")
	const other = "another-secret-of-tokens-of-40-letters-"
	v, err := auth.NewVerifier(auth.Config{Secret: []byte(other)}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	e.adjust(func(cfg *Config) { cfg.Verifier = v })
	payload := fmt.Sprintf(`{"sub":"ann","exp":%d}`, later().Unix())
	c.send(command(`{"op":"auth","token":%q}`, tokenOf("ann", later(), "")))
	c.want("error")
	c.send(command(`{"op":"auth","token":%q}`, mint(other, payload)))
	c.want("ack")
	e.adjust(func(cfg *Config) { cfg.Verifier = nil })
	if got := [2]int{e.status("", ""), e.status("?token="+mint(other, payload), "")}; got != [2]int{401, 101} {
		t.Errorf("without a token, and with one, it is %v", got)
	}
}

func TestAdjustBringsNoTokens(t *testing.T) {
	e := serve(t)
	e.adjust(withTokens(t))
	if got := e.status("", ""); got != 101 {
		t.Errorf("where there are no tokens it is %d", got)
	}
}

// A configuration that comes again and again to loops without connections waits there once, not each time.
func TestAdjustLeavesNoQueue(t *testing.T) {
	e := serve(t)
	for n := range 100 {
		e.adjust(func(c *Config) { c.RetrySpread = time.Duration(n+1) * time.Second })
	}
	for _, l := range e.loops {
		l.engine.requests.Lock()
		if n := len(l.engine.requests.list); n > 0 {
			t.Errorf("%d requests wait", n)
		}
		l.engine.requests.Unlock()
	}
}
