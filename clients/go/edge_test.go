// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var market = []string{"AAPL", "MSFT", "TSLA"}

const symbols = "AAPL,MSFT,TSLA"

// A client outlives edges that are killed. Nobody is told of a value twice, and n has no gap that is not told of.
func TestKilledEdges(t *testing.T) {
	leaks(t)
	e := startEdge(t, "127.0.0.1:0", "-demo-symbols", symbols, "-interval", "100ms")
	c := quick(t, "ws://"+e.addr, Options{})
	sub := subscribe(t, c, market...)
	other := subscribe(t, c, "AAPL")
	everyone(t, sub, "values", live, market...)
	for range 3 {
		e.kill()
		everyone(t, sub, "reconnecting", func(u Update) bool { return u.State == Reconnecting && u.Reason != "" }, market...)
		e = startEdge(t, e.addr, "-demo-symbols", symbols, "-interval", "100ms")
		everyone(t, sub, "live again", func(u Update) bool { return live(u) && u.New }, market...)
		next(t, other, "live again", live)
	}
}

// Between all that one takes there are as many ticks as it is told, from an edge that conflates itself.
func TestConflationOfAnEdge(t *testing.T) {
	leaks(t)
	e := startEdge(t, "127.0.0.1:0", "-demo-symbols", symbols, "-demo-rate", "2000", "-interval", "100ms")
	c := quick(t, "ws://"+e.addr, Options{})
	fast, slow := subscribe(t, c, market...), subscribe(t, c, market...)
	sum := func(s *Subscription, last map[string]uint64, u Update) {
		if before, ok := last[u.Topic]; ok && u.New && u.N-before-1 != u.Conflated {
			t.Errorf("%s: from %d to %d, and %d conflated", u.Topic, before, u.N, u.Conflated)
		}
		last[u.Topic] = u.N
	}
	ofFast, ofSlow := make(map[string]uint64), make(map[string]uint64)
	for topic, u := range everyone(t, slow, "values", live, market...) {
		ofSlow[topic] = u.N
	}
	taken := 0
	next(t, fast, "60 values", func(u Update) bool { sum(fast, ofFast, u); taken++; return taken == 60 })
	queued := 0
	for range market {
		next(t, slow, "the newest", func(u Update) bool {
			sum(slow, ofSlow, u)
			queued++
			return u.N >= ofFast[u.Topic]
		})
	}
	if queued > 2*len(market) {
		t.Errorf("the slow one had %d updates to take", queued)
	}
}

// An edge that is drained says goodbye, and the client comes back to the next one.
func TestDrainedEdge(t *testing.T) {
	leaks(t)
	e := startEdge(t, "127.0.0.1:0", "-demo-symbols", symbols)
	sub := subscribe(t, quick(t, "ws://"+e.addr, Options{}), market...)
	everyone(t, sub, "values", live, market...)
	e.signal(sigterm)
	next(t, sub, "the goodbye", func(u Update) bool { return u.State == Reconnecting && u.Code == 1012 })
	<-e.done
	startEdge(t, e.addr, "-demo-symbols", symbols)
	everyone(t, sub, "live again", live, market...)
}

// An edge that hangs is noticed by its silence, both when it is connected and when it takes connections.
func TestStoppedEdge(t *testing.T) {
	leaks(t)
	e := startEdge(t, "127.0.0.1:0", "-demo-symbols", symbols, "-heartbeat", "1s")
	c := quick(t, "ws://"+e.addr, Options{HandshakeTimeout: 500 * time.Millisecond})
	sub := subscribe(t, c, market...)
	everyone(t, sub, "values", live, market...)
	e.signal(sigstop)
	next(t, sub, "silence", func(u Update) bool { return u.State == Reconnecting && u.Reason == "the edge is silent" })
	e.signal(sigcont)
	everyone(t, sub, "live again", live, market...)
	e.signal(sigstop)
	if err := c.Close(); err != nil { // It does not wait for the edge.
		t.Error(err)
	}
}

// As many topics as an edge lets one have are subscribed without going too fast for it.
func TestManyTopics(t *testing.T) {
	leaks(t)
	var names []string
	for i := range 3000 {
		names = append(names, fmt.Sprintf("SYM%04d", i))
	}
	e := startEdge(t, "127.0.0.1:0", "-demo-symbols", strings.Join(names[:100], ","), "-max-topics", "2500", "-topics", "SYM*")
	c := quick(t, "ws://"+e.addr, Options{})
	sub := subscribe(t, c, names...)
	rejected := 0
	next(t, sub, "500 rejections", func(u Update) bool {
		if u.State == Rejected {
			rejected++
			if u.Code != 413 {
				t.Errorf("%+v", u)
			}
		}
		return rejected == 500
	})
	everyone(t, sub, "values", live, names[:100]...)
}

const secret = "a secret of no less than 32 bytes for tests"

// jwt makes a token that ends after a time.
func jwt(life time.Duration, more string) string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	head := part(`{"alg":"HS256","typ":"JWT"}`) + "." + part(fmt.Sprintf(`{"sub":"me","exp":%d%s}`, time.Now().Add(life).Unix(), more))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(head))
	return head + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func edgeWithTokens(t *testing.T) *edge {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return startEdge(t, "127.0.0.1:0", "-demo-symbols", symbols, "-jwt-secret-file", file, "-jwt-leeway", "0s", "-interval", "100ms")
}

