// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"tickedge/internal/app"
	"tickedge/internal/auth"
	"tickedge/internal/broker"
	"tickedge/internal/broker/memory"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/logtest"
	"tickedge/internal/topics"
)

const aRevokedTopic = "tickedge:revoked"

// revoking is an edge with both lists.
type revoking struct {
	*testing.T
	file, addr, admin string
	broker            broker.Publisher
	said              *logtest.Log
}

func startRevoking(t *testing.T) *revoking {
	t.Helper()
	t.Setenv(secretEnv, aSecret)
	r := &revoking{T: t, file: filepath.Join(t.TempDir(), "revoked")}
	r.write("# Nobody yet, but for one.\nsub mallory\n")
	source := memory.Config{URL: "memory://revoked"}
	c, err := Parse([]string{"-source", source.URL, "-loops", "1", "-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-drain", "10ms", "-list-topics", "source",
		"-jwt-revoked-file", r.file, "-jwt-revoked-topic", aRevokedTopic})
	if err != nil {
		t.Fatal(err)
	}
	log, said := logtest.New(t)
	r.said = said
	if r.broker, err = source.Publisher(t.Context(), log); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	code := make(chan int, 1)
	go func() { code <- Run(ctx, c, log) }()
	t.Cleanup(func() {
		stop()
		if code := <-code; code != app.OK {
			t.Errorf("code %d", code)
		}
		r.broker.Close()
	})
	redistest.Eventually(t, "the edge listens and has its feed", func() bool {
		return said.Count("msg=listening") == 1 && said.Count("feed up") == 1 && said.Count("admin port open") == 1
	})
	of := func(msg string) string {
		return regexp.MustCompile(msg + `"? addr=(\S+)`).FindStringSubmatch(said.String())[1]
	}
	r.addr, r.admin = of("msg=listening"), of("admin port open")
	return r
}

func (r *revoking) write(text string) {
	r.Helper()
	if err := os.WriteFile(r.file+".new", []byte(text), 0o600); err != nil {
		r.Fatal(err)
	}
	if err := os.Rename(r.file+".new", r.file); err != nil {
		r.Fatal(err)
	}
}

func (r *revoking) publish(value string) {
	r.Helper()
	tick := []broker.Tick{{Topic: aRevokedTopic, Value: []byte(value)}}
	if !r.broker.Publish(r.Context(), tick) || tick[0].Fate != broker.Taken {
		r.Fatal(tick[0].Fate)
	}
}

func (r *revoking) token(user, jti string, topics ...string) string {
	r.Helper()
	claims := jwt.MapClaims{"sub": user, "jti": jti, "iat": 1000, "exp": time.Now().Add(time.Hour).Unix()}
	if topics != nil {
		claims["topics"] = topics
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(aSecret))
	if err != nil {
		r.Fatal(err)
	}
	return token
}

// dial opens a WebSocket, or returns what it was refused with.
func (r *revoking) dial(token, query string) (ws *websocket.Conn, refused string) {
	r.Helper()
	ws, res, err := websocket.Dial(r.Context(), "ws://"+r.addr+"/ws?token="+token+query, nil)
	if err != nil && res != nil {
		body, _ := io.ReadAll(res.Body)
		return nil, res.Status + " " + strings.TrimSpace(string(body))
	} else if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = ws.CloseNow() })
	return ws, ""
}

// await reads until a message has a text, or the end.
func (r *revoking) await(ws *websocket.Conn, text string) (message string, err error) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	for {
		_, b, err := ws.Read(ctx)
		if err != nil || text != "" && strings.Contains(string(b), text) {
			return string(b), err
		}
	}
}

func (r *revoking) wantEnd(ws *websocket.Conn) {
	r.Helper()
	if _, err := r.await(ws, ""); websocket.CloseStatus(err) != 4501 || !strings.Contains(err.Error(), "token revoked") {
		r.Error(err)
	}
}

