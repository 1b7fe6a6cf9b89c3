// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tickedge/internal/logtest"
)

// Keys of which only the length matters, in bits.
var (
	weakRSA = rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1023, 1), E: 65537} // 1024
	longRSA = rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 4096, 1), E: 65537} // 4097
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwkOf returns a public key as it stands in a set; more is further members, each with a
// comma in front.
func jwkOf(kid string, public any, more string) string {
	switch p := public.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf(`{"kty":"RSA","kid":%q,"n":%q,"e":%q%s}`, kid, b64(p.N.Bytes()), b64(big.NewInt(int64(p.E)).Bytes()), more)
	case *ecdsa.PublicKey:
		point := must(p.Bytes())[1:]
		x, y := point[:len(point)/2], point[len(point)/2:]
		return fmt.Sprintf(`{"kty":"EC","kid":%q,"crv":%q,"x":%q,"y":%q%s}`, kid, p.Params().Name, b64(x), b64(y), more)
	case ed25519.PublicKey:
		return fmt.Sprintf(`{"kty":"OKP","kid":%q,"crv":"Ed25519","x":%q%s}`, kid, b64(p), more)
	}
	panic("jwkOf")
}

func setOf(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

// withKid returns a token that says which key it is signed with.
func withKid(kid, alg string, signer any) []byte {
	return []byte(sign(alg, signer, fmt.Sprintf(`{"alg":%q,"kid":%q}`, alg, kid), good))
}

// ofSet returns a verifier as if set had been fetched at the time fetched.
func ofSet(t *testing.T, set string, fetched time.Time) *Verifier {
	t.Helper()
	keys, _, err := parseJWKS([]byte(set))
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, Config{JWKSURL: "https://id.example/keys"})
	v.keys.Store(&keySet{keys: keys, fetched: fetched})
	return v
}

func TestJWKSKinds(t *testing.T) {
	ed := edKey().Public().(ed25519.PublicKey)
	v := ofSet(t, setOf(
		jwkOf("rsa", &rsaKey().PublicKey, `,"use":"sig","x5c":["x"]`), jwkOf("p256", &p256().PublicKey, `,"key_ops":["verify"]`),
		jwkOf("p384", &p384().PublicKey, ""), jwkOf("p521", &p521().PublicKey, ""), jwkOf("ed", ed, `,"alg":"EdDSA"`),
		jwkOf("only-ps", &otherRSA().PublicKey, `,"alg":"PS256"`),
	), now)
	for _, c := range []struct {
		kid, alg string
		signer   any
		want     error
	}{
		{"rsa", "RS256", rsaKey(), nil}, {"rsa", "PS512", rsaKey(), nil}, {"p256", "ES256", p256(), nil},
		{"p384", "ES384", p384(), nil}, {"p521", "ES512", p521(), nil}, {"ed", "EdDSA", edKey(), nil},
		{"only-ps", "PS256", otherRSA(), nil},
		{"only-ps", "RS256", otherRSA(), WrongAlgorithm},
		{"rsa", "RS256", otherRSA(), BadSignature}, // The kid decides, not what would fit.
		{"only-ps", "PS256", rsaKey(), BadSignature},
		{"p256", "EdDSA", edKey(), WrongAlgorithm},
		{"rsa", "HS256", rsaKey().N.Bytes(), WrongAlgorithm},
		{"Rsa", "RS256", rsaKey(), UnknownKey},
	} {
		if _, err := v.Verify(withKid(c.kid, c.alg, c.signer), now); err != c.want {
			t.Errorf("%s, %s: %v, want %v", c.kid, c.alg, err, c.want)
		}
	}
	// Without a kid all keys that fit are tried.
	for _, token := range []string{mint("RS256", rsaKey(), good), mint("PS256", otherRSA(), good), mint("EdDSA", edKey(), good)} {
		if _, err := v.Verify([]byte(token), now); err != nil {
			t.Error(err)
		}
	}
}

// A token without a kid costs at most triesMax signatures.
func TestJWKSTriesAreBounded(t *testing.T) {
	other := jwkOf("", &otherRSA().PublicKey, "")
	mine := jwkOf("mine", &rsaKey().PublicKey, "")
	for before := range triesMax + 1 {
		v := ofSet(t, setOf(append(slices.Repeat([]string{other}, before), mine)...), now)
		want := error(nil)
		if before == triesMax {
			want = BadSignature
		}
		if _, err := v.Verify([]byte(mint("RS256", rsaKey(), good)), now); err != want {
			t.Errorf("%d keys before it: %v, want %v", before, err, want)
		}
	}
}

