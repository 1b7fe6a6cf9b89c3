// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// jwksMax bounds the answer of a JWKS URL. Sets have some KiB.
	jwksMax = 1 << 20
	// fetchTimeout bounds a fetch, from the dial to the last byte.
	fetchTimeout = 10 * time.Second
	// askEvery is the least time between two fetches that unknown keys ask for, from
	// begin to begin. Anybody can send a token with a new kid; the issuer hears of it
	// six times a minute.
	askEvery = 10 * time.Second
	// After a fetch that failed comes the next within retryMin, and each further one
	// within twice that, up to retryMax.
	retryMin = time.Second
	retryMax = time.Minute
)

// jwks fetches the keys of an issuer. Its run is one goroutine; ask may be called from
// any other.
type jwks struct {
	url    string
	shown  string // The URL for the log, without its query.
	every  time.Duration
	client *http.Client
	keys   *atomic.Pointer[keySet]
	asked  chan struct{} // Holds one if an unknown key was seen.
	log    *slog.Logger

	fetches, failures atomic.Uint64
	lastError         atomic.Pointer[string]
}

// newJWKS returns the fetcher of a valid cfg, into keys.
func newJWKS(cfg Config, keys *atomic.Pointer[keySet], log *slog.Logger) *jwks {
	u, _ := url.Parse(cfg.JWKSURL) // Checked by Validate.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // The next fetch is minutes away.
	transport.MaxResponseHeaderBytes = 64 << 10
	transport.Proxy = proxy
	return &jwks{
		url:   cfg.JWKSURL,
		shown: (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String(),
		every: cfg.JWKSRefresh,
		client: &http.Client{
			Transport: transport,
			Timeout:   fetchTimeout,
			// The operator said where the keys are. Following a redirect would let
			// whoever can make that server send one say it too.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		keys:  keys,
		asked: make(chan struct{}, 1),
		log:   log,
	}
}

// ask brings the next fetch forward. It never waits.
func (j *jwks) ask() {
	select {
	case j.asked <- struct{}{}:
	default:
	}
}

// run fetches until ctx ends. When a fetch fails, the keys stay as they are, however
// long that lasts: an issuer's outage is no reason to turn its users away. The log has
// one line when fetching begins to fail, one when it works again, and one whenever the
// keys are others.
func (j *jwks) run(ctx context.Context, fetch func(context.Context) (*keySet, error)) {
	var (
		bound time.Duration // Of the wait after a failure; 0 after a success.
		down  time.Time     // When fetching began to fail; zero while it works.
	)
	for ctx.Err() == nil {
		began := time.Now()
		set, err := fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		j.fetches.Add(1)
		wait := j.every - j.every/10 + rand.N(j.every/5) // ±10 %, so that edges spread.
		if err != nil {
			j.failures.Add(1)
			text := err.Error()
			j.lastError.Store(&text)
			bound = min(max(2*bound, retryMin), retryMax)
			wait = rand.N(bound) + 1
			level, line := slog.LevelDebug, "token keys still can't be fetched"
			if down.IsZero() {
				down = began
				level, line = slog.LevelError, "token keys can't be fetched"
			}
			j.log.Log(ctx, level, line, "url", j.shown, "error", err, "hint", fetchHint(err),
				"keys_kept", j.count(), "retry_in", wait.Round(time.Millisecond))
		} else {
			if !down.IsZero() {
				j.log.Info("token keys can be fetched again", "url", j.shown, "outage", time.Since(down).Round(time.Millisecond))
			}
			bound, down = 0, time.Time{}
			set.fetched = began
			if old := j.keys.Swap(set); old == nil || !slices.Equal(old.ids(), set.ids()) {
				j.log.Info("token keys fetched", "url", j.shown, "kids", set.ids())
			}
		}
		j.sleep(ctx, began, wait)
	}
}

func (j *jwks) count() int {
	if set := j.keys.Load(); set != nil {
		return len(set.keys)
	}
	return 0
}

// ids are the kids of the set. They are public, as are its keys.
func (s *keySet) ids() []string {
	ids := make([]string, len(s.keys))
	for i := range s.keys {
		ids[i] = s.keys[i].id
	}
	return ids
}

// sleep waits, for less if an unknown key asks for it: then until askEvery after the
// last fetch began.
func (j *jwks) sleep(ctx context.Context, began time.Time, wait time.Duration) {
	end := time.Now().Add(wait)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	asked := j.asked
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-asked:
			asked = nil // Once is enough: the fetch is for all who ask.
			if sooner := began.Add(askEvery); sooner.Before(end) {
				timer.Reset(time.Until(sooner))
			}
		}
	}
}

