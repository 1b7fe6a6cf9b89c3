// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/logtest"
	"tickedge/internal/nettest"
)

// changed is a file of deploy/ with places of it replaced, each of which is to be there.
func changed(t *testing.T, name string, changes map[string]string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	config := string(text)
	for pattern, with := range changes {
		was := config
		if config = regexp.MustCompile(pattern).ReplaceAllLiteralString(config, with); config == was {
			t.Fatalf("%s has no %s", name, pattern)
		}
	}
	return config
}

// proxy runs a program with its configuration in a file behind args, until the test ends.
func proxy(t *testing.T, config string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(args[0])
	if err != nil {
		t.Fatalf("%s is missing: make deps", args[0])
	}
	file := filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, append(args[1:], file)...)
	var said logtest.Log
	cmd.Stderr, cmd.Stdout = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // So that it ends its workers.
		select {
		case <-done:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-done
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", args[0], said.String())
		}
	})
}

// haproxy runs our example, without TLS, before edges, and returns where. changes are more of it.
func haproxy(t *testing.T, edges []*edge, changes map[string]string) (addr string) {
	t.Helper()
	addr = nettest.FreeAddr(t)
	servers := ""
	for i, e := range edges {
		_, port, _ := net.SplitHostPort(e.admin)
		servers += fmt.Sprintf("\tserver edge%d %s port %s\n", i, e.addr, port)
	}
	all := map[string]string{`bind :443 .*`: "bind " + addr, `\tserver edge1 .*\n`: servers}
	for pattern, with := range changes {
		all[pattern] = with
	}
	proxy(t, changed(t, "haproxy/haproxy.cfg", all), "haproxy", "-db", "-f")
	return addr
}

// nginx runs our example, without TLS, before an edge, and returns where. changes are more of it.
func nginx(t *testing.T, e *edge, changes map[string]string) (addr string) {
	t.Helper()
	addr = nettest.FreeAddr(t)
	all := map[string]string{
		`listen 443 .*`: "listen " + addr + ";", `\t\tssl_.*\n`: "", `server 127\.0\.0\.1:8080 `: "server " + e.addr + " ",
		`/run/nginx\.pid`: filepath.Join(t.TempDir(), "pid"), `worker_connections 100000`: "worker_connections 100",
	}
	for pattern, with := range changes {
		all[pattern] = with
	}
	proxy(t, changed(t, "nginx/nginx.conf", all), "nginx", "-e", "stderr", "-g", "daemon off;", "-c")
	return addr
}

// nginxFiles has an nginx that reads HTTP write into a folder alone.
func nginxFiles(dir string) string {
	lines := "\taccess_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		lines += fmt.Sprintf("\t%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	return lines
}

// nginxHTTP runs an nginx that reads HTTP, as many have one already, with its defaults: it buffers answers unless they
// say that they can't be.
func nginxHTTP(t *testing.T, e *edge) (addr string) {
	t.Helper()
	addr, dir := nettest.FreeAddr(t), t.TempDir()
	config := fmt.Sprintf("pid %s/pid;\nevents { worker_connections 100; }\nhttp {\n%s", dir, nginxFiles(dir))
	config += fmt.Sprintf("\tproxy_read_timeout 8s;\n\tserver {\n\t\tlisten %s;\n\t\tlocation / { proxy_pass http://%s; }\n\t}\n}\n", addr, e.addr)
	proxy(t, config, "nginx", "-e", "stderr", "-g", "daemon off;", "-c")
	return addr
}

// Streams of events go through the proxies of our examples, and through an nginx as it is by default: each event as it is
// published, and for longer than those let an answer, or a connection, be silent. The times are shorter than in the
// examples, and so is that of heartbeats.
func TestStreamsBehindProxies(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	for name, run := range map[string]func(t *testing.T, args []string) string{
		"haproxy": func(t *testing.T, args []string) string {
			return haproxy(t, []*edge{start(t, append(args, "-proxy-protocol")...)}, map[string]string{
				`timeout client 10s`: "timeout client 1s", `timeout server 40s`: "timeout server 1s",
			})
		},
		"nginx": func(t *testing.T, args []string) string {
			return nginx(t, start(t, append(args, "-proxy-protocol")...), map[string]string{`proxy_timeout 2m`: "proxy_timeout 8s"})
		},
		"nginx-http": func(t *testing.T, args []string) string { return nginxHTTP(t, start(t, args...)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := run(t, []string{"-redis", redis.URL(), "-heartbeat", "2s"})
			redistest.Eventually(t, "the proxy listens", func() bool {
				res, err := http.Head("http://" + addr + "/sse?topics=A")
				if err == nil {
					res.Body.Close()
				}
				return err == nil && res.StatusCode == http.StatusOK
			})
			next := of(inGo).follows(t, redis, addr, name)
			for range 5 {
				next.want(t, "heartbeat", "")
			}
			sent, arrives := oddValue(3)
			redis.Do("PUBLISH", "channel:prices:"+name, sent)
			next.want(t, "update", arrives)
		})
	}
}

// The longest answer that may be awaited is one that HAProxy waits for: its times are a tenth of those in the example.
func TestLongPollBehindHAProxy(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	redis.Do("SET", "price:AAPL", "1")
	e := start(t, "-redis", redis.URL(), "-proxy-protocol")
	addr := haproxy(t, []*edge{e}, map[string]string{`timeout client 10s`: "timeout client 1s", `timeout server 40s`: "timeout server 4s"})
	var tag string
	redistest.Eventually(t, "a value", func() bool {
		res, err := http.Get("http://" + addr + "/prices/AAPL")
		if err != nil {
			return false
		}
		res.Body.Close()
		tag = res.Header.Get("ETag")
		return res.StatusCode == http.StatusOK
	})
	req, err := http.NewRequest("GET", "http://"+addr+"/prices/AAPL?wait=3s", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("If-None-Match", tag)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusNotModified {
		t.Errorf("%s, want 304", res.Status)
	}
}
