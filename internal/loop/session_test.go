// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"tickedge/internal/fanout"
)

func withSessions(most int) func(*Config) { return func(c *Config) { c.MaxSessions = most } }

func TestNewestSessionsStay(t *testing.T) {
	e := serve(t, withTokens(t), withSessions(2))
	alice, bob := tokenOf("alice", later(), ""), tokenOf("bob", later(), "")
	first := e.admit(alice, "&topics=A")
	second := e.admit(alice, "&topics=A")
	other := e.admit(bob, "&topics=A")
	third := e.admit(alice, "&topics=A")
	if m := first.wantBye(4504); m.Reason != "replaced by a newer connection" || m.RetryMS != 0 {
		t.Errorf("bye = %+v", m)
	}
	first.close()
	e.wantClosed("replaced", "4504", 1)
	// Who leaves by himself makes room.
	third.close()
	until(t, func() bool { return e.sessionsOf()["alice"] == 1 }, "the third to be gone")
	fourth := e.admit(alice, "&topics=A")
	for _, c := range []*raw{second, other, fourth} {
		c.send(command(`{"op":"ping"}`))
		c.want("pong")
	}
	// A newer token is no newer session.
	second.send(command(`{"op":"auth","token":%q}`, tokenOf("alice", later().Add(time.Hour), "")))
	second.want("ack")
	e.admit(alice, "")
	second.wantBye(4504)
	if got := e.sessionsOf(); got["alice"] != 2 || got["bob"] != 1 || len(got) != 2 {
		t.Errorf("sessions = %v", got)
	}
}

// One whose bye is sent does not count, though its peer has not answered.
func TestLeavingIsNoSession(t *testing.T) {
	e := serve(t, withTokens(t), withSessions(1), func(c *Config) { c.Shard.CloseTimeout = patience })
	ends := time.Now().Add(time.Hour)
	c := e.admit(tokenOf("alice", ends, ""), "")
	e.expireAt(ends.Add(time.Minute))
	c.wantBye(4501)
	if got := e.sessionsOf(); len(got) != 0 || e.Conns() != 1 {
		t.Errorf("sessions = %v of %d connections, want none of 1", got, e.Conns())
	}
}

// However many conns of one user come at once, on whichever loops, the limit is what
// remains, and the registry knows each of them.
func TestSessionsOfAStorm(t *testing.T) {
	const most, come = 3, 50
	e := serve(t, withTokens(t), withSessions(most))
	token := tokenOf("alice", later(), "")
	var all sync.WaitGroup
	conns := make([]*raw, come)
	for i := range come {
		all.Go(func() {
			c, err := connect(e.Addr(), patience)
			if err == nil {
				err = c.handshake(fmt.Sprintf("?token=%s&topics=T%d", token, i))
			}
			if err != nil {
				t.Error(err)
				return
			}
			conns[i] = c
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	t.Cleanup(func() { closeAll(conns) })
	until(t, func() bool { return e.Stats().Open == most && e.Stats().Evicted[fanout.Replaced] == come-most }, "%d to remain", most)
	if got := e.sessionsOf(); got["alice"] != most || len(got) != 1 {
		t.Errorf("sessions = %v", got)
	}
	// Those that remain are those that the registry has.
	known := map[*session]bool{}
	for i := range e.sessions.shards {
		for _, s := range e.sessions.shards[i].users["alice"] {
			known[s] = true
		}
	}
	e.eachConn(func(_ *loop, c *conn) {
		if c.stage == talking && !known[&c.more.session] {
			t.Errorf("conn %d remains and is not in the registry", c.id)
		}
	})
	closeAll(conns)
	until(t, func() bool { return e.Conns() == 0 && len(e.sessionsOf()) == 0 }, "the registry to be empty")
	e.wantClosed("replaced", "4504", come-most)
}

// Word to end a conn may come when its slot has another one.
func TestReplaceHitsNobodyElse(t *testing.T) {
	e := serve(t, withTokens(t), withSessions(1), func(c *Config) { c.Loops = 1 })
	token := tokenOf("alice", later(), "")
	var old *session
	first := e.admit(token, "")
	e.eachConn(func(_ *loop, c *conn) { old = &c.more.session })
	first.close()
	until(t, func() bool { return e.Conns() == 0 }, "the first to be gone")
	c := e.admit(token, "")
	e.eachConn(func(_ *loop, c *conn) {
		if c.id != old.id {
			t.Errorf("conn %d came after %d, so this test shows nothing", c.id, old.id)
		}
	})
	e.onLoops(func(l *loop) { l.replace(old) })
	c.send(command(`{"op":"ping"}`))
	c.want("pong")
}
