// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/logtest"
	"tickedge/internal/nettest"
)

// startAlerts runs the program alerts, built anew, with the key of docker-compose.yml, and returns where.
func startAlerts(t *testing.T, redis string) (addr string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "alerts")
	build := exec.Command("go", "build", "-o", path, "../alerts")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	addr = nettest.FreeAddr(t)
	cmd := exec.Command(path, "-source="+redis, "-store="+filepath.Join(dir, "store"), "-listen="+addr, "-admin=",
		"-key-file="+filepath.Join("..", "..", "deploy", "config", "alerts.keys"), "-trust-proxy=127.0.0.1")
	var said logtest.Log
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("alerts said:\n%s", &said)
		}
	})
	return addr
}

// Who knows the four calls of a well-known example of a stock monitor finds them here, behind the proxy of docker-compose.yml.
func TestExampleOfFourCalls(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	redis.Do("SET", "price:AAPL", `{"p":149.5,"ts":1}`)
	e := start(t, "-redis", redis.URL(), "-proxy-protocol", "-page", "-page-alerts", "/alerts", "-page-history", "/history")
	c := compose(t, []*edge{e}, "127.0.0.1:9", startAlerts(t, redis.URL()))
	call := func(command string) (out string) {
		t.Helper()
		command = strings.ReplaceAll(command, "localhost:8080", c.host)
		redistest.Eventually(t, command+" is answered", func() bool {
			text, err := exec.Command("sh", "-c", strings.Replace(command, "curl", "curl -fsS --max-time 5", 1)).CombinedOutput()
			out = string(text)
			return err == nil && !strings.Contains(out, "503") && !strings.Contains(out, "502")
		})
		return out
	}
	for _, c := range []struct{ command, want string }{
		{`curl http://localhost:8080/health`, ""},
		{`curl http://localhost:8080/price/AAPL`, `149.5`},
		{`curl -X POST http://localhost:8080/alerts -H "Content-Type: application/json" -d '{"user_id": 1, "symbol": "AAPL", "target_price": 150.00, "condition": "ABOVE"}'`,
			`{"id":1,"user_id":1,"symbol":"AAPL","condition":"ABOVE","target_price":150,"state":"active","active":true,`},
		{`curl "http://localhost:8080/alerts?user_id=1&active_only=true"`, `{"alerts":[{"id":1,"user_id":1,"symbol":"AAPL",`},
	} {
		if out := call(c.command); !strings.Contains(out, c.want) {
			t.Errorf("%s\nprints %s, want %s", c.command, out, c.want)
		}
	}
	// It fires, and is told.
	tick := `{"p":150,"ts":9999999999999}`
	redis.Do("SET", "price:AAPL", tick)
	redistest.Eventually(t, "the alert has fired", func() bool {
		redis.Do("PUBLISH", "channel:prices:AAPL", tick)
		return strings.Contains(call(`curl "http://localhost:8080/alerts?user_id=1"`), `"state":"fired"`)
	})
	if out := call(`curl "http://localhost:8080/alerts/fired?user_id=1"`); !strings.Contains(out, `{"fired":[{"n":1,"alert":1,`) {
		t.Error(out)
	}
	redistest.Eventually(t, "the user's topic is there", func() bool { return strings.Contains(redis.Do("GET", "price:alerts:1"), `"ver":1}`) })
	// Whoever comes from elsewhere has prices, and sets no alerts without a key.
	for path, want := range map[string]int{"/price/AAPL": http.StatusOK, "/alerts?user_id=1": http.StatusUnauthorized} {
		res, err := c.secure.Get("https://" + c.clients + path)
		if err != nil {
			t.Fatal(err)
		}
		if res.Body.Close(); res.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}
}