func TestJWKSIgnoresWhatItCanNotUse(t *testing.T) {
	fine := jwkOf("fine", &rsaKey().PublicKey, "")
	for bad, want := range map[string]string{
		`7`:                                   "it is not a JSON object of the right types",
		`{"kty":7}`:                           "it is not a JSON object of the right types",
		`{"kid":"x"}`:                         "its kty is not RSA, EC or OKP",
		`{"kty":"oct","k":"b3Blbi1zZXNhbWU"}`: "its kty is not RSA, EC or OKP",
		jwkOf("x", &weakRSA, ""):              "an RSA key of 1024 bits, want 2048 to 4096",
		jwkOf("x", &longRSA, ""):              "an RSA key of 4097 bits, want 2048 to 4096",
		jwkOf("x", &rsaKey().PublicKey, `,"use":"enc"`):                                                      "its use is not sig",
		jwkOf("x", &rsaKey().PublicKey, `,"key_ops":["encrypt"]`):                                            "its key_ops have no verify",
		jwkOf("x", &rsaKey().PublicKey, `,"alg":"RSA-OAEP"`):                                                 "its alg does not go with it, want one of RS256, RS384, RS512, PS256, PS384, PS512",
		jwkOf("x", &rsaKey().PublicKey, `,"alg":"HS256"`):                                                    "its alg does not go with it, want one of RS256, RS384, RS512, PS256, PS384, PS512",
		jwkOf("x", &rsaKey().PublicKey, `,"alg":"none"`):                                                     "its alg does not go with it, want one of RS256, RS384, RS512, PS256, PS384, PS512",
		jwkOf(strings.Repeat("x", kidMax+1), &p256().PublicKey, ""):                                          "its kid is longer than 256 bytes",
		`{"kty":"RSA","n":"+/","e":"AQAB"}`:                                                                  "its n is not base64url",
		`{"kty":"RSA","n":"AQAB"}`:                                                                           "its e is not base64url",
		`{"kty":"RSA","n":"AQAB","e":"AQ"}`:                                                                  "its e is not an odd number from 3 to 2147483647",
		`{"kty":"RSA","n":"AQAB","e":"BA"}`:                                                                  "its e is not an odd number from 3 to 2147483647",
		`{"kty":"RSA","n":"AQAB","e":"_____w"}`:                                                              "its e is not an odd number from 3 to 2147483647",
		`{"kty":"EC","crv":"secp256k1"}`:                                                                     "its crv is not P-256, P-384 or P-521",
		`{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}`:                                                       "its x and y are no point of its curve",
		`{"kty":"EC","crv":"P-256","x":"` + b64(make([]byte, 32)) + `","y":"` + b64(make([]byte, 32)) + `"}`: "its x and y are no point of its curve",
		`{"kty":"OKP","crv":"X25519","x":"` + b64(make([]byte, 32)) + `"}`:                                   "its crv is not Ed25519, or its x has not 32 bytes",
		`{"kty":"OKP","crv":"Ed25519","x":"AQ"}`:                                                             "its crv is not Ed25519, or its x has not 32 bytes",
	} {
		keys, ignored, err := parseJWKS([]byte(setOf(bad, fine)))
		if err != nil || len(keys) != 1 || len(ignored) != 1 || ignored[0] != "key 1: "+want {
			t.Errorf("%.80s: %d keys, %q, %v", bad, len(keys), ignored, err)
		}
	}
}

func TestJWKSErrors(t *testing.T) {
	many := strings.Repeat(jwkOf("x", &p256().PublicKey, "")+",", keysMax)
	for body, want := range map[string]string{
		``:                  "",
		`<html>open-sesame`: "",
		`{}`:                " that can be used: it has none",
		`{"keys":[]}`:       " that can be used: it has none",
		`{"keys":null}`:     " that can be used: it has none",
		`{"keys":{}}`:       "",
		`{"keys":[],"keys":[` + jwkOf("x", &p256().PublicKey, "") + `]}`: "",
		setOf(`{"kty":"oct"}`): " that can be used: key 1: its kty is not RSA, EC or OKP",
		setOf(many + `{}`):     ": it has 65 keys, want at most 64",
	} {
		if _, _, err := parseJWKS([]byte(body)); err == nil || err.Error() != "the answer is not a set of keys (RFC 7517, section 5)"+want {
			t.Errorf("%.80s: %v", body, err)
		}
	}
	if keys, _, err := parseJWKS([]byte(setOf(strings.TrimSuffix(many, ",")))); err != nil || len(keys) != keysMax {
		t.Error(len(keys), err)
	}
}