func (r *revoking) get(url string) string {
	r.Helper()
	res, err := http.Get("http://" + url)
	if err != nil {
		r.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.Fatal(err)
	}
	return string(body)
}

func (r *revoking) wantMetrics(lines ...string) {
	r.Helper()
	for _, line := range lines {
		redistest.Eventually(r.T, line, func() bool { return strings.Contains(r.get(r.admin+"/metrics"), "\n"+line+"\n") })
	}
}

// Both lists end connections and keep tokens out, and what can't be read changes nothing.
func TestRevokedTokens(t *testing.T) {
	const refused = "401 Unauthorized the token has been revoked"
	r := startRevoking(t)
	if _, why := r.dial(r.token("mallory", "m"), ""); why != refused {
		t.Errorf("by the file that there was: %q", why)
	}
	r.wantMetrics(`edge_revoked_tokens{kind="jti"} 0`, `edge_revoked_tokens{kind="sub"} 1`,
		`edge_revoked_list_current{list="file"} 1`, `edge_revoked_list_current{list="topic"} 0`)
	first, _ := r.dial(r.token("alice", "a1"), "")
	second, _ := r.dial(r.token("alice", "a2"), "")
	r.publish(`{"jti":["a1"],"sub":[]}`)
	r.wantEnd(first)
	r.wantMetrics(`edge_revoked_tokens{kind="jti"} 1`, `edge_revoked_list_current{list="topic"} 1`,
		`edge_connections_closed_total{code="4501",reason="revoked"} 1`, `edge_tokens_refused_total{reason="revoked"} 1`)
	if _, why := r.dial(r.token("alice", "a1"), ""); why != refused {
		t.Errorf("by the topic: %q", why)
	}

	// Nothing of this is a list.
	r.publish(`{"jti":"a2"}`)
	r.write("sub alice\nsub\n")
	r.wantMetrics(`edge_revoked_list_current{list="file"} 0`, `edge_revoked_list_current{list="topic"} 0`,
		`edge_revoked_tokens{kind="jti"} 1`, `edge_revoked_tokens{kind="sub"} 1`)
	if r.said.Count("line 2: want a sub") != 1 || r.said.Count("the value is no list of revoked tokens") != 1 {
		t.Error(r.said)
	}
	r.publish(`null`)
	redistest.Eventually(t, "the end of the topic to be told", func() bool { return r.said.Count("the value is no list of revoked tokens") == 2 })
	for _, of := range []string{"alice:a1", "mallory:m"} {
		user, jti, _ := strings.Cut(of, ":")
		if _, why := r.dial(r.token(user, jti), ""); why != refused {
			t.Errorf("%s, by the lists that there were: %q", of, why)
		}
	}
	if err := second.Write(t.Context(), websocket.MessageText, []byte(`{"op":"ping"}`)); err != nil {
		t.Error(err)
	}
	if _, err := r.await(second, `"t":"pong"`); err != nil {
		t.Error(err)
	}
	third, _ := r.dial(r.token("alice", "a3"), "")
	r.write("sub alice before 1001\n")
	r.wantEnd(third)
	r.publish(`{"jti":[]}`)
	r.wantMetrics(`edge_revoked_list_current{list="file"} 1`, `edge_revoked_list_current{list="topic"} 1`, `edge_revoked_tokens{kind="jti"} 0`)
	if _, why := r.dial(r.token("mallory", "m"), ""); why != "" {
		t.Errorf("who is in no list any more: %q", why)
	}
}

