// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
)

// ownCert is a certificate for 127.0.0.1, and who trusts it.
func ownCert(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// greeter dials for nats.go.
type greeter struct {
	config *tls.Config
	secure bool
	take   func(*wireMessage)
	tap    *tap
}

func (g *greeter) SkipTLSHandshake() bool { return true }

func (g *greeter) Dial(network, addr string) (net.Conn, error) {
	c, err := net.Dial(network, addr)
	if err != nil {
		return nil, err
	}
	if g.tap, err = greet(c, g.config, g.secure); err != nil {
		c.Close()
		return nil, err
	}
	g.tap.deliver(g.take)
	return g.tap, nil
}

// nats.go speaks over TLS, be it that the server asks for it or that it is asked, and the tap reads what
// comes. Who is not trusted, or does not speak TLS, is refused.
func TestGreet(t *testing.T) {
	cert, pool := ownCert(t)
	for _, c := range []struct {
		name                         string
		server, open, secure, strict bool
		want                         error
	}{
		{name: "plain"},
		{name: "the server asks", server: true},
		{name: "both", server: true, secure: true},
		{name: "either, asked", server: true, open: true, secure: true},
		{name: "either, not asked", server: true, open: true},
		{name: "asked in vain", secure: true, want: errNoTLS},
		{name: "not trusted", server: true, strict: true, want: x509.UnknownAuthorityError{}},
	} {
		o := &server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, AllowNonTLS: c.open}
		if c.server {
			o.TLSConfig, o.TLSTimeout = &tls.Config{Certificates: []tls.Certificate{cert}}, 30
		}
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		go s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		if !s.ReadyForConnections(10 * time.Second) {
			t.Fatal("not ready")
		}
		n := 0
		g := &greeter{config: &tls.Config{ServerName: "127.0.0.1", RootCAs: pool}, secure: c.secure, take: func(*wireMessage) { n++ }}
		if c.strict {
			g.config.RootCAs = x509.NewCertPool()
		}
		nc, err := natsgo.Connect("nats://"+s.Addr().String(), natsgo.NoReconnect(), natsgo.SetCustomDialer(g), natsgo.Timeout(10*time.Second))
		if c.want != nil {
			if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); !errors.Is(err, c.want) && (!c.strict || !unknown) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if _, err := g.tap.Write(subscribe(nil, "md.A", 0)); err != nil {
			t.Fatal(err)
		}
		if err := nc.Publish("md.A", []byte("1")); err != nil {
			t.Fatal(err)
		}
		if err := nc.FlushTimeout(10 * time.Second); err != nil || n != 1 {
			t.Errorf("%s: %d messages, %v", c.name, n, err)
		}
		if _, over := g.tap.Conn.(*tls.Conn); over != (c.server && (c.secure || !c.open)) {
			t.Errorf("%s: over TLS: %v", c.name, over)
		}
		nc.Close()
	}
}

// Who does not greet as NATS does is refused, whatever is said.
func TestGreetRefuses(t *testing.T) {
	for _, text := range []string{"-ERR unknown command\r\n", "INFO {\r\n", "HTTP/1.1 400 Bad Request\r\n", strings.Repeat("INFO ", tapBuffer)} {
		if _, err := greet(&stream{Reader: strings.NewReader(text)}, nil, false); !errors.Is(err, errWire) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
	if _, err := greet(&stream{Reader: strings.NewReader("INFO {}")}, nil, false); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}
