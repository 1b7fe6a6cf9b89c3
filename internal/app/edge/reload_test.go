// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pricesv1 "tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/logtest"
	"tickedge/internal/tlstest"
)

const ok, forbidden, unknown = http.StatusSwitchingProtocols, http.StatusForbidden, http.StatusUnauthorized

// An origin is let in from a reload on, and one that was taken out is not, but who is there stays.
func TestReloadOrigins(t *testing.T) {
	t.Parallel()
	const a, b = "https://a.example.com", "https://b.example.com"
	r := startReloaded(t, "source: memory\norigin: "+a)
	ws, _, _ := r.enter(a, "")
	r.wants(b, "", forbidden)
	r.change("source: memory\norigin: " + b)
	for range 8 { // Of both loops, of which one may have had no connection before.
		r.wants(a, "", forbidden)
		r.wants(b, "", ok)
	}
	r.ask(ws, `{"op":"ping","id":7}`, `"pong"`)
	if line := r.hup(); !strings.Contains(line, "nothing has changed") {
		t.Error(line)
	}
	if n := r.metric(`edge_reloads_total{result="applied"}`) + r.metric(`edge_reloads_total{result="unchanged"}`); n != "11" {
		t.Errorf("applied and unchanged are %s", n)
	}
}

// The limits hold from the next event on, for those who are there too.
func TestReloadLimits(t *testing.T) {
	t.Parallel()
	r := startReloaded(t, "source: memory\nmax-topics: 2\nmax-conns: 20\ngrpc: 127.0.0.1:0\ncommand-rate: 0")
	ws, hello, _ := r.enter("", "")
	if !strings.Contains(hello, `"max_topics":2`) {
		t.Error(hello)
	}
	const three = `{"op":"subscribe","topics":["A","B","C"],"id":1}`
	if got := r.ask(ws, three, `"id":1`); !strings.Contains(got, "more than 2 topics") {
		t.Error(got)
	}
	conn, err := grpc.NewClient("passthrough:///"+r.addr("port for gRPC open"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := pricesv1.NewPricesClient(conn).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rejected := func() int {
		want := &pricesv1.StreamRequest{Command: &pricesv1.StreamRequest_Subscribe{Subscribe: &pricesv1.Subscribe{Topics: []string{"A", "B", "C"}}}}
		if err := stream.Send(want); err != nil {
			t.Fatal(err)
		}
		for {
			m, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if m.GetError() != nil {
				return 3
			}
			if m.GetAck() != nil {
				return len(m.GetAck().GetRejected())
			}
		}
	}
	if n := rejected(); n != 3 {
		t.Errorf("%d are rejected of three topics where there may be 2", n)
	}
	r.change("source: memory\nmax-topics: 3\nmax-conns: 1\ngrpc: 127.0.0.1:0\ncommand-rate: 1\ncommand-burst: 1")
	if got := r.ask(ws, three, `"id":1`); !strings.Contains(got, `"ack"`) || strings.Contains(got, "rejected") {
		t.Error(got)
	}
	if got := r.ask(ws, `{"op":"list","id":2}`, `"id":2`); !strings.Contains(got, "too many commands") {
		t.Error(got)
	}
	if n := rejected(); n != 0 {
		t.Errorf("%d are rejected of three topics where there may be 3", n)
	}
	r.wants("", "", http.StatusServiceUnavailable)
	if n := r.metric("edge_connections_max"); n != "1" {
		t.Errorf("edge_connections_max is %s", n)
	}
	r.change("source: memory\nmax-topics: 2\nmax-conns: 9\ngrpc: 127.0.0.1:0\ncommand-rate: 0\nmax-conns-per-ip: 2")
	if got := r.ask(ws, `{"op":"list","id":3}`, `"id":3`); !strings.Contains(got, `"C"`) {
		t.Errorf("who has three topics has lost one: %s", got)
	}
	if got := r.ask(ws, `{"op":"subscribe","topics":["D","E","F"],"id":4}`, `"id":4`); strings.Count(got, `"code":413`) != 3 {
		t.Errorf("who has more topics than there may be has got others: %s", got)
	}
	r.wants("", "", http.StatusTooManyRequests) // The two that are there came without a limit.
}

// secretFile is a file with a secret in a folder of its own.
func secretFile(t *testing.T, secret string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// What can't be read leaves everything as it is, is said once, and is over when it is good. Nothing of it is applied, also not what
// stands before the mistake.
func TestReloadBadFile(t *testing.T) {
	t.Parallel()
	const a, b = "https://a.example.com", "https://b.example.com"
	secret, api := secretFile(t, aSecret), filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(api, []byte("desk:"+strings.Repeat("k", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	config := "source: memory\norigin: " + a + "\nreload-every: 100ms\napi: 127.0.0.1:0\napi-key-file: " + api + "\njwt-secret-file: " + secret
	r := startReloaded(t, config)
	if n := r.metric("edge_reload_successful"); n != "1" {
		t.Errorf("edge_reload_successful is %s from the start", n)
	}
	started := r.metric("edge_reload_timestamp_seconds")
	token := tokenOf(t, aSecret, "")
	changed := strings.Replace(config, a, b, 1)
	for _, bad := range []struct{ file, text, says string }{
		{"edge.yaml", changed + "\nmax-topics: 5000", "-max-topics (" + r.path("edge.yaml") + ":7) is 5000, want 1 to 4096"},
		{"edge.yaml", changed + "\nno-such-flag: 1", "unknown flag no-such-flag"},
		{"edge.yaml", changed + "\nmax-conns: [", "it is not valid YAML"},
		{"edge.yaml", changed + "\nmax-conns: 1000000000", "needs 1000"},
		{"edge.yaml", changed + "\napi-tls-cert: /no/such", "-api-tls-cert and -api-tls-key"},
		{"edge.yaml", strings.Replace(changed, secret, "/no/such", 1), "no such file"},
		{"edge.yaml", strings.Replace(changed, api, secret, 1), "want name:key"},
		{secret, "hunter2", "it has 7 bytes"},
		{api, "desk:hunter2", "line 1: want a key of 32 characters"},
	} {
		failed, lines := r.metric(`edge_reloads_total{result="failed"}`), r.said.Count("level=ERROR")
		good, name := "", bad.file
		if name == "edge.yaml" {
			name = r.path(name)
		}
		if before, err := os.ReadFile(name); err != nil {
			t.Fatal(err)
		} else {
			good = string(before)
		}
		put := func(text string) {
			if err := os.WriteFile(name+".next", []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(name+".next", name); err != nil {
				t.Fatal(err)
			}
		}
		put(bad.text)
		line := r.awaitReload()
		if !strings.Contains(line, "level=ERROR") || !strings.Contains(line, bad.says) || strings.Contains(line, "hunter2") || !strings.Contains(line, "hint=") {
			t.Errorf("it says %s\nwant %s", line, bad.says)
		}
		if n := r.metric("edge_reload_successful"); n != "0" || r.metric("edge_reload_timestamp_seconds") < started {
			t.Errorf("edge_reload_successful is %s", n)
		}
		r.wants(a, token, ok)
		r.wants(b, token, forbidden)
		put(good)
		if line := r.awaitReload(); !strings.Contains(line, "nothing has changed") {
			t.Error(line)
		}
		if n := r.said.Count("level=ERROR"); n != lines+1 {
			t.Errorf("%d lines of errors came for it, want 1: %s", n-lines, bad.says)
		}
		if n := r.metric(`edge_reloads_total{result="failed"}`); n == failed || r.metric("edge_reload_successful") != "1" {
			t.Errorf("%s have failed, as before", n)
		}
	}
}

// Whoever asks is told each time, but a watch that looks again and again tells once.
func TestReloadTellsWhoAsks(t *testing.T) {
	t.Parallel()
	r := startReloaded(t, "source: memory\nreload-every: 0")
	r.write("edge.yaml", "max-conns: 1 [")
	for range 2 {
		if line := r.hup(); !strings.Contains(line, "level=ERROR") || !strings.Contains(line, "by=SIGHUP") {
			t.Error(line)
		}
	}
	if n := r.metric(`edge_reloads_total{result="failed"}`); n != "2" {
		t.Errorf("%s have failed, want 2", n)
	}
}

// One mistake that is found again and again is one line, another one is another.
func TestReloadComplainsOnce(t *testing.T) {
	t.Parallel()
	log, said := logtest.New(t)
	r := &reloader{edge: &edge{log: log}}
	for i, c := range []struct{ text, by string }{{"a\nb", "its files"}, {"a\nb", "its files"}, {"a\nb", "SIGHUP"}, {"c", "its files"}, {"c", "its files"}} {
		r.refuse(errors.New(c.text), c.by)
		if want := []int{1, 1, 2, 3, 3}[i]; said.Count("level=ERROR") != want || int(r.reloads.failed.Load()) != want {
			t.Errorf("%d: %d lines, and %d have failed, want %d", i, said.Count("level=ERROR"), r.reloads.failed.Load(), want)
		}
	}
	if said.Count(`error="a; b"`) != 2 {
		t.Error("it does not say all in one line")
	}
}

// What can't change while the edge runs is named in one line, and what can is applied beside it.
func TestReloadNeedsRestart(t *testing.T) {
	t.Parallel()
	r := startReloaded(t, "source: memory\norigin: https://a.example.com\nmax-topics: 100")
	r.change("source: [\"fx:*=memory\", memory]\norigin: https://a.example.com\nmax-topics: 100\nheartbeat: 5s\ndrain-delay: 20ms")
	said := r.said.String()
	if n := strings.Count(said, "need a restart"); n != 1 || !strings.Contains(said, `these need a restart: -source, -heartbeat"`) {
		t.Errorf("%d lines speak of a restart", n)
	}
	if !strings.Contains(said, `changed="-drain-delay 0s -> 20ms"`) {
		t.Error("it does not say what has changed")
	}
	r.write("edge.yaml", "source: memory\norigin: https://a.example.com\nmax-topics: 100\ndrain-delay: 20ms\nprivate: \"x:\"")
	r.hangups <- syscall.SIGHUP
	redistest.Eventually(t, "it says that this needs a restart too", func() bool { return r.said.Count(`these need a restart: -private"`) == 1 })
}

// A secret that was changed by the swap of a link, as Kubernetes does it, is found without a signal: tokens of the old one are refused
// then, and those of the new one are taken. Rules of tokens follow the configuration.
func TestReloadTokens(t *testing.T) {
	t.Parallel()
	const other = "another-secret-of-tokens-of-40-letters-"
	dir := t.TempDir()
	for name, secret := range map[string]string{"..1": aSecret, "..2": other} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "secret"), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to string) {
		if err := os.Symlink(to, filepath.Join(dir, "..next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..next"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	link("..1")
	config := "source: memory\nreload-every: 100ms\njwt-secret-file: " + filepath.Join(dir, "..data", "secret")
	r := startReloaded(t, config)
	older, newer := tokenOf(t, aSecret, "one"), tokenOf(t, other, "one")
	ws, _, _ := r.enter("", older)
	r.wants("", newer, unknown)
	link("..2")
	if line := r.awaitReload(); !strings.Contains(line, `changed="-jwt-secret-file (its content)" by="its files"`) {
		t.Error(line)
	}
	for range 8 {
		r.wants("", older, unknown)
		r.wants("", newer, ok)
	}
	r.ask(ws, `{"op":"ping","id":7}`, `"pong"`)
	r.write("edge.yaml", config+"\njwt-issuer: two")
	if line := r.awaitReload(); !strings.Contains(line, "-jwt-issuer nothing -> two") {
		t.Error(line)
	}
	r.wants("", newer, unknown)
	r.wants("", tokenOf(t, other, "two"), ok)
	r.write("edge.yaml", strings.Replace(config, "jwt-secret-file: ", "# ", 1))
	redistest.Eventually(t, "an edge does not go without tokens", func() bool { return r.said.Count("these need a restart: -jwt-secret-file, -jwt-issuer") == 1 })
	r.wants("", "", unknown)
	if strings.Contains(r.said.String(), other) || strings.Contains(r.said.String(), aSecret) {
		t.Error("the log has a secret")
	}
}

// Keys of the back office and certificates of both ports follow their files, for requests and handshakes from then on.
func TestReloadCertificates(t *testing.T) {
	t.Parallel()
	first, second := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	cert, key := first.Pair()
	keys := secretFile(t, "desk:"+aSecret)
	config := fmt.Sprintf("source: memory\napi: 127.0.0.1:0\napi-key-file: %s\napi-tls-cert: %[2]s\napi-tls-key: %[3]s\napi-client-ca: %[4]s\n"+
		"grpc: 127.0.0.1:0\ngrpc-tls-cert: %[2]s\ngrpc-tls-key: %[3]s\ngrpc-client-ca: %[4]s", keys, cert, key, first.File)
	r := startReloaded(t, config)
	api, rpc := r.addr("back office open"), r.addr("port for gRPC open")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: first.Pool}}}
	kept := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: first.Pool, Certificates: first.Shown()}}}
	call := func(c *http.Client, key string) int {
		req, err := http.NewRequest("GET", "https://"+api+"/conns", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body) // The connection is used again.
		return res.StatusCode
	}
	const other = "another-key-of-more-than-32-letters"
	if got := []int{call(client, aSecret), call(client, other), call(kept, "")}; !slices.Equal(got, []int{200, 401, 200}) {
		t.Errorf("the first key, another and a certificate get %d", got)
	}
	for _, addr := range []string{api, rpc} {
		if got := shows(t, addr, nil); got != numberOf(t, cert, key) {
			t.Errorf("%s shows %s", addr, got)
		}
	}
	nextCert, nextKey := second.Pair()
	if err := os.WriteFile(keys, []byte("desk:"+other), 0o600); err != nil {
		t.Fatal(err)
	}
	r.change(strings.NewReplacer(cert, nextCert, key, nextKey, first.File, second.File).Replace(config))
	if got := []int{call(client, aSecret), call(client, other), call(kept, "")}; !slices.Equal(got, []int{401, 200, 401}) {
		t.Errorf("the first key, the new one and a certificate of an authority that was taken out get %d", got)
	}
	for _, addr := range []string{api, rpc} {
		if got := shows(t, addr, nil); got != numberOf(t, nextCert, nextKey) {
			t.Errorf("%s shows %s after a reload", addr, got)
		}
	}
	line := r.hup()
	if !strings.Contains(line, "nothing has changed") {
		t.Error(line)
	}
	for who, want := range map[*tlstest.Authority]codes.Code{first: codes.Unavailable, second: codes.OK} {
		secure := credentials.NewTLS(&tls.Config{RootCAs: second.Pool, Certificates: who.Shown()})
		conn, err := grpc.NewClient("passthrough:///"+rpc, grpc.WithTransportCredentials(secure))
		if err != nil {
			t.Fatal(err)
		}
		_, err = pricesv1.NewPricesClient(conn).GetPrices(t.Context(), &pricesv1.GetPricesRequest{Topics: []string{"A"}})
		if status.Code(err) != want {
			t.Errorf("a call gets %v, want %v", err, want)
		}
		_ = conn.Close()
	}
}

// A password that was changed at the broker is used by the next connection.
func TestReloadPassword(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	const user, first, second = "edge", "open-sesame-1", "open-sesame-2"
	s.Do("ACL", "SETUSER", user, "on", ">"+first, "~*", "&*", "+@all")
	url := func(password string) string { return strings.Replace(s.URL(), "://", "://"+user+":"+password+"@", 1) }
	r := startReloaded(t, "api: 127.0.0.1:0\napi-key-file: testdata/api-keys\nsource: "+url(first))
	up := func() bool { return r.metric(`edge_feed_current{source="*"}`) == "1" }
	redistest.Eventually(t, "the feed is up", up)
	s.Do("ACL", "SETUSER", user, "resetpass", ">"+second)
	s.Do("CLIENT", "KILL", "USER", user)
	redistest.Eventually(t, "the feed is down", func() bool { return !up() })
	publish := func() int {
		req, err := http.NewRequest("POST", "http://"+r.addr("back office open")+"/publish", strings.NewReader(`{"topic":"A","value":{"p":1}}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer 0123456789abcdef0123456789abcdef")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	r.write("edge.yaml", "api: 127.0.0.1:0\napi-key-file: testdata/api-keys\nsource: "+url(second))
	if line := r.hup(); !strings.Contains(line, `changed="-source (users or passwords)"`) {
		t.Error(line)
	}
	redistest.Eventually(t, "the feed is up again", up)
	redistest.Eventually(t, "what is published comes to the broker", func() bool { return publish() == 200 })
	if strings.Contains(r.said.String(), first) || strings.Contains(r.said.String(), second) {
		t.Error("the log has a password")
	}
}

// The level of the log follows the configuration.
func TestReloadLogLevel(t *testing.T) {
	t.Parallel()
	r := startReloaded(t, "source: memory\nlog-level: info")
	r.wants("", "", ok)
	if r.said.Count("connection opened") > 0 {
		t.Error("there are lines at debug")
	}
	r.change("source: memory\nlog-level: debug")
	r.wants("", "", ok)
	redistest.Eventually(t, "there are lines at debug", func() bool { return r.said.Count("connection opened") > 0 })
}

// What is revoked stays so behind a reload that makes another verifier, and so does what is revoked afterwards.
func TestReloadKeepsRevoked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret, revoked := filepath.Join(dir, "secret"), filepath.Join(dir, "revoked")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	write(secret, aSecret)
	write(revoked, "sub nobody\n")
	config := "source: memory\nreload-every: 0\njwt-secret-file: " + secret + "\njwt-revoked-file: " + revoked
	r := startReloaded(t, config)
	token := tokenOf(t, aSecret, "one")
	r.wants("", token, ok)
	r.change(config + "\njwt-leeway: 20s")
	r.wants("", token, ok)
	write(revoked, "sub ann\n")
	redistest.Eventually(t, "the token is revoked", func() bool {
		ws, _, status := r.enter("", token)
		if ws != nil {
			ws.CloseNow()
		}
		return status == unknown
	})
	r.change(config + "\njwt-leeway: 10s")
	r.wants("", token, unknown)
}

// What can't be read in a moment is not waited for, and what is too long or empty is not taken. Everything stays, and the edge ends as always.
func TestReloadUnreadable(t *testing.T) {
	t.Parallel()
	r := startReloaded(t, "source: memory\norigin: https://a.example.com\nreload-every: 0")
	for what, make := range map[string]func(name string) error{
		"is no file":        func(name string) error { return syscall.Mkfifo(name, 0o600) },
		"is longer than":    func(name string) error { return errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, 8<<30)) },
		"is empty":          func(name string) error { return os.WriteFile(name, nil, 0o600) },
		"is no file, but a": func(name string) error { return os.Mkdir(name, 0o700) },
	} {
		if err := errors.Join(os.Remove(r.path("edge.yaml")), make(r.path("edge.yaml"))); err != nil {
			t.Fatal(err)
		}
		if line := r.hup(); !strings.Contains(line, "can't be read anew") || !strings.Contains(line, what) {
			t.Errorf("%s: %s", what, line)
		}
		r.wants("https://a.example.com", "", ok)
		r.wants("https://b.example.com", "", forbidden)
	}
	if err := os.Remove(r.path("edge.yaml")); err != nil {
		t.Fatal(err)
	}
	r.change("source: memory\norigin: https://b.example.com\nreload-every: 0")
	r.wants("https://b.example.com", "", ok)
}
