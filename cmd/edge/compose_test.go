// SPDX-License-Identifier: Apache-2.0

package main

import (
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
	"time"

	"tickedge/internal/nettest"
)

// composed is the proxy of docker-compose.yml, with the certificate that its services make.
type composed struct {
	host    string // Where it listens for its own host, without TLS.
	clients string // Where others come to.
	folder  string // Of the volumes.
	secure  *http.Client
}

// prepareVolumes runs what docker-compose.yml runs first, and returns where the volumes are.
func prepareVolumes(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	for _, name := range []string{"certificate", "postgres", "marketdata", "alerts", "nats"} {
		if err := os.Mkdir(filepath.Join(folder, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", filepath.Join("..", "..", "deploy", "compose", "prepare"))
	cmd.Env = append(os.Environ(), "VOLUMES="+folder, "NAME=prices.example.com", "TMPDIR="+folder)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return folder
}

// compose runs that proxy before edges, a marketdata and alerts.
func compose(t *testing.T, edges []*edge, marketdata, alerts string) composed {
	t.Helper()
	c := composed{host: nettest.FreeAddr(t), clients: nettest.FreeAddr(t), folder: prepareVolumes(t)}
	servers, calls := "", ""
	for i, e := range edges {
		_, port, _ := net.SplitHostPort(e.admin)
		servers += fmt.Sprintf("\tserver edge%d %s port %s\n", i, e.addr, port)
		calls += fmt.Sprintf("\tserver edge%d 127.0.0.1:9 port %s\n", i, port)
	}
	proxy(t, changed(t, "haproxy/compose.cfg", map[string]string{
		`bind :8080`: "bind " + c.host, `bind :8443`: "bind " + c.clients, `bind :8444`: "bind " + nettest.FreeAddr(t),
		`/run/keys/`: c.folder + "/", `(\tserver edge\d edge\d:8080\n)+`: servers, `(\tserver edge\d edge\d:8083\n)+`: calls,
		`processor:8090 check port 8091`: marketdata, `alerts:8100 check port 8101`: alerts, `alerts:8102 check port 8101`: "127.0.0.1:9",
		`Host edge`: "Host 127.0.0.1",
	}), "haproxy", "-db", "-f")
	pem, err := os.ReadFile(filepath.Join(c.folder, "certificate", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "prices.example.com"}}
	c.secure = &http.Client{Timeout: 5 * time.Second, Transport: transport}
	t.Cleanup(c.secure.CloseIdleConnections)
	return c
}

// What the services share is made once, is readable by nobody else, and stays.
func TestComposePrepares(t *testing.T) {
	t.Parallel()
	folder := prepareVolumes(t)
	all := func() (text string) {
		for _, name := range []string{"certificate/edge.pem", "certificate/ca.pem", "postgres/password", "marketdata/pgpass", "alerts/pgpass"} {
			content, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			text += name + "\n" + string(content)
			if is, err := os.Stat(filepath.Join(folder, name)); err != nil || is.Mode().Perm() != 0o440 {
				t.Errorf("%s: %v, %v", name, is.Mode(), err)
			}
		}
		return text
	}
	first := all()
	for _, name := range []string{"marketdata", "alerts"} {
		if want := "\npostgres:5432:" + name + ":" + name + ":"; !strings.Contains(first, want) {
			t.Errorf("it has no %q", want)
		}
	}
	cmd := exec.Command("sh", filepath.Join("..", "..", "deploy", "compose", "prepare"))
	cmd.Env = append(os.Environ(), "VOLUMES="+folder)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("again: %v\n%s", err, out)
	}
	if all() != first {
		t.Error("it made again what was there")
	}
}
