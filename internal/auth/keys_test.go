// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestConfigErrorsSayWhatIsRight(t *testing.T) {
	const source = "sources of token keys, want exactly one: a secret, a secret file, a key file or a JWKS URL"
	const want = "want https://host/path, or http:// with a loopback host"
	const credentials = "JWKS URL has a user or a password, and public keys need none: leave it out, or write an @ that is none of it as %40"
	short := []byte("open-sesame")
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "0 " + source},
		{Config{Secret: secret64, KeyFile: "x"}, "2 " + source},
		{Config{Secret: secret64, SecretFile: "x", KeyFile: "x", JWKSURL: "https://x"}, "4 " + source},
		{Config{Secret: short}, "token secret: it has 11 bytes, want at least 32 random ones (RFC 7518, 3.2): openssl rand -hex 32"},
		{Config{Secret: publicPEM(rsaKey().Public())}, "token secret: it is PEM, which is no secret: if it is a public key, give it as the key file"},
		{Config{Secret: secret64, Leeway: time.Hour}, "token leeway is 1h0m0s, want 0s to 5m0s"},
		{Config{Secret: secret64, Leeway: -1}, "token leeway is -1ns, want 0s to 5m0s"},
		{Config{Secret: secret64, TopicsClaim: "aud"}, `topics claim is "aud", which has a meaning of its own (RFC 7519, 4.1), want another such as topics`},
		{Config{JWKSURL: "https://x", JWKSRefresh: time.Second}, "JWKS refresh is 1s, want 30s to 24h0m0s"},
		{Config{JWKSURL: "x"}, "JWKS URL is not valid, " + want},
		{Config{JWKSURL: "https://open-sesame\x00"}, "JWKS URL has a blank, a control character or one that is not ASCII in it: leave it out, or write it as %XX"},
		{Config{JWKSURL: "https://h/keys?open sesame"}, "JWKS URL has a blank, a control character or one that is not ASCII in it: leave it out, or write it as %XX"},
		{Config{JWKSURL: "https://h/keys?open#sesame"}, "JWKS URL has a # in it, behind which nothing is sent: leave it out, or write it as %23"},
		{Config{JWKSURL: "https://h:port/keys?open-sesame"}, "JWKS URL is not valid, " + want},
		{Config{JWKSURL: "http://id.example/keys"}, "JWKS URL is not secure, " + want},
		{Config{JWKSURL: "http://127.0.0.1.example/keys"}, "JWKS URL is not secure, " + want},
		{Config{JWKSURL: "http://10.0.0.1/keys"}, "JWKS URL is not secure, " + want},
		{Config{JWKSURL: "ftp://id.example/keys"}, "JWKS URL is not secure, " + want},
		{Config{JWKSURL: "https://user:open-sesame@id.example/keys"}, credentials},
		{Config{JWKSURL: "https://user:1/open-sesame@id.example/keys"}, credentials},
		{Config{JWKSURL: "https://user:open?sesame@id.example/keys"}, credentials},
		{Config{TopicsClaim: "sub", Leeway: -1}, "0 " + source + "\ntoken leeway is -1ns, want 0s to 5m0s\n" +
			`topics claim is "sub", which has a meaning of its own (RFC 7519, 4.1), want another such as topics`},
	} {
		err := c.cfg.Validate()
		if err == nil || err.Error() != c.want {
			t.Errorf("%v, want\n%s", err, c.want)
		}
		if _, err := NewVerifier(c.cfg, slog.New(slog.DiscardHandler)); err == nil || err.Error() != c.want {
			t.Errorf("NewVerifier: %v", err)
		}
	}
	for _, url := range []string{"https://id.example/keys?x=1", "http://127.0.0.1:8000/keys", "http://[::1]/keys", "http://localhost/keys"} {
		if err := (Config{JWKSURL: url}).Validate(); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestSecretFile(t *testing.T) {
	for _, end := range []string{"", "\n", "\r\n"} {
		v := newVerifier(t, Config{SecretFile: write(t, "secret", append(bytes.Clone(secret64), end...))})
		if _, err := v.Verify([]byte(hs(good)), now); err != nil {
			t.Errorf("line end %q: %v", end, err)
		}
	}
	// Only one is left out: the secret may end in another.
	v := newVerifier(t, Config{SecretFile: write(t, "secret", append(bytes.Clone(secret64), "\n\n"...))})
	if _, err := v.Verify([]byte(mint("HS256", append(bytes.Clone(secret64), '\n'), good)), now); err != nil {
		t.Error(err)
	}
}

// The same holds for one from the environment.
func TestSecretLosesALineEnd(t *testing.T) {
	for end, left := range map[string]string{"": "", "\n": "", "\r\n": "", "\n\n": "\n", "\r": "\r"} {
		for what, cfg := range map[string]Config{
			"a variable": {Secret: append(bytes.Clone(secret64), end...)},
			"a file":     {SecretFile: write(t, "secret", append(bytes.Clone(secret64), end...))},
		} {
			v := newVerifier(t, cfg)
			if _, err := v.Verify([]byte(mint("HS256", append(bytes.Clone(secret64), left...), good)), now); err != nil {
				t.Errorf("%s with the end %q: %v", what, end, err)
			}
		}
	}
	if err := (Config{Secret: append(bytes.Clone(secret64[:31]), '\n')}).Validate(); err == nil || !strings.Contains(err.Error(), "it has 31 bytes") {
		t.Errorf("a line end counts: %v", err)
	}
}

// A secret is for the algorithms whose hash is not longer than it (RFC 7518, 3.2).
func TestSecretLengths(t *testing.T) {
	for n, algs := range map[int]string{32: "HS256", 47: "HS256", 48: "HS256 HS384", 63: "HS256 HS384", 64: "HS256 HS384 HS512"} {
		v := newVerifier(t, Config{Secret: secret64[:n]})
		for _, alg := range []string{"HS256", "HS384", "HS512"} {
			want := error(nil)
			if !strings.Contains(algs, alg) {
				want = WrongAlgorithm
			}
			if _, err := v.Verify([]byte(mint(alg, secret64[:n], good)), now); err != want {
				t.Errorf("%d bytes, %s: %v", n, alg, err)
			}
		}
	}
}

func TestSecretIsCopied(t *testing.T) {
	mine := bytes.Clone(secret64)
	v := newVerifier(t, Config{Secret: mine})
	clear(mine)
	if _, err := v.Verify([]byte(hs(good)), now); err != nil {
		t.Error(err)
	}
}

func TestFileErrorsSayWhatIsRight(t *testing.T) {
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	weak := publicPEM(&weakRSA)
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	for what, c := range map[string]struct {
		text []byte
		want string
	}{
		"empty":         {nil, "no PEM block in it, want -----BEGIN PUBLIC KEY----- or CERTIFICATE"},
		"a secret":      {secret64, "no PEM block in it, want -----BEGIN PUBLIC KEY----- or CERTIFICATE"},
		"private":       {block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rsaKey()))), "block 1 (PRIVATE KEY): this is the issuer's private half, which the edge must not have: openssl pkey -pubout makes the public one of it"},
		"behind a good": {append(publicPEM(rsaKey().Public()), block("EC PRIVATE KEY", nil)...), "block 2 (EC PRIVATE KEY): this is the issuer's private half, which the edge must not have: openssl pkey -pubout makes the public one of it"},
		"other":         {block("X509 CRL", nil), "block 1 (X509 CRL): want PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE"},
		"short RSA":     {weak, "block 1 (PUBLIC KEY): an RSA key of 1024 bits, want 2048 to 4096"},
		"P-224":         {publicPEM(&p224.PublicKey), "block 1 (PUBLIC KEY): an EC key on P-224, want P-256, P-384 or P-521"},
		"five of one":   {bytes.Repeat(publicPEM(&p256().PublicKey), 5), "5 keys for ES256, want at most 4: a token does not say which of them it is signed with"},
		"long":          {make([]byte, keyFileMax+1), "is longer than 1024 KiB"},
	} {
		_, err := NewVerifier(Config{KeyFile: write(t, "key.pem", c.text)}, nil)
		if err == nil || !strings.HasPrefix(err.Error(), "token key file") || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	missing := filepath.Join(t.TempDir(), "no-such-file")
	for _, cfg := range []Config{{KeyFile: missing}, {SecretFile: missing}} {
		if _, err := NewVerifier(cfg, nil); err == nil || !strings.Contains(err.Error(), "no-such-file") {
			t.Error(err)
		}
	}
	for text, want := range map[string]string{
		"open-sesame\n":                      "it has 11 bytes, want at least 32 random ones (RFC 7518, 3.2): openssl rand -hex 32",
		string(publicPEM(rsaKey().Public())): "it is PEM, which is no secret: if it is a public key, give it as the key file",
	} {
		_, err := NewVerifier(Config{SecretFile: write(t, "secret", []byte(text))}, nil)
		if err == nil || !strings.HasSuffix(err.Error(), want) || strings.Contains(err.Error(), "open-sesame") {
			t.Error(err)
		}
	}
}

func TestKeyFileForms(t *testing.T) {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}}
	cert := must(x509.CreateCertificate(rand.Reader, template, template, rsaKey().Public(), rsaKey()))
	for kind, der := range map[string][]byte{
		"PUBLIC KEY":     must(x509.MarshalPKIXPublicKey(rsaKey().Public())),
		"RSA PUBLIC KEY": x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey),
		"CERTIFICATE":    cert,
	} {
		text := append([]byte("a comment\n"), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
		v := newVerifier(t, Config{KeyFile: write(t, "key.pem", text)})
		if _, err := v.Verify([]byte(mint("RS256", rsaKey(), good)), now); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