// fetch gets the keys once.
func (j *jwks) fetch(ctx context.Context) (*keySet, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, j.url, nil)
	if err != nil {
		return nil, errors.New("the URL is not valid")
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := j.client.Do(req)
	if err != nil {
		var quoting *url.Error // It quotes the URL, query and all.
		if errors.As(err, &quoting) {
			err = quoting.Err
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, statusError(resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, jwksMax+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(body) > jwksMax {
		return nil, fmt.Errorf("%w: it is longer than %d KiB", errNoSet, jwksMax>>10)
	}
	keys, ignored, err := parseJWKS(body)
	for _, why := range ignored {
		j.log.Debug("a key of the set is not used", "url", j.shown, "why", why)
	}
	if err != nil {
		return nil, err
	}
	return &keySet{keys: keys}, nil
}

// statusError is an HTTP status other than 200.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("HTTP %d, want 200", int(e)) }

// errNoSet is an answer that is no set of keys for us.
var errNoSet = errors.New("the answer is not a set of keys (RFC 7517, section 5)")

// fetchHint says what an operator can do about an error of fetch.
func fetchHint(err error) string {
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var status statusError
	var netErr net.Error
	switch {
	case errors.As(err, &status) && status >= 300 && status < 400:
		return "redirects are not followed: set the JWKS URL to where it leads"
	case errors.As(err, &status) && status < 500:
		return "correct the JWKS URL: the issuer's /.well-known/openid-configuration has it as jwks_uri"
	case errors.As(err, &status):
		return "see the log of the issuer"
	case errors.Is(err, errNoSet):
		return "correct the JWKS URL: curl shows what it answers"
	case errors.Is(err, errProxy):
		return "correct HTTPS_PROXY in the environment: want http://user:password@host:port, with special characters in the password as %XX"
	case errors.As(err, &dns):
		return "correct the host in the JWKS URL, or its entry in the DNS"
	case errors.As(err, &cert):
		return "trust the authority of the server's certificate (SSL_CERT_FILE), or use a name in it as the host"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "start the issuer, or correct the address in the JWKS URL"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "find out whether the issuer is overloaded, or packets are dropped on the way"
	}
	return "try the JWKS URL with curl from this host"
}

// parseJWKS returns the keys of a set that can be used, in its order, and why others
// can't: RFC 7517, section 5, wants those passed over. An answer without one that can be
// used is an error, so that an issuer's mishap does not turn everybody away.
func parseJWKS(body []byte) (keys []key, ignored []string, err error) {
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, nil, errNoSet // The parser's error may quote the answer.
	}
	if len(set.Keys) > keysMax {
		return nil, nil, fmt.Errorf("%w: it has %d keys, want at most %d", errNoSet, len(set.Keys), keysMax)
	}
	for i, value := range set.Keys {
		k, err := parseJWK(value)
		if err != nil {
			ignored = append(ignored, fmt.Sprintf("key %d: %v", i+1, err))
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		reason := "it has none"
		if len(ignored) > 0 {
			reason = ignored[0]
		}
		return nil, ignored, fmt.Errorf("%w that can be used: %s", errNoSet, reason)
	}
	return keys, ignored, nil
}

// jwk is a key as it stands in a set (RFC 7517, 4; RFC 7518, 6; RFC 8037, 2).
type jwk struct {
	Kty    string   `json:"kty"`
	Use    string   `json:"use"`
	KeyOps []string `json:"key_ops"`
	Alg    string   `json:"alg"`
	Kid    string   `json:"kid"`
	Crv    string   `json:"crv"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	X      string   `json:"x"`
	Y      string   `json:"y"`
}

// kidMax bounds a kid, in bytes, because the log has them.
const kidMax = 256

func parseJWK(value jsontext.Value) (key, error) {
	var j jwk
	switch err := json.Unmarshal(value, &j); {
	case err != nil:
		return key{}, errors.New("it is not a JSON object of the right types")
	case j.Use != "" && j.Use != "sig":
		return key{}, errors.New("its use is not sig")
	case j.KeyOps != nil && !slices.Contains(j.KeyOps, "verify"):
		return key{}, errors.New("its key_ops have no verify")
	case len(j.Kid) > kidMax:
		return key{}, fmt.Errorf("its kid is longer than %d bytes", kidMax)
	}
	public, err := j.public()
	if err != nil {
		return key{}, err
	}
	k, err := publicKey(j.Kid, public)
	if err != nil {
		return key{}, err
	}
	if j.Alg != "" {
		i := slices.Index(k.algs(), j.Alg)
		if i < 0 {
			return key{}, fmt.Errorf("its alg does not go with it, want one of %s", strings.Join(k.algs(), ", "))
		}
		k.methods = k.methods[i : i+1]
	}
	return k, nil
}

// public returns the public key. A symmetric one (kty oct) is not for publication and
// never taken.
func (j *jwk) public() (any, error) {
	switch j.Kty {
	case "RSA":
		n, err := decode("n", j.N)
		if err != nil {
			return nil, err
		}
		e, err := decode("e", j.E)
		if err != nil {
			return nil, err
		}
		exponent := new(big.Int).SetBytes(e)
		// Package crypto/rsa takes none above 31 bits.
		if exponent.BitLen() > 31 || exponent.Int64() < 3 || exponent.Bit(0) == 0 {
			return nil, errors.New("its e is not an odd number from 3 to 2147483647")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}, nil
	case "EC":
		var curve elliptic.Curve
		switch j.Crv {
		case "P-256":
			curve = elliptic.P256()
		case "P-384":
			curve = elliptic.P384()
		case "P-521":
			curve = elliptic.P521()
		default:
			return nil, errors.New("its crv is not P-256, P-384 or P-521")
		}
		x, err := decode("x", j.X)
		if err != nil {
			return nil, err
		}
		y, err := decode("y", j.Y)
		if err != nil {
			return nil, err
		}
		// SEC 1, 2.3.3. That the point is on the curve is checked.
		public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
		if err != nil {
			return nil, errors.New("its x and y are no point of its curve")
		}
		return public, nil
	case "OKP":
		x, err := decode("x", j.X)
		if err != nil {
			return nil, err
		}
		if j.Crv != "Ed25519" || len(x) != ed25519.PublicKeySize {
			return nil, errors.New("its crv is not Ed25519, or its x has not 32 bytes")
		}
		return ed25519.PublicKey(x), nil
	}
	return nil, errors.New("its kty is not RSA, EC or OKP")
}

func decode(name, value string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("its %s is not base64url", name)
	}
	return b, nil
}