// A key that is not known may be new. Until a fetch has had the time to bring it the
// client keeps its token.
func TestUnknownKey(t *testing.T) {
	set := setOf(jwkOf("old", &rsaKey().PublicKey, ""))
	token := withKid("new", "RS256", otherRSA())
	for age, want := range map[time.Duration]Reason{0: UnknownKey, askEvery - 1: UnknownKey, askEvery: KeysPending, time.Hour: KeysPending} {
		v := ofSet(t, set, now.Add(-age))
		for range 3 { // It does not wait for the refresher, of which there is none here.
			if _, err := v.Verify(token, now); err != want {
				t.Errorf("set of %v ago: %v, want %v", age, err, want)
			}
		}
		if asked := len(v.jwks.asked) == 1; asked != (want == KeysPending) {
			t.Errorf("set of %v ago: asked %v", age, asked)
		}
	}
	// An algorithm that the known key is not for is no reason to fetch.
	v := ofSet(t, set, now.Add(-time.Hour))
	if _, err := v.Verify(withKid("old", "ES256", p256()), now); err != WrongAlgorithm || len(v.jwks.asked) != 0 {
		t.Error(err, len(v.jwks.asked))
	}
}

// issuer is a server of keys.
type issuer struct {
	*httptest.Server
	answer atomic.Pointer[http.HandlerFunc]
	asked  atomic.Int64
}

func newIssuer(t *testing.T, set string) *issuer {
	i := &issuer{}
	i.serve(set)
	i.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		(*i.answer.Load())(w, r)
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) do(h http.HandlerFunc) { i.answer.Store(&h) }
func (i *issuer) serve(set string) {
	i.do(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, set) })
}

// verifier returns one that trusts the issuer's certificate, and its log.
func (i *issuer) verifier(t *testing.T) (*Verifier, *logtest.Log) {
	log, buf := logtest.New(t)
	v, err := NewVerifier(Config{JWKSURL: i.URL + "/keys?api=open-sesame"}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if buf.Count("open-sesame") > 0 {
			t.Error("the log holds the query of the URL")
		}
	})
	trusted := i.Client().Transport.(*http.Transport).TLSClientConfig
	v.jwks.client.Transport.(*http.Transport).TLSClientConfig = trusted
	return v, buf
}

// start runs the verifier until the test's end, or until stop.
func start(t *testing.T, v *Verifier) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); v.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Error("Run does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

// Whatever the server does, a fetch ends with an error that says what it was, and a hint.
func TestFetchErrors(t *testing.T) {
	i := newIssuer(t, "")
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		t.Error("a redirect was followed")
	}))
	t.Cleanup(plain.Close)
	fine := setOf(jwkOf("a", &rsaKey().PublicKey, ""))
	status := func(code int, location string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if location != "" {
				w.Header().Set("Location", location)
			}
			w.WriteHeader(code)
			fmt.Fprint(w, fine)
		}
	}
	for what, c := range map[string]struct {
		do         http.HandlerFunc
		want, hint string
	}{
		"redirect to http":  {status(302, plain.URL), "HTTP 302, want 200", "redirects are not followed: set the JWKS URL to where it leads"},
		"redirect to https": {status(308, i.URL+"/else"), "HTTP 308, want 200", "redirects are not followed: set the JWKS URL to where it leads"},
		"not found":         {status(404, ""), "HTTP 404, want 200", "correct the JWKS URL: the issuer's /.well-known/openid-configuration has it as jwks_uri"},
		"failure":           {status(503, ""), "HTTP 503, want 200", "see the log of the issuer"},
		"no content":        {status(204, ""), "HTTP 204, want 200", "correct the JWKS URL: the issuer's /.well-known/openid-configuration has it as jwks_uri"},
		"a page": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>open-sesame") },
			"the answer is not a set of keys (RFC 7517, section 5)", "correct the JWKS URL: curl shows what it answers"},
		"endless": {func(w http.ResponseWriter, r *http.Request) {
			for chunk := []byte(strings.Repeat(" ", 64<<10)); r.Context().Err() == nil; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, "the answer is not a set of keys (RFC 7517, section 5): it is longer than 1024 KiB", "correct the JWKS URL: curl shows what it answers"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			fmt.Fprint(w, fine)
		}, "reading the answer: unexpected EOF", "try the JWKS URL with curl from this host"},
	} {
		i.do(c.do)
		v, _ := i.verifier(t)
		set, err := v.jwks.fetch(t.Context())
		if err == nil || err.Error() != c.want || set != nil || fetchHint(err) != c.hint {
			t.Errorf("%s: %v; hint %q", what, err, fetchHint(err))
		}
	}
	i.serve(fine)
	stranger, err := NewVerifier(Config{JWKSURL: i.URL + "/keys?api=open-sesame"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = stranger.jwks.fetch(t.Context()); err == nil || !strings.HasPrefix(fetchHint(err), "trust the authority") || strings.Contains(err.Error(), "open-sesame") {
		t.Errorf("a certificate of nobody: %v", err)
	}
	i.Close()
	v, _ := i.verifier(t)
	if _, err := v.jwks.fetch(t.Context()); err == nil || fetchHint(err) != "start the issuer, or correct the address in the JWKS URL" || strings.Contains(err.Error(), "open-sesame") {
		t.Errorf("nobody there: %v", err)
	}
}

// The URL of a proxy has its password in it, and net/http quotes it when it is not valid.
func TestProxyIsNotShown(t *testing.T) {
	for _, proxy := range []string{"http://u:open#sesame@proxy:3128", "http://u:1/open-sesame@proxy:3128", "http://u:open sesame@proxy", "http://u:1?open-sesame@proxy"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFetchThroughProxy$", "-test.v")
		cmd.Env = append(os.Environ(), "HTTPS_PROXY="+proxy, proxyEnv+"=1") // It is read once in a process.
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), errProxy.Error()) || !strings.Contains(string(out), "%XX") || strings.Contains(string(out), "sesame") {
			t.Errorf("%s: %v\n%s", proxy, err, out)
		}
	}
}

