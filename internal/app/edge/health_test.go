// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tickedge/internal/app"
)

// check runs the sub-command.
func check(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = healthcheck(context.Background(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// serveAt answers on 127.0.0.1 and returns where.
func serveAt(t *testing.T, answer http.HandlerFunc) (addr string) {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// It is healthy what answers with 200, wherever flags or the environment say that it listens.
func TestHealthcheckAsksTheAdminPort(t *testing.T) {
	asked := ""
	addr := serveAt(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.Host + r.URL.Path
		w.Write([]byte("ready, but the feed is down\n"))
	})
	t.Setenv("http_proxy", "http://127.0.0.1:1/")
	_, port, _ := net.SplitHostPort(addr)
	for admin, at := range map[string]string{
		addr: addr, ":" + port: "127.0.0.1:" + port, "0.0.0.0:" + port: "127.0.0.1:" + port, "[::]:" + port: "127.0.0.1:" + port, "localhost:" + port: "localhost:" + port,
	} {
		t.Setenv("EDGE_ADMIN", admin)
		code, out, errs := check("-listen", ":8080")
		if code != app.OK || out != "ready, but the feed is down\n" || errs != "" || asked != "GET "+at+"/readyz" {
			t.Errorf("-admin %s: code %d, %q, %q, asked %s", admin, code, out, errs, asked)
		}
	}
	if code, _, errs := check("-live", "-admin", addr); code != app.OK || asked != "GET "+addr+"/healthz" {
		t.Errorf("-live: code %d, %q, asked %s", code, errs, asked)
	}
}

// What is wrong is said in one line, with code 1, or 2 for a wrong flag.
func TestHealthcheckSaysWhatIsWrong(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	status := func(code int, body string) string {
		return serveAt(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, body, code) })
	}
	nobody := httptest.NewServer(nil)
	nobody.Close()
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"not ready", []string{"-admin", status(503, "stopping")}, 1, "/readyz: 503 Service Unavailable: stopping\n"},
		{"another program", []string{"-admin", status(404, "\x1b[2J\xff\r\nsecond line")}, 1, "404 Not Found: ?[2J?"},
		{"a redirect", []string{"-admin", serveAt(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		})}, 1, "302 Found"},
		{"no answer", []string{"-timeout", "50ms", "-admin", serveAt(t, func(http.ResponseWriter, *http.Request) { <-hang })}, 1, "deadline exceeded"},
		{"nobody there", []string{"-admin", nobody.Listener.Addr().String()}, 1, "is edge running, with the same -admin or EDGE_ADMIN?"},
		{"no admin port", []string{"-admin="}, 2, "-admin is empty, so there is no port that could be asked"},
		{"any port", []string{"-admin", "127.0.0.1:0"}, 2, "port 0 is another one at each start"},
		{"no port", []string{"-admin", "8081"}, 2, `-admin is "8081", want host:port such as 127.0.0.1:8081`},
		{"a flag", []string{"-admn", ":8081"}, 2, "admn"},
		{"an argument", []string{"now"}, 2, "belongs to no flag"},
		{"no time", []string{"-timeout", "0s"}, 2, "-timeout is 0s, want more than 0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			begin := time.Now()
			code, out, errs := check(c.args...)
			if code != c.code || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") > 2 {
				t.Errorf("code %d, %q, %q, want code %d and %q", code, out, errs, c.code, c.want)
			}
			if took := time.Since(begin); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	if code, out, _ := check("-h"); code != app.OK || !strings.Contains(out, "HEALTHCHECK CMD") {
		t.Errorf("-h: code %d, %s", code, out)
	}
}