// A connection outlives its tokens, and what a newer one allows is asked for again.
func TestTokenIsRenewed(t *testing.T) {
	leaks(t)
	e := edgeWithTokens(t)
	var calls atomic.Int32
	c := quick(t, "ws://"+e.addr, Options{Token: func(context.Context) (string, error) {
		switch calls.Add(1) {
		case 1:
			return jwt(8*time.Second, `,"topics":["AAPL"]`), nil
		case 2:
			return "", errors.New("not now")
		case 3:
			return jwt(8*time.Second, ""), nil
		}
		return jwt(time.Hour, ""), nil
	}})
	sub := subscribe(t, c, market...)
	next(t, sub, "what the token does not allow", func(u Update) bool { return u.Topic == "MSFT" && u.State == Rejected && u.Code == 403 })
	next(t, sub, "what the next one allows", func(u Update) bool {
		if u.State == Reconnecting {
			t.Fatalf("the connection is lost: %+v", u)
		}
		return u.Topic == "MSFT" && live(u)
	})
	ends := time.Now().Add(15 * time.Second) // All tokens but the last have ended then.
	next(t, sub, "values after the end of the tokens", func(u Update) bool {
		if u.State == Reconnecting {
			t.Fatalf("the connection is lost: %+v", u)
		}
		return time.Now().After(ends)
	})
	if n := calls.Load(); n != 4 {
		t.Errorf("%d calls for a token", n)
	}
}

// A token that ends while there is no other is asked for again; one that is refused from the beginning ends the client.
func TestTokenIsRefused(t *testing.T) {
	leaks(t)
	e := edgeWithTokens(t)
	var newer atomic.Bool
	old := jwt(5*time.Second, "")
	c := quick(t, "ws://"+e.addr, Options{Token: func(context.Context) (string, error) {
		if newer.Load() {
			return jwt(time.Hour, ""), nil
		}
		return old, nil
	}})
	sub := subscribe(t, c, market...)
	everyone(t, sub, "values", live, market...)
	next(t, sub, "the end of the token", func(u Update) bool { return u.State == Reconnecting && strings.Contains(u.Reason, "no other") })
	newer.Store(true)
	everyone(t, sub, "values with the newer one", live, market...)

	bad := old[:len(old)-4] + "AAAA"
	for what, o := range map[string]Options{
		"a bad token": {Token: func(context.Context) (string, error) { return bad, nil }},
		"no token":    {},
	} {
		sub := subscribe(t, quick(t, "ws://"+e.addr, o), "AAPL")
		_, err := sub.Next(within(t))
		for err == nil {
			_, err = sub.Next(within(t))
		}
		var refused *ConnError
		if !errors.As(err, &refused) || refused.Status != 401 || strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What is abandoned leaves nothing: no topic, no slot, no goroutine, and the edge is told.
func TestAbandoned(t *testing.T) {
	leaks(t)
	e := startEdge(t, "127.0.0.1:0", "-demo-symbols", symbols)
	c := quick(t, "ws://"+e.addr, Options{})
	keep := subscribe(t, c, "AAPL")
	next(t, keep, "a value", live)
	ctx, cancel := context.WithCancel(context.Background())
	for i := range 2000 {
		s, err := c.Subscribe(ctx, market[i%3], fmt.Sprintf("NO%d", i%50))
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			s.Close()
		}
	}
	cancel()
	next(t, keep, "the end of all others", func(Update) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.topics) == 1 && len(c.leaving) == 0 && len(c.topics["AAPL"].subs) == 1
	})
	again := subscribe(t, c, "MSFT")
	next(t, again, "a value of a topic that was given up", live)
}

// Subscribing, reading and closing from everywhere at once is right while edges come and go.
func TestAtOnce(t *testing.T) {
	leaks(t)
	e := startEdge(t, "127.0.0.1:0", "-demo-symbols", symbols, "-interval", "100ms")
	c := quick(t, "ws://"+e.addr, Options{})
	done := make(chan error)
	for i := range 20 {
		go func() {
			for range 5 {
				s, err := c.Subscribe(context.Background(), slices.Clone(market[i%3:])...)
				if err == nil {
					for range 3 {
						if _, err = s.Next(within(t)); err != nil {
							break
						}
					}
					s.Close()
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for i := range 20 {
		if i == 5 {
			e.kill()
			e = startEdge(t, e.addr, "-demo-symbols", symbols, "-interval", "100ms")
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// A real edge has screens: all of a pattern, ranked, and again after it was killed.
func TestEdgeScreens(t *testing.T) {
	leaks(t)
	e := startEdge(t, "127.0.0.1:0")
	c := quick(t, "ws://"+e.addr+"/ws", Options{})
	all, top := ask(t, c, ScreenConfig{Topics: []string{"*"}}), ask(t, c, ScreenConfig{Topics: []string{"*"}, Where: "p > 0", Top: 3, By: "-p"})
	whole := func() {
		t.Helper()
		change(t, all, "many topics", func(ScreenUpdate) bool { return len(all.Rows()) > 10 })
		change(t, top, "three topics", func(ScreenUpdate) bool { return len(top.Rows()) == 3 })
	}
	whole()
	bad := ask(t, c, ScreenConfig{Topics: []string{"*"}, Where: "p = 5"})
	if u := change(t, bad, "what is wrong", in(Rejected)); u.Code != 400 || u.At != 2 || u.Temporary {
		t.Errorf("%+v", u)
	}
	e.kill()
	change(t, all, "the loss", in(Reconnecting))
	if len(all.Rows()) <= 10 {
		t.Error("what was there is gone")
	}
	startEdge(t, e.addr)
	change(t, all, "all of it again", full)
	whole()
}
