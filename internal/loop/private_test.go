// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tickedge/internal/auth"
)

// withPrivate makes names private that begin with alerts:, with tokens or without.
func withPrivate(t *testing.T, tokens bool) func(*Config) {
	p, err := auth.ParsePrivate(auth.DefaultPrivate)
	if err != nil {
		t.Fatal(err)
	}
	v, err := auth.NewVerifier(auth.Config{Secret: []byte(tokenSecret), Private: p}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) {
		if c.Private, c.ListTopics = p, true; tokens {
			c.Verifier = v
		}
	}
}

// knock asks for a topic at a door. It returns the code with which it is refused, and why; 0 if it is not.
type knock func(e *edge, token, topic string) (code int, reason string)

func ofAck(m message) (int, string) {
	if len(m.Rejected) == 0 {
		return 0, ""
	}
	return m.Rejected[0].Code, m.Rejected[0].Reason
}

// doors are all ways to a topic: what a new one is, has to stand here.
var doors = map[string]knock{
	"/ws subscribe": func(e *edge, token, topic string) (int, string) {
		c := e.admit(token, "")
		c.send(subscribe(topic))
		return ofAck(c.want("ack"))
	},
	"/ws subscribe with a token to resume": func(e *edge, token, topic string) (int, string) {
		c := e.admit(token, "")
		c.send(command(`{"op":"subscribe","topics":[%q],"since":%q}`, topic, e.stamp()))
		return ofAck(c.want("ack"))
	},
	"/ws ?topics=": func(e *edge, token, topic string) (int, string) {
		return e.byQuery(token, "&topics="+topic)
	},
	"/ws ?resume=": func(e *edge, token, topic string) (int, string) {
		return e.byQuery(token, "&topics="+topic+"&resume="+e.stamp())
	},
	"/ws ?fresh=": func(e *edge, token, topic string) (int, string) {
		return e.byQuery(token, "&topics="+topic+"&fresh="+topic+"&resume="+e.stamp())
	},
	"/ws auth": func(e *edge, token, topic string) (int, string) {
		c := e.admit(tokenOf("42", later(), `,"topics":["alerts:42","alerts:43","AAPL"]`), "&topics="+topic)
		c.send(command(`{"op":"auth","token":%q}`, token))
		return ofAck(c.behindRows("ack"))
	},
	"/sse": func(e *edge, token, topic string) (int, string) {
		_, _, events := e.follow("?topics=" + topic + "&token=" + token)
		events.want("hello")
		return ofAck(events.want("ack"))
	},
	"/sse Last-Event-ID": func(e *edge, token, topic string) (int, string) {
		_, _, events := e.follow("?topics="+topic+"&token="+token, "Last-Event-ID: "+e.stamp(), "X: y")
		events.want("hello")
		return ofAck(events.want("ack"))
	},
	"/prices": func(e *edge, token, topic string) (int, string) {
		res, body := dialRaw(e.t, e.Addr()).get("/prices?topics=" + topic + "&token=" + token)
		if l := parseList(e.t, body); res.StatusCode != 200 || len(l.Missing) > 0 {
			return l.Missing[0].Code, ""
		}
		return 0, ""
	},
	"/prices/…": func(e *edge, token, topic string) (int, string) { return e.byPath("/prices/", token, topic) },
	"/price/…":  func(e *edge, token, topic string) (int, string) { return e.byPath("/price/", token, topic) },
	"/topics": func(e *edge, token, topic string) (int, string) {
		_, body := dialRaw(e.t, e.Addr()).get("/topics?token=" + token)
		if strings.Contains(body, `"`+topic+`"`) {
			return 0, ""
		}
		return 403, ""
	},
}

func (e *edge) byQuery(token, query string) (int, string) {
	c := dialRaw(e.t, e.Addr())
	if err := c.handshake("?token=" + token + query); err != nil {
		e.t.Fatal(err)
	}
	c.want("hello")
	return ofAck(c.want("ack"))
}

func (e *edge) byPath(path, token, topic string) (int, string) {
	res, body := dialRaw(e.t, e.Addr()).get(path + topic + "?token=" + token)
	if res.StatusCode == http.StatusOK {
		return 0, ""
	}
	p := wantProblem(e.t, res, body, res.StatusCode, res.StatusCode)
	return p.Code, p.Detail
}

// behindRows is the next message that has no rows.
func (c *raw) behindRows(kind string) message {
	for {
		m, err := c.read()
		if err != nil {
			c.t.Fatal(err)
		}
		if m.T != "snapshot" && m.T != "update" {
			if m.T != kind {
				c.t.Fatalf("got %s, want %s", m.T, kind)
			}
			return m
		}
	}
}

// At every door a private name is for its user and for who has the whole name, and is refused without
// a word of whether there is such a topic.
func TestPrivateNamesAtEveryDoor(t *testing.T) {
	e := serveHeld(t, map[string]string{"AAPL": `1`, "alerts:42": `2`, "alerts:43": `3`}, withPrivate(t, true))
	for door, knock := range doors {
		for _, c := range []struct {
			name, claim string
			user        string
			allowed     string
		}{
			{"no claim", ``, "42", "AAPL alerts:42"},
			{"another user", ``, "7", "AAPL"},
			{"all", `,"topics":["*"]`, "7", "AAPL"},
			{"a pattern of them", `,"topics":["alerts:*","alerts:4*"]`, "7", ""},
			{"a whole name", `,"topics":["*","alerts:43"]`, "7", "AAPL alerts:43"},
			{"no topics", `,"topics":[]`, "42", "alerts:42"},
		} {
			for _, topic := range []string{"AAPL", "alerts:42", "alerts:43", "alerts:none"} {
				user := c.user
				if door == "/ws auth" {
					if user = "42"; c.user != "42" || topic == "alerts:none" {
						continue // A newer token is of the same user, and what was not had can't be taken away.
					}
				}
				want := 403
				if strings.Contains(c.allowed+" ", topic+" ") && (door != "/topics" || topic == "AAPL") {
					want = 0
				}
				code, reason := knock(e, tokenOf(user, later(), c.claim), topic)
				if code != want {
					t.Errorf("%s, %s: %s answered with %d %q, want %d", door, c.name, topic, code, reason, want)
				}
				if strings.HasPrefix(topic, "alerts:") && reason != "" && !strings.HasPrefix(reason, "this name is private: ") {
					t.Errorf("%s, %s: %s is refused as %q", door, c.name, topic, reason)
				}
			}
		}
	}
}

