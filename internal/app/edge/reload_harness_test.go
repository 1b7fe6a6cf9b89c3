// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"tickedge/internal/app"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/logtest"
)

// reloaded is an edge whose configuration a test changes.
type reloaded struct {
	*testing.T
	dir     string
	hangups chan os.Signal
	said    *logtest.Log
	read    int // Lines of the log about reloads so far.
}

// startReloaded runs an edge with a configuration, which is edge.yaml in a folder of its own.
func startReloaded(t *testing.T, config string, args ...string) *reloaded {
	t.Helper()
	r := &reloaded{T: t, dir: t.TempDir(), hangups: make(chan os.Signal, 1), said: new(logtest.Log)}
	r.write("edge.yaml", config)
	c, err := Parse(append([]string{"-config", r.path("edge.yaml"), "-loops", "2", "-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-drain", "10ms"}, args...))
	if err != nil {
		t.Fatal(err)
	}
	c.hangups, c.level = r.hangups, new(slog.LevelVar)
	c.log.SetLevel(c.level)
	log := slog.New(slog.NewTextHandler(r.said, &slog.HandlerOptions{Level: c.level}))
	ctx, stop := context.WithCancel(context.Background())
	code := make(chan int, 1)
	go func() { code <- Run(ctx, c, log) }()
	t.Cleanup(func() {
		stop()
		if code := <-code; code != app.OK {
			t.Errorf("code %d", code)
		}
		if t.Failed() {
			t.Logf("log:\n%s", r.said)
		}
	})
	redistest.Eventually(t, "the edge listens", func() bool { return r.said.Count("admin port open") == 1 && r.said.Count("msg=listening") == 1 })
	return r
}

func (r *reloaded) path(name string) string { return filepath.Join(r.dir, name) }

// write puts a text into a file, whole.
func (r *reloaded) write(name, text string) {
	r.Helper()
	next := r.path(name + ".next")
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		r.Fatal(err)
	}
	if err := os.Rename(next, r.path(name)); err != nil {
		r.Fatal(err)
	}
}

// addr is where a port listens, by its line in the log.
func (r *reloaded) addr(msg string) string {
	r.Helper()
	return regexp.MustCompile(`msg="?` + msg + `"? addr=(\S+)`).FindStringSubmatch(r.said.String())[1]
}

// about are the lines of the log that say what became of a reload.
const about = "configuration"

// hup has the configuration read, and returns what the log says of that.
func (r *reloaded) hup() string {
	r.Helper()
	r.hangups <- syscall.SIGHUP
	return r.awaitReload()
}

func (r *reloaded) awaitReload() string {
	r.Helper()
	redistest.Eventually(r, "the configuration was read", func() bool { return r.said.Count(about) > r.read })
	r.read = r.said.Count(about)
	lines := strings.Split(strings.TrimSpace(r.said.String()), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.Contains(lines[i], about) {
			return lines[i]
		}
	}
	return ""
}

// change is a new configuration, which is applied.
func (r *reloaded) change(config string) {
	r.Helper()
	r.write("edge.yaml", config)
	if line := r.hup(); !strings.Contains(line, "the configuration was read anew\" changed=") {
		r.Fatalf("not applied: %s", line)
	}
}

// metric is the value of a line of /metrics.
func (r *reloaded) metric(name string) string {
	r.Helper()
	res, err := http.Get("http://" + r.addr("admin port open") + "/metrics")
	if err != nil {
		r.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return "none"
}

// enter opens a WebSocket with an origin or a token, and returns its hello. It returns the status if it is refused.
func (r *reloaded) enter(origin, token string) (ws *websocket.Conn, hello string, status int) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	header := http.Header{}
	if origin != "" {
		header.Set("Origin", origin)
	}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	ws, res, err := websocket.Dial(ctx, "ws://"+r.addr("listening")+"/ws", &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		if res == nil {
			r.Fatal(err)
		}
		return nil, "", res.StatusCode
	}
	r.Cleanup(func() { _ = ws.CloseNow() })
	_, text, err := ws.Read(ctx)
	if err != nil {
		r.Fatal(err)
	}
	return ws, string(text), http.StatusSwitchingProtocols
}

// wants fails if a client is not let in, or not refused, as it should be.
func (r *reloaded) wants(origin, token string, status int) {
	r.Helper()
	if _, _, got := r.enter(origin, token); got != status {
		r.Errorf("origin %q: status %d, want %d", origin, got, status)
	}
}

// ask sends a command, and returns the message that answers it.
func (r *reloaded) ask(ws *websocket.Conn, command, answer string) string {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	if err := ws.Write(ctx, websocket.MessageText, []byte(command)); err != nil {
		r.Fatal(err)
	}
	for {
		_, text, err := ws.Read(ctx)
		if err != nil {
			r.Fatal(err)
		}
		if strings.Contains(string(text), answer) {
			return string(text)
		}
	}
}

// tokenOf is a token that is signed with a secret.
func tokenOf(t *testing.T, secret, issuer string) string {
	t.Helper()
	claims := jwt.MapClaims{"sub": "ann", "iss": issuer, "exp": time.Now().Add(time.Hour).Unix()}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// shows is the number of the certificate that a port shows to a new connection, which comes with certificates, or why it is refused.
func shows(t *testing.T, addr string, with []tls.Certificate) string {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, Certificates: with, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	return fmt.Sprint(conn.ConnectionState().PeerCertificates[0].SerialNumber)
}

// numberOf is the number of the certificate in a file.
func numberOf(t *testing.T, cert, key string) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(pair.Leaf.SerialNumber)
}