const proxyEnv = "AUTH_TEST_PROXY"

// TestFetchThroughProxy is the other process of the test above.
func TestFetchThroughProxy(t *testing.T) {
	if os.Getenv(proxyEnv) == "" {
		return
	}
	v, err := NewVerifier(Config{JWKSURL: "https://id.example/keys"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.jwks.fetch(t.Context())
	t.Log(err, fetchHint(err))
}

// A set that is just as long as it may be is taken, so that the test of the endless one
// is not about something else.
func TestFetchOfTheLongestSet(t *testing.T) {
	fine := setOf(jwkOf("a", &rsaKey().PublicKey, ""))
	for extra, ok := range map[int]bool{0: true, 1: false} {
		i := newIssuer(t, fine+strings.Repeat(" ", jwksMax-len(fine)+extra))
		v, _ := i.verifier(t)
		if set, err := v.jwks.fetch(t.Context()); (err == nil) != ok || ok && len(set.keys) != 1 {
			t.Errorf("%d more: %v", extra, err)
		}
	}
}

// A server that says nothing, or a byte now and then, is given up.
func TestFetchTimeout(t *testing.T) {
	for what, do := range map[string]http.HandlerFunc{
		"silent": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"dripping": func(w http.ResponseWriter, r *http.Request) {
			for w.(http.Flusher).Flush(); r.Context().Err() == nil; time.Sleep(time.Millisecond) {
				fmt.Fprint(w, " ")
				w.(http.Flusher).Flush()
			}
		},
	} {
		i := newIssuer(t, "")
		i.do(do)
		v, _ := i.verifier(t)
		if v.jwks.client.Timeout != fetchTimeout {
			t.Error("the client has another timeout")
		}
		v.jwks.client.Timeout = 50 * time.Millisecond
		if _, err := v.jwks.fetch(t.Context()); err == nil || fetchHint(err) != "find out whether the issuer is overloaded, or packets are dropped on the way" {
			t.Errorf("%s: %v; hint %q", what, err, fetchHint(err))
		}
		// And the end of the process does not wait for it.
		v.jwks.client.Timeout = time.Hour
		before := i.asked.Load()
		stop := start(t, v)
		eventually(t, "the request", func() bool { return i.asked.Load() > before })
		stop()
	}
}

// Nothing is left over when Run has ended.
func TestRunLeavesNoGoroutine(t *testing.T) {
	i := newIssuer(t, setOf(jwkOf("a", &rsaKey().PublicKey, "")))
	before := runtime.NumGoroutine()
	v, _ := i.verifier(t)
	stop := start(t, v)
	eventually(t, "the first fetch", func() bool { return v.Stats().Keys == 1 })
	stop()
	eventually(t, "the end of all goroutines", func() bool { return runtime.NumGoroutine() <= before })
}

// script is a verifier whose fetches a test plays, in a bubble where time is the test's.
func script(t *testing.T, fetch func(n int) (*keySet, error)) (v *Verifier, buf *logtest.Log, fetches func() []time.Time) {
	log, buf := logtest.New(t)
	v, err := NewVerifier(Config{JWKSURL: "https://id.example/keys"}, log)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var at []time.Time
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		v.jwks.run(ctx, func(context.Context) (*keySet, error) {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Now())
			return fetch(len(at))
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	return v, buf, func() []time.Time {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(at)
	}
}

func oneKey(kid string) *keySet {
	return &keySet{keys: []key{must(publicKey(kid, &rsaKey().PublicKey))}}
}

// sleepTo passes the time of the bubble and then lets all of it come to rest.
func sleepTo(d time.Duration) { time.Sleep(d); synctest.Wait() }

func TestRefreshEveryTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, log, fetches := script(t, func(int) (*keySet, error) { return oneKey("a"), nil })
		sleepTo(24 * time.Hour)
		if n := len(fetches()); n < 131 || n > 161 { // 144, and 10 % each way.
			t.Errorf("%d fetches in a day", n)
		}
		gaps := map[time.Duration]bool{}
		at := fetches()
		for i := 1; i < len(at); i++ {
			gap := at[i].Sub(at[i-1])
			gaps[gap] = true
			if gap < 9*time.Minute || gap > 11*time.Minute {
				t.Errorf("%v between two fetches", gap)
			}
		}
		if len(gaps) < 100 {
			t.Errorf("only %d different times between fetches: edges would not spread", len(gaps))
		}
		if log.Count("token keys") != 1 {
			t.Error("want one line in a day in which nothing happens")
		}
	})
}

