// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startWith starts a server in this process with options.
func startWith(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.NoLog, o.NoSigs = "127.0.0.1", true, true
	o.LameDuckGracePeriod, o.LameDuckDuration = lameGrace, lameGrace+time.Second
	if o.Port == 0 {
		o.Port = -1
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

// certFiles writes a certificate and its key.
func certFiles(t *testing.T, dir, name string, cert tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	writeFile(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
	writeFile(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	return certFile, keyFile
}

func writeFile(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Who is trusted, by the right name and with a certificate where one is demanded, is connected to; else the log says
// what to do, and files that are put right are enough.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, _ := ownCert(t)
	client, clients := ownCert(t)
	other, _ := ownCert(t)
	ca, _ := certFiles(t, dir, "server", cert)
	wrong, _ := certFiles(t, dir, "other", other)
	certFile, keyFile := certFiles(t, dir, "client", client)
	start := func(config *tls.Config) string {
		return startWith(t, &server.Options{TLSConfig: config, TLSTimeout: patience.Seconds()}).Addr().String()
	}
	one := start(&tls.Config{Certificates: []tls.Certificate{cert}})
	strict := start(&tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients})
	plain := startWith(t, &server.Options{}).Addr().String()
	for name, c := range map[string]struct{ url, err, hint string }{
		"trusted":                 {"tls://" + one + "?tls_ca=" + ca, "", ""},
		"the server asks":         {"nats://" + one + "?tls_ca=" + ca, "", ""},
		"with a certificate":      {"tls://" + strict + "?tls_ca=" + ca + "&tls_cert=" + certFile + "&tls_key=" + keyFile, "", ""},
		"not trusted":             {"tls://" + one, "unknown authority", "tls_ca"},
		"another authority":       {"tls://" + one + "?tls_ca=" + wrong, "unknown authority", "tls_ca"},
		"another name":            {"tls://" + strings.Replace(one, "127.0.0.1", "localhost", 1) + "?tls_ca=" + ca, "not", "as the host in the URL"},
		"without a certificate":   {"tls://" + strict + "?tls_ca=" + ca, "certificate required", "tls_cert and tls_key"},
		"the server has none":     {"tls://" + plain, "does not speak TLS", "nats:// if it has none"},
		"with another as its own": {"tls://" + strict + "?tls_ca=" + ca + "&tls_cert=" + wrong + "&tls_key=" + filepath.Join(dir, "other.key"), "tls: ", "tls_cert and tls_key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startCore(t, Config{URL: c.url})
			if c.err == "" {
				f.until("it is up", func() bool { return f.table.Health().Up })
				return
			}
			f.down(c.err, c.hint)
		})
	}
	t.Run("put right", func(t *testing.T) {
		file := filepath.Join(dir, "renewed.pem")
		writeFile(t, file, read(t, wrong))
		f := startCore(t, Config{URL: "tls://" + one + "?mode=core&tls_ca=" + file})
		f.down("unknown authority", "tls_ca")
		writeFile(t, file, read(t, ca))
		f.until("it is up", func() bool { return f.table.Health().Up })
	})
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
