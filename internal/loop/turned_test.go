// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tickedge/internal/guard"
	"tickedge/internal/logtest"
)

// Who is turned away by a limit, or by the rule of origins, is told in a line that names an example and the
// flag that would let it in.
func TestTurnedAwayIsTold(t *testing.T) {
	const local = "127.0.0.1"
	fast := guard.Rate{PerSecond: 1, Burst: 1}
	for name, c := range map[string]struct {
		change func(*Config)
		come   func(e *edge)
		want   []string
	}{
		"origin": {nil, func(e *edge) {
			e.ask("", upgradeWith("", "Origin: https://user:hunter2@shop.example:8443"))
		}, []string{"origin=…@shop.example:8443", "host=", "requests=1", "-origin"}},
		"PROXY header": {func(c *Config) { c.ProxyProtocol = true }, func(e *edge) {
			dialRaw(e.t, e.Addr()).send([]byte(upgradeRequest("")))
		}, []string{"remote=" + local, "connections=1", "error=", "-proxy-protocol"}},
		"head": {nil, func(e *edge) {
			e.ask("", upgradeWith("", "Cookie: "+strings.Repeat("hunter2", 10_000)))
		}, []string{"client=" + local, "requests=1", "reason=", "-max-head"}},
		"maximum": {func(c *Config) { c.MaxConns = 1 }, func(e *edge) {
			e.ask("", upgradeRequest(""))
			e.ask("", upgradeRequest(""))
		}, []string{"client=" + local, "limit=1", "connections=1", "-max-conns"}},
		"connections of one": {func(c *Config) { c.Guard.ConnsPerPrefix = 1 }, func(e *edge) {
			e.ask("127.0.0.3", upgradeRequest(""))
			e.ask("127.0.0.3", upgradeRequest(""))
		}, []string{"client=127.0.0.3", "connections=1", "-max-conns-per-ip"}},
		"rate of one": {func(c *Config) { c.Guard.PerPrefix = fast }, func(e *edge) {
			until(e.t, func() bool { _, res, _ := e.ask("127.0.0.3", upgradeRequest("")); return res.StatusCode == 429 }, "a refusal")
		}, []string{"client=127.0.0.3", "connections=1", "-conn-rate-per-ip"}},
		"rate of all": {func(c *Config) { c.Guard.Total = fast }, func(e *edge) {
			until(e.t, func() bool { _, res, _ := e.ask("", upgradeRequest("")); return res.StatusCode == 503 }, "a refusal")
		}, []string{"client=" + local, "connections=1", "-conn-rate"}},
		"sessions": {func(c *Config) { withTokens(t)(c); c.MaxSessions = 1 }, func(e *edge) {
			token := tokenOf("alice", later(), "")
			e.admit(token, "")
			e.admit(token, "")
		}, []string{"user=alice", "limit=1", "connections=1", "-max-sessions-per-user"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := serve(t, func(cfg *Config) {
				if c.change != nil {
					c.change(cfg)
				}
			})
			c.come(e)
			until(t, func() bool { return strings.Contains(e.log.String(), "hint=") }, "a line")
			said := e.log.String()
			for _, want := range c.want {
				if !strings.Contains(said, want) {
					t.Errorf("it lacks %s:\n%s", want, said)
				}
			}
			if strings.Contains(said, "hunter2") {
				t.Errorf("it has a secret:\n%s", said)
			}
		})
	}
}

// However many are refused, there are few lines, and they count all.
func TestManyRefusalsAreFewLines(t *testing.T) {
	const many = 300
	e := serve(t)
	begin := time.Now()
	for i := range many {
		e.ask("", upgradeWith("", fmt.Sprintf("Origin: https://evil-%d.example", i)))
	}
	e.end(0)
	sum := 0
	counts := regexp.MustCompile(`requests=(\d+)`).FindAllStringSubmatch(e.log.String(), -1)
	for _, n := range counts {
		one, _ := strconv.Atoi(n[1])
		sum += one
	}
	if sum != many {
		t.Errorf("the lines count %d, want %d:\n%s", sum, many, e.log.String())
	}
	if most := 2 + int(time.Since(begin)/turnedEvery); len(counts) > most {
		t.Errorf("%d lines, want at most %d", len(counts), most)
	}
}

// The first is told at once, and what comes behind it each 10 s, or at the end, with its own example.
func TestPaceOfTurnedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logtest.Log // A timer writes it too.
		log := turnedLog{log: slog.New(slog.NewTextHandler(&out, nil))}
		refuse := func(k turned, n uint64, who string) {
			var one turnedAway
			one[k].n, one[k].example = n, example{what: who}
			log.add(&one)
		}
		said := func(want ...string) {
			t.Helper()
			synctest.Wait()
			lines := strings.Split(out.String(), "\n")
			if len(lines)-1 != len(want) {
				t.Fatalf("%d lines, want %d:\n%s", len(lines)-1, len(want), &out)
			}
			for i, w := range want {
				if !strings.Contains(lines[i], w) {
					t.Errorf("line %d lacks %s: %s", i, w, lines[i])
				}
			}
			out.Reset()
		}
		refuse(byHead, 1, "a")
		said("requests=1 client=a")
		refuse(byHead, 5, "b")
		refuse(byHead, 6, "c")
		refuse(byMax, 2, "d")
		said("connections=2 client=d")
		time.Sleep(turnedEvery)
		said("requests=11 client=b")
		time.Sleep(3 * turnedEvery)
		said()
		refuse(byHead, 1, "e")
		refuse(byHead, 1, "f")
		said("client=e")
		log.end()
		said("client=f")
		refuse(byHead, 1, "g")
		said("client=g")
	})
}

func TestShown(t *testing.T) {
	for words, want := range map[string]string{
		"https://shop.example":         "https://shop.example",
		"":                             "",
		"a\x1b[31m\nb\x9bc\u202ed\x7f": "a?[31m?b?c?d?",
		"币安":                           "币安",
		strings.Repeat("x", 201):       strings.Repeat("x", 200) + "…",
		strings.Repeat("安", 100):       strings.Repeat("安", 66) + "?…",
	} {
		if got := shown(words); got != want {
			t.Errorf("%q is shown as %q, want %q", words, got, want)
		}
	}
	if got := shownHost([]byte("https://user:pass@host@other")); got != "…@other" {
		t.Errorf("a password is shown as %q", got)
	}
}