// From the start over a rotation to the withdrawal of the old key.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := setOf(jwkOf("a", &rsaKey().PublicKey, ""))
		v, log, fetches := script(t, func(int) (*keySet, error) {
			time.Sleep(time.Second)
			keys, _, err := parseJWKS([]byte(set))
			return &keySet{keys: keys}, err
		})
		a, b := withKid("a", "RS256", rsaKey()), withKid("b", "RS256", otherRSA())
		synctest.Wait()
		if _, err := v.Verify(a, now); err != NotReady || v.Stats().Keys != 0 {
			t.Errorf("before the first fetch: %v", err)
		}
		sleepTo(2 * time.Second)
		if _, err := v.Verify(a, now); err != nil {
			t.Error(err)
		}
		if _, err := v.Verify(b, time.Now()); err != UnknownKey {
			t.Errorf("a key that is not there yet: %v", err)
		}
		sleepTo(time.Minute)
		set = setOf(jwkOf("b", &otherRSA().PublicKey, ""))
		if _, err := v.Verify(b, time.Now()); err != KeysPending {
			t.Errorf("a new key: %v", err)
		}
		sleepTo(2 * time.Second)
		if _, err := v.Verify(b, now); err != nil {
			t.Errorf("2 s later: %v", err)
		}
		if _, err := v.Verify(a, time.Now()); err != UnknownKey {
			t.Errorf("a withdrawn key: %v", err)
		}
		if log.Count(`msg="token keys fetched"`) != 2 || log.Count("kids=[a]") != 1 || log.Count("kids=[b]") != 1 {
			t.Error("want a line for each set")
		}
		if s := v.Stats(); s.Fetches != 2 || s.Failures != 0 || len(fetches()) != 2 || !s.Fetched.Equal(fetches()[1]) {
			t.Errorf("%+v", s)
		}
	})
}

// An outage of an hour: the old keys stay, the log has two lines, the issuer is not
// pressed.
func TestOutageKeepsTheKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		v, log, fetches := script(t, func(n int) (*keySet, error) {
			if n > 1 && time.Since(begin) < time.Hour {
				return nil, errors.New("refused")
			}
			return oneKey("a"), nil
		})
		sleepTo(50 * time.Minute)
		if _, err := v.Verify(withKid("a", "RS256", rsaKey()), now); err != nil {
			t.Errorf("in the outage: %v", err)
		}
		if _, err := v.Verify(withKid("b", "RS256", rsaKey()), time.Now()); err != KeysPending {
			t.Errorf("an unknown key in the outage: %v", err)
		}
		s := v.Stats()
		if s.Keys != 1 || s.Failures != uint64(len(fetches())-1) || s.LastError != "refused" || !s.Fetched.Equal(fetches()[0]) {
			t.Errorf("%+v", s)
		}
		if n := len(fetches()); n < 40 || n > 180 { // Half a minute between two, on average, after the first.
			t.Errorf("%d attempts in 40 minutes", n)
		}
		sleepTo(20 * time.Minute)
		if log.Count("level=ERROR") != 1 || log.Count(`msg="token keys can't be fetched"`) != 1 || log.Count("keys_kept=1") == 0 ||
			log.Count(`msg="token keys can be fetched again"`) != 1 || log.Count(`msg="token keys fetched"`) != 1 {
			t.Error("want one line when fetching begins to fail and one when it works again")
		}
		if s := v.Stats(); time.Since(s.Fetched) > 11*time.Minute {
			t.Errorf("%+v", s)
		}
	})
}