// No client has the topic of revoked tokens, whatever its token says, and no list shows it.
func TestRevokedTopicIsPrivate(t *testing.T) {
	r := startRevoking(t)
	r.publish(`{"jti":["secret-of-a-user"]}`)
	r.wantMetrics(`edge_revoked_list_current{list="topic"} 1`)
	for _, claim := range [][]string{nil, {"*"}, {aRevokedTopic}, {"*", "tickedge:*", aRevokedTopic}} {
		token := r.token("bob", "b", claim...)
		ws, why := r.dial(token, "&topics="+aRevokedTopic)
		if ws == nil {
			t.Fatal(why)
		}
		if m, err := r.await(ws, `"t":"ack"`); err != nil || !strings.Contains(m, `"code":403`) {
			t.Errorf("%v: %s %v", claim, m, err)
		}
		command := `{"op":"subscribe","topics":["` + aRevokedTopic + `"]}`
		if err := ws.Write(t.Context(), websocket.MessageText, []byte(command)); err != nil {
			t.Fatal(err)
		}
		if m, err := r.await(ws, `"t":"ack"`); err != nil || !strings.Contains(m, `"code":403`) {
			t.Errorf("%v: %s %v", claim, m, err)
		}
		for _, target := range []string{"/topics", "/topics?prefix=tickedge", "/price/" + aRevokedTopic, "/prices?topics=" + aRevokedTopic,
			"/prices?topics=tick*&where=true"} {
			sep := "?"
			if strings.Contains(target, "?") {
				sep = "&"
			}
			body := r.get(r.addr + target + sep + "token=" + token)
			if strings.Contains(body, "secret-of-a-user") || strings.HasPrefix(target, "/topics") && strings.Contains(body, aRevokedTopic) {
				t.Errorf("%v: %s has %s", claim, target, body)
			}
		}
	}
}

// While the broker is away the last list stays, and the metric says so.
func TestRevokedTopicWithoutItsBroker(t *testing.T) {
	log, _ := logtest.New(t)
	table := topics.New(topics.Config{Max: 10, Linger: time.Minute, Start: time.Now()})
	id, err := table.AcquireKnown([]byte(aRevokedTopic), 0)
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{cfg: new(Config), log: log, table: table, revoked: auth.NewRevocations()}
	topic := &e.revokedTopic
	topic.name, topic.id = aRevokedTopic, id
	look := func(what string, current, revoked bool) {
		t.Helper()
		e.lookAtRevoked(topic)
		if s := e.revoked.Stats(); s.Current[auth.RevokedTopic] != current || e.revoked.Has("u", 0, 5) != revoked {
			t.Errorf("%s: %+v", what, s)
		}
	}
	look("nothing yet", false, false)
	table.SetSourceState(0, true, 1)
	look("no value", false, false)
	table.Publish(aRevokedTopic, `{"sub":["u"]}`, topics.Meta{})
	look("a value", true, true)
	table.SetSourceState(0, false, 2)
	look("the broker is away", false, true)
	table.SetSourceState(0, true, 3)
	changed := e.revoked.Changed()
	table.Publish(aRevokedTopic, `{"sub":["u"]}`, topics.Meta{})
	look("the same again", true, true)
	select {
	case <-changed:
		t.Error("the same list counts as another")
	default:
	}
	e.cfg.revokedTopic = aRevokedTopic
	e.droppedRevoked("another")
	look("a value of another topic was dropped", true, true)
	e.droppedRevoked(aRevokedTopic)
	look("a newer value was dropped", false, true)
	look("and no other has come", false, true)
	table.Publish(aRevokedTopic, `{"sub":["u"]}`, topics.Meta{})
	look("the same again, behind it", true, true)
	e.droppedRevoked(aRevokedTopic)
	table.Publish(aRevokedTopic, `{"sub":[]}`, topics.Meta{})
	look("an empty list", true, false)
}

func TestRevokedFlags(t *testing.T) {
	t.Setenv(secretEnv, aSecret)
	file := filepath.Join(t.TempDir(), "revoked")
	for name, want := range map[string]string{
		"revoked": "want a name that no client can have", "tickedge:": "want a name", "tickedge:control": "and not tickedge:control", "tickedge:a b": "want a name",
		aRevokedTopic: "",
	} {
		_, err := Parse([]string{"-demo", "-jwt-revoked-topic", name})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for text, want := range map[string]string{"jti a\njti b c": "line 2: want", "jti a": ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Parse([]string{"-demo", "-jwt-revoked-file", file})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), "-jwt-revoked-file") || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
