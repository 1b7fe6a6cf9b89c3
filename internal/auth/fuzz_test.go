// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Whatever the fields are, an origin that is allowed means, to a parser that we did not
// write, a place that the list has.
func FuzzOrigin(f *testing.F) {
	for _, origin := range []string{
		"https://a.example.org", "https://*.example.org", "http://[::1]:80", "null", "https://x@a.example.org", "https://a.example.org:443",
		"HTTPS://A.EXAMPLE.ORG", "https://a.b.example.org", "https://a.example.org:0443", "capacitor://localhost", "https://..example.org",
	} {
		f.Add(origin, "a.example.org")
		f.Add(origin, "[::1]:80")
	}
	listed, err := ParseOrigins("https://*.example.org,http://[::1],capacitor://localhost")
	if err != nil {
		f.Fatal(err)
	}
	same, _ := ParseOrigins("")
	port := func(u *url.URL) string {
		if p := u.Port(); p != "" || u.Scheme != "http" && u.Scheme != "https" {
			return p
		}
		return map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	f.Fuzz(func(t *testing.T, origin, host string) {
		_, _ = ParseOrigins(origin)
		byList, bySame := listed.Allow([]byte(origin), []byte(host)), same.Allow([]byte(origin), []byte(host))
		if origin == "" || !byList && !bySame {
			return
		}
		u, err := url.Parse(origin)
		if err != nil || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
			t.Fatalf("origin %q is allowed", origin)
		}
		plain := func(u *url.URL) string { return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".") }
		name := plain(u)
		if byList {
			label, isSub := strings.CutSuffix(name, ".example.org")
			ok := u.Scheme == "https" && isSub && label != "" && !strings.ContainsAny(label, ".*") && port(u) == "443" ||
				u.Scheme == "http" && name == "::1" && port(u) == "80" ||
				u.Scheme == "capacitor" && name == "localhost" && port(u) == ""
			if !ok {
				t.Fatalf("the list allows %q", origin)
			}
		}
		if bySame {
			h, err := url.Parse(u.Scheme + "://" + host)
			if err != nil || !strings.EqualFold(h.Host, host) || plain(h) != name || port(h) != port(u) {
				t.Fatalf("host %q allows %q", host, origin)
			}
		}
	})
}

// The fuzzer writes the header and the claims, and the test signs them, well or not.
// Nothing panics, and nothing is good that package jwt by itself refuses.
func FuzzVerify(f *testing.F) {
	for _, header := range []string{`{"alg":"HS256"}`, `{"alg":"none"}`, `{"alg":"HS256","crit":["x"]}`, `{"alg":"HS512","kid":"x"}`} {
		for _, payload := range []string{
			good, `{"sub":"a","exp":1700000600,"nbf":1e9,"topics":["A*","B"],"aud":["x"]}`, `{"sub":"a","exp":1.7e9,"Exp":1}`, `null`, `{"exp":-0.1}`,
			`{"sub":"a","exp":1700000600,"aud":["x",null]}`,
		} {
			f.Add(header, payload, []byte(nil), true)
			f.Add(header, payload, []byte("garbage.."), false)
		}
	}
	verifiers := []*Verifier{newVerifier(f, Config{Secret: secret64}), newVerifier(f, Config{Secret: secret64, Audience: "x", AllowNoExp: true})}
	clock := jwt.WithTimeFunc(func() time.Time { return now })
	theirs := [][]jwt.ParserOption{{clock, jwt.WithExpirationRequired()}, {clock, jwt.WithAudience("x")}}
	f.Fuzz(func(t *testing.T, header, payload string, raw []byte, signed bool) {
		token := raw
		if signed {
			for _, alg := range []string{"HS384", "HS512", "HS256"} {
				if token = []byte(sign(alg, secret64, header, payload)); strings.Contains(header, alg) {
					break
				}
			}
		} else if header != "" {
			text := base64.RawURLEncoding.EncodeToString
			token = bytes.Join([][]byte{[]byte(text([]byte(header))), []byte(text([]byte(payload))), raw}, []byte("."))
		}
		for i, v := range verifiers {
			claims, err := v.Verify(token, now)
			if err != nil {
				if why, ok := err.(Reason); !ok || why.Error() == "" || claims != (Claims{}) {
					t.Fatalf("%#v, %+v", err, claims)
				}
				continue
			}
			if !signed {
				t.Fatalf("%q is good, and nobody has signed it", token)
			}
			got, err := jwt.Parse(string(token), func(*jwt.Token) (any, error) { return secret64, nil }, theirs[i]...)
			if err != nil {
				t.Fatalf("%q is good, and package jwt says %v", token, err)
			}
			if sub, _ := got.Claims.GetSubject(); sub != claims.User || sub == "" {
				t.Fatalf("%q: user %q, and package jwt says %q", token, claims.User, sub)
			}
			exp, _ := got.Claims.GetExpirationTime()
			if exp == nil != claims.Expires.IsZero() || exp != nil && !exp.Equal(claims.Expires) {
				t.Fatalf("%q: until %v, and package jwt says %v", token, claims.Expires, exp)
			}
			claims.Topics.Allows([]byte("AAPL"))
		}
	})
}