// An issuer that is down when the edge starts: it is tried again within seconds.
func TestOutageAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, _, fetches := script(t, func(n int) (*keySet, error) {
			if n < 4 {
				return nil, errors.New("refused")
			}
			return oneKey("a"), nil
		})
		synctest.Wait()
		if _, err := v.Verify(withKid("a", "RS256", rsaKey()), now); err != NotReady || v.Stats().Keys != 0 || v.Stats().LastError != "refused" {
			t.Errorf("%v, %+v", err, v.Stats())
		}
		sleepTo(retryMin + 2*retryMin + 4*retryMin)
		if _, err := v.Verify(withKid("a", "RS256", rsaKey()), now); err != nil || len(fetches()) != 4 {
			t.Errorf("%v after %d attempts", err, len(fetches()))
		}
	})
}

// Tokens with unknown keys, ten a second: the issuer is asked six times a minute, and at
// once if it was not for long.
func TestUnknownKeysAskSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, _, fetches := script(t, func(int) (*keySet, error) { return oneKey("a"), nil })
		sleepTo(5 * time.Minute)
		token := withKid("b", "RS256", rsaKey())
		if _, err := v.Verify(token, time.Now()); err != KeysPending {
			t.Error(err)
		}
		synctest.Wait()
		if len(fetches()) != 2 {
			t.Fatalf("%d fetches, want the second at once", len(fetches()))
		}
		if _, err := v.Verify(token, time.Now()); err != UnknownKey {
			t.Errorf("after that: %v", err)
		}
		pending := 0
		for range 600 {
			if _, err := v.Verify(token, time.Now()); err == KeysPending {
				pending++
			}
			sleepTo(100 * time.Millisecond)
		}
		if n := len(fetches()); n < 7 || n > 8 {
			t.Errorf("%d fetches, want 2 and 6 more in a minute", n)
		}
		if pending > 10 {
			t.Errorf("%d of 600 tokens that are good nowhere were told to come again", pending)
		}
	})
}

// Asking brings a fetch forward to askEvery after the last, and never puts one off.
func TestAskingBringsForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := ofSet(t, setOf(jwkOf("a", &rsaKey().PublicKey, "")), now)
		for _, c := range []struct {
			asked            bool
			ago, wait, slept time.Duration // Ago is when the last fetch began.
		}{
			{false, 0, time.Minute, time.Minute},
			{true, 0, time.Minute, askEvery},
			{true, 4 * time.Second, time.Minute, askEvery - 4*time.Second},
			{true, time.Hour, time.Minute, 0},
			{true, 0, time.Second, time.Second}, // After a failure.
		} {
			if c.asked {
				v.jwks.ask()
				v.jwks.ask() // Does not wait.
			}
			begin := time.Now()
			v.jwks.sleep(t.Context(), begin.Add(-c.ago), c.wait)
			if d := time.Since(begin); d != c.slept {
				t.Errorf("%+v: slept %v", c, d)
			}
		}
	})
}

// The same in an outage: asking does not make the pauses shorter than askEvery.
func TestUnknownKeysInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, _, fetches := script(t, func(n int) (*keySet, error) {
			if n > 1 {
				return nil, errors.New("refused")
			}
			return oneKey("a"), nil
		})
		sleepTo(30 * time.Minute)
		before := len(fetches())
		token := withKid("b", "RS256", rsaKey())
		for range 6000 {
			_, _ = v.Verify(token, time.Now())
			sleepTo(100 * time.Millisecond)
		}
		// Ten minutes: at most one each 10 s, and those that were due anyway.
		if n := len(fetches()) - before; n < 55 || n > 100 {
			t.Errorf("%d fetches in ten minutes", n)
		}
	})
}
