// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/nettest"
)

// nginxReads runs our example of an nginx that reads HTTP, without TLS, before an edge and a marketdata, and returns where.
func nginxReads(t *testing.T, e *edge, marketdata string) (addr string) {
	t.Helper()
	addr, dir := nettest.FreeAddr(t), t.TempDir()
	proxy(t, changed(t, "nginx/http.conf", map[string]string{
		`listen 443 .*`: "listen " + addr + ";", `\t\tssl_.*\n`: "", `server 127\.0\.0\.1:8080 `: "server " + e.addr + " ", `server 127\.0\.0\.1:8090;`: "server " + marketdata + ";",
		`server 127\.0\.0\.1:8100;`: "server " + marketdata + ";",
		`/run/nginx\.pid`:           filepath.Join(dir, "pid"), `worker_connections 100000`: "worker_connections 100", `\taccess_log off;\n`: nginxFiles(dir),
	}), "nginx", "-e", "stderr", "-g", "daemon off;", "-c")
	return addr
}

// Behind the proxies of our examples that read requests, the edge and marketdata are one host: each path is that of the one
// that it belongs to, and both know who the client is, whatever it says of itself.
func TestOneHostBehindProxies(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	redis.Do("SET", "price:AAPL", "1")
	bars := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode([]string{r.URL.RequestURI(), strings.Join(r.Header.Values("X-Forwarded-For"), " ")})
	}))
	t.Cleanup(bars.Close)
	market := bars.Listener.Addr().String()
	trust := []string{"-redis", redis.URL(), "-max-conns-per-ip", "100", "-page", "-page-history", "/history"}
	for name, run := range map[string]func(t *testing.T) string{
		"haproxy": func(t *testing.T) string {
			return haproxy(t, []*edge{start(t, append(trust, "-proxy-protocol")...)}, map[string]string{`127\.0\.0\.1:8090 check port 8091`: market,
				`127\.0\.0\.1:8100 check port 8101`: market})
		},
		"compose": func(t *testing.T) string {
			edges := []*edge{start(t, append(trust, "-proxy-protocol")...), start(t, append(trust, "-proxy-protocol")...)}
			return compose(t, edges, market, market).host
		},
		"nginx": func(t *testing.T) string {
			return nginxReads(t, start(t, append(trust, "-trust-proxy", "127.0.0.1")...), market)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := run(t)
			get := func(path string) (status int, body string) {
				req, err := http.NewRequest("GET", "http://"+host+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("X-Forwarded-For", "198.51.100.7")
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					return 0, err.Error()
				}
				defer res.Body.Close()
				text, err := io.ReadAll(res.Body)
				if err != nil {
					return 0, err.Error()
				}
				return res.StatusCode, strings.TrimSpace(string(text))
			}
			for path, want := range map[string]string{
				"/history/COINBASE:BTC%2FUSD?tf=1m&limit=2": `["/history/COINBASE:BTC%2FUSD?tf=1m\u0026limit=2","127.0.0.1"]`,
				"/alerts?user_id=1":                         `["/alerts?user_id=1","127.0.0.1"]`,
				"/alerts/fired":                             `["/alerts/fired","127.0.0.1"]`,
				"/alertsless":                               "not found: the WebSocket is at /ws",
				"/price/AAPL":                               `"AAPL"`,
				"/":                                         `data-history="/history"`,
				"/historyless":                              "not found: the WebSocket is at /ws",
			} {
				var status int
				var body string
				redistest.Eventually(t, path+" is answered", func() bool {
					status, body = get(path)
					return status != 0 && status < 500
				})
				if !strings.Contains(body, want) {
					t.Errorf("%s: %d %.300q, want %s", path, status, body, want)
				}
			}
			next := of(inGo).follows(t, redis, host, name)
			sent, arrives := oddValue(3)
			redis.Do("PUBLISH", "channel:prices:"+name, sent)
			next.want(t, "update", arrives)
		})
	}
}
