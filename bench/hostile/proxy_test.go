// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"tickedge/bench/internal/lab"
	"tickedge/internal/nettest"
)

// proxy is one of the examples in deploy/.
type proxy struct {
	program string
	config  string // Of the source tree.
	args    func(config string) []string
	// Places in the example that a test needs elsewhere.
	listen, backend, admin string
	pem                    map[string]string // Path in the example: what is in it.
	rest                   map[string]string
}

// The examples of deploy/ work as they are, but for addresses and paths: a real client
// speaks TLS to the proxy, its WebSocket stays open, and the edge counts it by its own
// address and not by the proxy's.
func TestProxies(t *testing.T) {
	dir := t.TempDir()
	cert, key := selfSigned(t, dir)
	l, err := lab.New(t.Context(), filepath.Join(dir, "logs"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	_, redis, err := l.Redis()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Ticks(redis, 10, 100); err != nil {
		t.Fatal(err)
	}
	for _, p := range []proxy{
		{
			program: "haproxy", config: "deploy/haproxy/haproxy.cfg",
			args:   func(config string) []string { return []string{"-db", "-f", config} },
			listen: "bind :443", backend: "127.0.0.1:8080", admin: "port 8081",
			pem: map[string]string{"/etc/haproxy/edge.pem": cert + key},
		},
		{
			program: "nginx", config: "deploy/nginx/nginx.conf",
			args:   func(config string) []string { return []string{"-c", config, "-g", "daemon off; error_log stderr;"} },
			listen: "listen 443", backend: "127.0.0.1:8080",
			pem:  map[string]string{"/etc/nginx/edge.crt": cert, "/etc/nginx/edge.key": key},
			rest: map[string]string{"/run/nginx.pid": filepath.Join(dir, "nginx.pid"), "worker_connections 100000": "worker_connections 100"},
		},
	} {
		t.Run(p.program, func(t *testing.T) {
			path, err := exec.LookPath(p.program)
			if err != nil {
				t.Fatalf("%s is missing: make deps", p.program)
			}
			server, err := l.Edge(redis, 1, "-proxy-protocol", "-max-conns-per-ip", "1")
			if err != nil {
				t.Fatal(err)
			}
			front := nettest.FreeAddr(t)
			_, frontPort, _ := net.SplitHostPort(front)
			_, adminPort, _ := net.SplitHostPort(server.Admins[0])
			changes := map[string]string{p.listen: strings.Fields(p.listen)[0] + " " + front, p.backend: server.Addr}
			if p.admin != "" {
				changes[p.admin] = "port " + adminPort
			}
			for from, text := range p.pem {
				to := filepath.Join(dir, filepath.Base(from))
				if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				changes[from] = to
			}
			for from, to := range p.rest {
				changes[from] = to
			}
			config := filepath.Join(dir, filepath.Base(p.config))
			text, err := os.ReadFile(filepath.Join(l.Root, p.config))
			if err != nil {
				t.Fatal(err)
			}
			for from, to := range changes {
				if !bytes.Contains(text, []byte(from)) {
					t.Fatalf("%s has no %q", p.config, from)
				}
				text = bytes.ReplaceAll(text, []byte(from), []byte(to))
			}
			if err := os.WriteFile(config, text, 0o600); err != nil {
				t.Fatal(err)
			}
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM([]byte(cert))
			url := "wss://localhost:" + frontPort + "/ws"
			if _, err := l.Start(lab.Spec{Name: p.program, Path: path, Args: p.args(config), Ready: func() error {
				c, err := dialFrom(t.Context(), "127.0.0.9", front, url, pool)
				if err == nil {
					err = c.Close(websocket.StatusNormalClosure, "")
				}
				return err
			}}); err != nil {
				t.Fatal(err)
			}

			// One connection each, by address: the proxy's own does not count.
			first := join(t, "127.0.0.2", front, url, pool)
			second := join(t, "127.0.0.3", front, url, pool)
			if _, err := dialFrom(t.Context(), "127.0.0.2", front, url, pool); err == nil || !strings.Contains(err.Error(), "429") {
				t.Errorf("a second connection of one address: %v, want 429", err)
			}
			for _, c := range []*websocket.Conn{first, second} {
				for range 3 {
					if _, _, err := c.Read(t.Context()); err != nil {
						t.Fatalf("no updates: %v", err)
					}
				}
			}
			// Past the proxy nobody comes in.
			if c, err := dialFrom(t.Context(), "127.0.0.4", server.Addr, "ws://"+server.Addr+"/ws", nil); err == nil {
				c.CloseNow()
				t.Error("a client without a PROXY header was let in")
			}
		})
	}
}

// join opens a WebSocket that subscribes, and reads its hello.
func join(t *testing.T, from, addr, url string, pool *x509.CertPool) *websocket.Conn {
	t.Helper()
	c, err := dialFrom(t.Context(), from, addr, url+"?topics="+fmt.Sprintf(lab.TopicPattern, 0), pool)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow() })
	if _, text, err := c.Read(t.Context()); err != nil || !bytes.Contains(text, []byte(`"hello"`)) {
		t.Fatalf("%s %v, want a hello", text, err)
	}
	return c
}

// dialFrom opens a WebSocket from one address of the loopback.
func dialFrom(ctx context.Context, from, addr, url string, pool *x509.CertPool) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	client := &http.Client{Transport: &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) },
		TLSClientConfig: &tls.Config{RootCAs: pool},
	}}
	c, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client})
	return c, err
}

// selfSigned has openssl make a certificate for localhost, as an operator would.
func selfSigned(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	path := func(name string) string { return filepath.Join(dir, name) }
	out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
		"-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", path("made.key"), "-out", path("made.crt")).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	read := func(name string) string {
		b, err := os.ReadFile(path(name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	return read("made.crt"), read("made.key")
}
