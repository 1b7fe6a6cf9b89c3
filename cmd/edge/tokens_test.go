// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tickedge/internal/broker/redis/redistest"
)

const tokenSecret = "open-sesame-open-sesame-open-sesame"

// signed returns a JWT (RFC 7519) that sign has signed.
func signed(alg, payload string, sign func(text []byte) []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"`+alg+`"}`)) + "." + encode([]byte(payload))
	return text + "." + encode(sign([]byte(text)))
}

func withSecret(text []byte) []byte {
	mac := hmac.New(sha256.New, []byte(tokenSecret))
	mac.Write(text)
	return mac.Sum(nil)
}

// arrival is how a client comes in.
type arrival struct {
	proxied string // What the PROXY header says; none if it is empty.
	origin  string
	token   string
	query   string
}

// try opens a WebSocket. It returns the status of the refusal, or 101.
func (e *edge) try(a arrival) (*client, *http.Response, error) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil && a.proxied != "" {
			_, err = fmt.Fprintf(c, "PROXY TCP4 %s 127.0.0.1 1234 8080\r\n", a.proxied)
		}
		return c, err
	}
	header := http.Header{}
	if a.origin != "" {
		header.Set("Origin", a.origin)
	}
	if a.token != "" {
		header.Set("Authorization", "Bearer "+a.token)
	}
	transport := &http.Transport{DialContext: dial}
	ws, res, err := websocket.Dial(ctx, "ws://"+e.addr+"/ws"+a.query, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: header,
	})
	if err != nil {
		return nil, res, err
	}
	e.t.Cleanup(func() { ws.CloseNow() })
	return &client{e.t, ws}, res, nil
}

// Everything that an edge may ask of its clients, by its flags.
func TestWhoMayConnect(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(tokenSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := start(t, "-redis", redis.URL(), "-log-level", "debug", "-proxy-protocol", "-origin", "https://app.example",
		"-jwt-secret-file", secret, "-jwt-audience", "prices", "-jwt-topics-claim", "may", "-max-conns-per-ip", "2", "-max-sessions-per-user", "2")
	of := func(user, aud string) string {
		return signed("HS256", fmt.Sprintf(`{"sub":%q,"aud":%q,"exp":%d,"may":["AAPL"]}`, user, aud, time.Now().Add(time.Hour).Unix()), withSecret)
	}
	alice, bob := of("alice", "prices"), of("bob", "prices")

	for _, c := range []struct {
		name string
		arrival
		status int
	}{
		{"no token", arrival{"192.0.2.1", "https://app.example", "", ""}, 401},
		{"for somebody else", arrival{"192.0.2.1", "https://app.example", of("alice", "orders"), ""}, 401},
		{"another page", arrival{"192.0.2.1", "https://evil.example", alice, ""}, 403},
		{"another page, of the edge's host", arrival{"192.0.2.1", "http://" + e.addr, alice, ""}, 403},
		{"token twice", arrival{"192.0.2.1", "", alice, "?token=" + alice}, 400},
	} {
		if _, res, err := e.try(c.arrival); err == nil || res == nil || res.StatusCode != c.status {
			t.Errorf("%s: %v %v, want %d", c.name, res, err, c.status)
		}
	}
	if _, res, err := e.try(arrival{"", "", alice, ""}); err == nil || res != nil {
		t.Errorf("without a PROXY header: %v %v, want the end", res, err)
	}

	let := func(a arrival) *client {
		t.Helper()
		var c *client
		// Those who were refused may still be going.
		redistest.Eventually(t, "it is let in", func() bool {
			var res *http.Response
			var err error
			if c, res, err = e.try(a); err != nil && (res == nil || res.StatusCode != 429) {
				t.Fatal(res, err)
			}
			return err == nil
		})
		c.next("hello")
		return c
	}
	first := let(arrival{"192.0.2.1", "https://app.example", alice, "?topics=AAPL,MSFT"})
	if m := first.next("ack"); string(m.Topics) != "1" || len(m.Rejected) != 1 || m.Rejected[0].Topic != "MSFT" || m.Rejected[0].Code != 403 {
		t.Errorf("ack %+v", m)
	}
	second := let(arrival{"192.0.2.1", "", "", "?token=" + alice})
	if _, res, err := e.try(arrival{"192.0.2.1", "", bob, ""}); err == nil || res == nil || res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("a third of one address: %v %v", res, err)
	}
	let(arrival{"192.0.2.2", "", bob, ""})
	let(arrival{"192.0.2.3", "", alice, ""})
	if m := first.next("bye"); m.Code != 4504 {
		t.Errorf("bye %+v", m)
	}
	second.send(`{"op":"auth","token":"` + bob + `","id":1}`)
	if m := second.next("error"); m.Code != 401 || string(m.ID) != "1" {
		t.Errorf("error %+v", m)
	}

	for name, want := range map[string]string{
		`edge_connections_refused_total{reason="token"}`:                       "2",
		`edge_connections_refused_total{reason="origin"}`:                      "2",
		`edge_connections_refused_total{reason="client_limit"}`:                e.metric(`edge_guard_refused_total{limit="too_many_conns"}`),
		`edge_connections_closed_total{code="1006",reason="bad_proxy_header"}`: "1",
		`edge_connections_closed_total{code="4504",reason="replaced"}`:         "1",
		`edge_tokens_refused_total{reason="missing"}`:                          "1",
		`edge_tokens_refused_total{reason="wrong_audience"}`:                   "1",
		`edge_tokens_refused_total{reason="other_user"}`:                       "1",
		`edge_token_keys`:                    "1",
		`edge_guard_sources`:                 "3",
		`edge_guard_sources_forgotten_total`: "0",
	} {
		redistest.Eventually(t, name+" is "+want, func() bool { return e.metric(name) == want })
	}
	log := e.stderr.String()
	if !strings.Contains(log, `"remote":"192.0.2.3"`) {
		t.Error("the log does not name the client behind the proxy")
	}
	for _, s := range []string{tokenSecret, alice, bob, "token="} {
		if strings.Contains(log, s) {
			t.Errorf("the log has %q", s)
		}
	}
}

// An edge that has never had the keys of tokens is no place to send clients to.
func TestNotReadyWithoutTokenKeys(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	var up atomic.Bool
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","x":%q}]}`, base64.RawURLEncoding.EncodeToString(public))
	}))
	defer issuer.Close()
	e := start(t, "-redis", redis.URL(), "-jwt-jwks-url", issuer.URL+"/keys?key=hunter2")
	redistest.Eventually(t, "only the keys are missing", func() bool {
		code, body := e.get("/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "no keys for tokens yet: HTTP 503")
	})
	alice := arrival{token: signed("EdDSA", fmt.Sprintf(`{"sub":"alice","exp":%d}`, time.Now().Add(time.Hour).Unix()), func(text []byte) []byte {
		return ed25519.Sign(private, text)
	})}
	if _, res, err := e.try(alice); err == nil || res == nil || res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("before there are keys: %v %v", res, err)
	}
	if n := e.metric("edge_token_keys_fetched_timestamp_seconds"); n != "0" {
		t.Errorf("keys were fetched at %s", n)
	}
	up.Store(true)
	redistest.Eventually(t, "the edge is ready", func() bool { code, _ := e.get("/readyz"); return code == http.StatusOK })
	c, _, err := e.try(alice)
	if err != nil {
		t.Fatal(err)
	}
	c.next("hello")
	if n := e.metric("edge_token_keys"); n != "1" {
		t.Errorf("edge_token_keys %s", n)
	}
	if e.metric("edge_token_keys_fetch_failures_total") == "0" || e.metric("edge_token_keys_fetched_timestamp_seconds") == "0" {
		t.Error("the fetches are not counted")
	}
	if strings.Contains(e.stderr.String(), "hunter2") {
		t.Error("the log has the query of the URL")
	}
}