// Where no token is asked for nobody has them: one that is shown all the same is not looked at.
func TestNobodyHasPrivateNamesWithoutTokens(t *testing.T) {
	e := serveHeld(t, map[string]string{"AAPL": `1`, "alerts:42": `2`}, withPrivate(t, false))
	for door, knock := range doors {
		if door == "/ws auth" {
			continue // It has no effect.
		}
		for topic, want := range map[string]int{"AAPL": 0, "alerts:42": 403, "alerts:none": 403} {
			if code, reason := knock(e, tokenOf("42", later(), ""), topic); code != want {
				t.Errorf("%s: %s answered with %d %q, want %d", door, topic, code, reason, want)
			}
		}
	}
}

// What the source lists is not shown either.
func TestPrivateNamesAreNotListed(t *testing.T) {
	e := serveHeld(t, map[string]string{"alerts:42": `2`}, withPrivate(t, true), func(c *Config) {
		c.SourceNames = func() ([]string, bool) { return []string{"A", "alerts:42", "alerts:41", "alertsX", "Z"}, true }
	})
	_, body := dialRaw(t, e.Addr()).get("/topics?token=" + tokenOf("42", later(), `,"topics":["*","alerts:42"]`))
	if want := `{"topics":["A","Z","alertsX"]}`; body != want {
		t.Errorf("listed: %s, want %s", body, want)
	}
}

// A newer token takes away what it does not allow, and leaves a user's own.
func TestNewerTokenTakesPrivateNamesAway(t *testing.T) {
	e := serve(t, withPrivate(t, true))
	c := e.admit(tokenOf("42", later(), `,"topics":["alerts:43","A"]`), "&topics=alerts:42,alerts:43,A")
	c.send(command(`{"op":"auth","token":%q}`, tokenOf("42", later(), `,"topics":["*"]`)))
	if m := c.want("ack"); string(m.Topics) != "2" || len(m.Rejected) != 1 || m.Rejected[0].Topic != "alerts:43" || m.Rejected[0].Code != 403 {
		t.Errorf("ack = %+v", m)
	}
}

// Nothing in this package looks at a token's claim itself: all of it asks the one grant.
func TestOneGrant(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 20 {
		t.Fatal(files, err)
	}
	claim := regexp.MustCompile(`claims\.Topics|more\.topics|\.topics\b.*Allows`)
	known := regexp.MustCompile(`l\.rights\(|server\.grant\(|s\.topics = claims\.Topics|user, allowed = c\.more\.user, c\.more\.topics`)
	seen := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if !claim.MatchString(line) {
				continue
			}
			if seen++; !known.MatchString(line) {
				t.Errorf("%s:%d: %s: ask Server.grant", name, i+1, strings.TrimSpace(line))
			}
		}
	}
	if seen < 4 {
		t.Errorf("found %d places", seen)
	}
}

// A topic that is delisted has no value to ask for, and who waits for news is told.
func TestDelistedTopicOverHTTP(t *testing.T) {
	e := serveHeld(t, map[string]string{"A": `1`, "B": `1`}, func(c *Config) { c.ListTopics = true })
	one, several := dialRaw(t, e.Addr()), dialRaw(t, e.Addr())
	res, _ := one.get("/price/A")
	before := e.table.Subscriptions()
	one.send([]byte(request("GET", "/price/A?wait=30s", "If-None-Match: "+res.Header.Get("ETag"))))
	res, _ = several.get("/prices?topics=A,B")
	several.send([]byte(request("GET", "/prices?topics=A,B&wait=30s", "If-None-Match: "+res.Header.Get("ETag"))))
	until(t, func() bool { return e.table.Subscriptions() == before+3 }, "the topics to be held")
	begin := time.Now()
	e.publish("A", `null`)
	res, body := one.reply("GET")
	if p := wantProblem(t, res, body, 404, 404); !strings.Contains(p.Detail, "delisted") {
		t.Errorf("the reason is %q", p.Detail)
	}
	if res, body := several.reply("GET"); res.StatusCode != 200 || body != `{"d":[{"s":"B","n":1,"v":1}],"missing":[{"topic":"A","code":404}]}` {
		t.Errorf("%s %q", res.Status, body)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("answered after %v, which is no window", took)
	}
	until(t, func() bool { _, body := one.get("/topics"); return body == `{"topics":["B"]}` }, "the list to leave it out")
	c := dialRaw(t, e.Addr()).upgrade("?topics=A")
	if m := c.want("snapshot"); len(m.Rows) != 1 || m.Rows[0].S != "A" || string(m.Rows[0].V) != "null" {
		t.Errorf("%+v", m)
	}
	e.publish("A", `2`)
	if m := c.want("update"); string(m.Rows[0].V) != "2" {
		t.Errorf("%+v", m)
	}
	if res, body := one.get("/price/A"); res.StatusCode != 200 {
		t.Errorf("live again: %s %q", res.Status, body)
	}
}
