// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// algorithms are all that there are, with a key that signs and the file or secret that
// verifies.
var algorithms = []struct {
	name   string
	signer func() any
}{
	{"HS256", func() any { return secret64 }}, {"HS384", func() any { return secret64 }}, {"HS512", func() any { return secret64 }},
	{"RS256", func() any { return rsaKey() }}, {"RS384", func() any { return rsaKey() }}, {"RS512", func() any { return rsaKey() }},
	{"PS256", func() any { return rsaKey() }}, {"PS384", func() any { return rsaKey() }}, {"PS512", func() any { return rsaKey() }},
	{"ES256", func() any { return p256() }}, {"ES384", func() any { return p384() }}, {"ES512", func() any { return p521() }},
	{"EdDSA", func() any { return edKey() }},
}

// configFor returns a config that has the other half of signer.
func configFor(t testing.TB, signer any) Config {
	if secret, ok := signer.([]byte); ok {
		return Config{Secret: secret}
	}
	return Config{KeyFile: write(t, "key.pem", publicPEM(signer.(crypto.Signer).Public()))}
}

// Every algorithm is taken by the key that it belongs to, and by no other.
func TestAlgorithms(t *testing.T) {
	for _, holder := range algorithms {
		v := newVerifier(t, configFor(t, holder.signer()))
		for _, a := range algorithms {
			claims, err := v.Verify([]byte(mint(a.name, a.signer(), good)), now)
			belongs := fmt.Sprintf("%p", a.signer()) == fmt.Sprintf("%p", holder.signer())
			switch {
			case belongs && (err != nil || claims.User != "alice"):
				t.Errorf("%s with its key: %+v, %v", a.name, claims, err)
			case !belongs && err != WrongAlgorithm:
				t.Errorf("%s with the key of %s: %+v, %v", a.name, holder.name, claims, err)
			}
		}
	}
}

// Tampered with anywhere, a token is not good: every part changed, with every algorithm.
func TestSignatureCoversAll(t *testing.T) {
	for _, a := range algorithms {
		v := newVerifier(t, configFor(t, a.signer()))
		token := mint(a.name, a.signer(), good)
		parts := strings.Split(token, ".")
		other := strings.Split(mint(a.name, a.signer(), `{"sub":"mallory","exp":1700000600}`), ".")
		for what, bad := range map[string]string{
			"other payload":   parts[0] + "." + other[1] + "." + parts[2],
			"other signature": parts[0] + "." + parts[1] + "." + other[2],
			"no signature":    parts[0] + "." + parts[1] + ".",
			"half signature":  parts[0] + "." + parts[1] + "." + parts[2][:len(parts[2])/2&^3],
			"zero signature":  parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
			"other header": base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf(`{"alg":%q}`, a.name))) +
				"." + parts[1] + "." + parts[2],
		} {
			if c, err := v.Verify([]byte(bad), now); err != BadSignature {
				t.Errorf("%s, %s: %+v, %v", a.name, what, c, err)
			}
		}
	}
}

// Whoever has shown too many wrong signatures gets no more of those verified that take long, good
// ones included, and all others.
func TestVerifyFast(t *testing.T) {
	for _, a := range algorithms {
		v, token := newVerifier(t, configFor(t, a.signer())), []byte(mint(a.name, a.signer(), good))
		var want error
		if a.name == "ES384" || a.name == "ES512" {
			want = TooManyWrong
		}
		if _, err := v.verify(token, now, false); err != want {
			t.Errorf("%s: %v, want %v", a.name, err, want)
		}
	}
}

// RFC 8725, 2.1: a public key is public, so a signature made with it as a secret must not
// count, in any form in which it may be at hand; nor one that is not there.
func TestAlgorithmConfusion(t *testing.T) {
	rsaPEM := publicPEM(rsaKey().Public())
	block, _ := pem.Decode(rsaPEM)
	edPublic := edKey().Public()
	for what, cfg := range map[string]Config{
		"RSA":     {KeyFile: write(t, "rsa.pem", rsaPEM)},
		"Ed25519": {KeyFile: write(t, "ed.pem", publicPEM(edPublic))},
		"HMAC":    {Secret: secret64},
	} {
		v := newVerifier(t, cfg)
		var bad []string
		if what != "HMAC" {
			for _, public := range [][]byte{rsaPEM, bytes.TrimSpace(rsaPEM), block.Bytes, rsaKey().N.Bytes(), publicPEM(edPublic), edPublic.(ed25519.PublicKey)} {
				for _, alg := range []string{"HS256", "HS384", "HS512"} {
					bad = append(bad, mint(alg, public, good))
				}
			}
		}
		unsigned := base64.RawURLEncoding.EncodeToString([]byte(good)) + "."
		for _, alg := range []string{"none", "None", "NONE", "nOnE", "hs256", "Hs256", "rs256", "eddsa", "", " HS256", "HS256 ", "ES256K", "HS1"} {
			bad = append(bad, base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf(`{"alg":%q}`, alg)))+"."+unsigned)
		}
		bad = append(bad, sign("none", jwt.UnsafeAllowNoneSignatureType, `{"alg":"none"}`, good))
		for _, header := range []string{`{}`, `{"alg":null}`, `{"ALG":"HS256"}`} {
			bad = append(bad, sign("HS256", secret64, header, good))
		}
		// Names that are nearly right, well signed.
		if what == "HMAC" {
			for _, alg := range []string{"hs256", "Hs256", "HS256 "} {
				bad = append(bad, sign("HS256", secret64, fmt.Sprintf(`{"alg":%q}`, alg), good))
			}
		}
		for _, token := range bad {
			if c, err := v.Verify([]byte(token), now); err != WrongAlgorithm {
				head, _, _ := strings.Cut(token, ".")
				text, _ := base64.RawURLEncoding.DecodeString(head)
				t.Errorf("%s, header %s: %+v, %v", what, text, c, err)
			}
		}
	}
}

func TestClaims(t *testing.T) {
	plain := Config{Secret: secret64}
	strict := Config{Secret: secret64, Issuer: "https://id.example", Audience: "prices", Leeway: 30 * time.Second}
	lax := Config{Secret: secret64, AllowNoExp: true}
	const full = `"sub":"alice","exp":1700000600,"iss":"https://id.example","aud":"prices"`
	long := strings.Repeat("a", userMax)
	for _, c := range []struct {
		cfg     Config
		payload string
		want    error
	}{
		{plain, good, nil},
		{plain, `{"sub":"alice","exp":1700000001}`, nil},
		{plain, `{"sub":"alice","exp":1700000000}`, Expired},
		{plain, `{"sub":"alice","exp":1699999999}`, Expired},
		{plain, `{"sub":"alice","exp":1700000000.9}`, Expired}, // Whole seconds.
		{plain, `{"sub":"alice","exp":1.7000006e9}`, nil},
		{plain, `{"sub":"alice"}`, NoExpiry},
		{plain, `{"sub":"alice","exp":null}`, NoExpiry},
		{plain, `{"sub":"alice","Exp":1700000600}`, NoExpiry},
		{plain, `{"sub":"alice","exp":1700000600000}`, BadTime}, // Milliseconds.
		{plain, `{"sub":"alice","exp":253402300799}`, nil},
		{plain, `{"sub":"alice","exp":1e300}`, BadTime},
		{plain, `{"sub":"alice","exp":-1}`, BadTime},
		{plain, `{"sub":"alice","exp":1e999}`, Malformed},
		{plain, `{"sub":"alice","exp":"1700000600"}`, Malformed},
		{plain, `{"sub":"alice","exp":true}`, Malformed},
		{plain, `{"sub":"alice","exp":1700000600,"nbf":1700000000}`, nil},
		{plain, `{"sub":"alice","exp":1700000600,"nbf":1700000001}`, NotYet},
		{plain, `{"sub":"alice","exp":1700000600,"nbf":1e300}`, BadTime},
		{plain, `{"sub":"alice","exp":1700000600,"nbf":"x"}`, Malformed},
		{plain, `{"sub":"alice","exp":1700000600,"iat":1900000000,"jti":"x","iss":"anybody"}`, nil},

		{lax, `{"sub":"alice"}`, nil},
		{lax, `{"sub":"alice","exp":1700000000}`, Expired},

		{strict, `{` + full + `}`, nil},
		{strict, `{"sub":"alice","exp":1699999971,"iss":"https://id.example","aud":"prices"}`, nil}, // 30 s of leeway.
		{strict, `{"sub":"alice","exp":1699999970,"iss":"https://id.example","aud":"prices"}`, Expired},
		{strict, `{` + full + `,"nbf":1700000030}`, nil},
		{strict, `{` + full + `,"nbf":1700000031}`, NotYet},
		{strict, `{"sub":"alice","exp":1700000600,"iss":"https://id.example","aud":["x","prices"]}`, nil},
		{strict, `{"sub":"alice","exp":1700000600,"iss":"https://id.example","aud":["x"]}`, WrongAudience},
		{strict, `{"sub":"alice","exp":1700000600,"iss":"https://id.example","aud":"Prices"}`, WrongAudience},
		{strict, `{"sub":"alice","exp":1700000600,"iss":"https://id.example","aud":["x",7,"prices"]}`, WrongAudience},
		{strict, `{"sub":"alice","exp":1700000600,"iss":"https://id.example","aud":{"prices":1}}`, WrongAudience},
		{strict, `{"sub":"alice","exp":1700000600,"iss":"https://id.example","aud":[]}`, WrongAudience},
		{strict, `{"sub":"alice","exp":1700000600,"iss":"https://id.example","aud":null}`, WrongAudience},
		{strict, `{"sub":"alice","exp":1700000600,"iss":"https://id.example"}`, WrongAudience},
		{strict, `{"sub":"alice","exp":1700000600,"iss":"https://id.example/","aud":"prices"}`, WrongIssuer},
		{strict, `{"sub":"alice","exp":1700000600,"aud":"prices"}`, WrongIssuer},
		{strict, `{"sub":"alice","exp":1700000600,"iss":["https://id.example"],"aud":"prices"}`, Malformed},

		// RFC 7519, 4.1.3: who has no name is not who is meant.
		{plain, `{"sub":"alice","exp":1700000600,"aud":"prices"}`, WrongAudience},
		{plain, `{"sub":"alice","exp":1700000600,"aud":[]}`, WrongAudience},
		{plain, `{"sub":"alice","exp":1700000600,"aud":null}`, nil},

		{plain, `{"exp":1700000600}`, BadUser},
		{plain, `{"sub":"","exp":1700000600}`, BadUser},
		{plain, `{"sub":null,"exp":1700000600}`, BadUser},
		{plain, `{"sub":7,"exp":1700000600}`, Malformed},
		{plain, `{"sub":"` + long + `","exp":1700000600}`, nil},
		{plain, `{"sub":"` + long + `a","exp":1700000600}`, BadUser},
		{plain, `{"sub":"Зоя 🦊","exp":1700000600}`, nil},
		{plain, `{"sub":"a\nb","exp":1700000600}`, BadUser},
		{plain, `{"sub":"a\u0000","exp":1700000600}`, BadUser},
		{plain, `{"sub":"a\u0085","exp":1700000600}`, BadUser},
		{plain, "{\"sub\":\"a\xff\",\"exp\":1700000600}", Malformed},
		{plain, `{"sub":"a\ud800","exp":1700000600}`, Malformed},

		// A name that comes twice may have been read in another way before us.
		{plain, `{"sub":"alice","exp":1700000600,"sub":"mallory"}`, Malformed},
		{plain, `{"sub":"alice","exp":1600000000,"exp":1700000600}`, Malformed},
		{plain, `{"sub":"alice","exp":1700000600,"x":{"y":1,"y":2}}`, Malformed},
		{plain, `{"sub":"alice","exp":1700000600,"topics":["A"],"topics":["*"]}`, Malformed},
		{plain, `{"sub":"alice","exp":1700000600,"topics":["A"],"\u0074opics":["*"]}`, Malformed},

		{plain, `{"sub":"alice","exp":1700000600,"topics":["AAPL","FX:*"]}`, nil},
		{plain, `{"sub":"alice","exp":1700000600,"topics":[]}`, nil},
		{plain, `{"sub":"alice","exp":1700000600,"topics":null}`, BadTopics},
		{plain, `{"sub":"alice","exp":1700000600,"topics":"AAPL"}`, BadTopics},
		{plain, `{"sub":"alice","exp":1700000600,"topics":["AAPL",7]}`, BadTopics},
		{plain, `{"sub":"alice","exp":1700000600,"topics":["AAPL MSFT"]}`, BadTopics},
		{plain, `{"sub":"alice","exp":1700000600,"topics":{"0":"AAPL"}}`, BadTopics},

		{plain, `null`, NoExpiry},
		{plain, ``, Malformed},
		{plain, `[]`, Malformed},
		{plain, `"x"`, Malformed},
		{plain, good + `x`, Malformed},
		{plain, good[:len(good)-1], Malformed},
		{plain, strings.Repeat(`[`, 5000), Malformed},
	} {
		v := newVerifier(t, c.cfg)
		claims, err := v.Verify([]byte(hs(c.payload)), now)
		if err != c.want {
			t.Errorf("%.120q: %v, want %v", c.payload, err, c.want)
		}
		if err != nil && claims != (Claims{}) {
			t.Errorf("%.120q: refused, and yet claims %+v", c.payload, claims)
		}
	}
}

func TestClaimsAreReturned(t *testing.T) {
	v := newVerifier(t, Config{Secret: secret64, Leeway: time.Minute, TopicsClaim: "https://example.com/topics", AllowNoExp: true})
	c, err := v.Verify([]byte(hs(`{"sub":"alice","exp":1700000600,"topics":["X"],"https://example.com/topics":["AAPL"]}`)), now)
	if err != nil || c.User != "alice" || !c.Expires.Equal(time.Unix(1700000660, 0)) {
		t.Errorf("%+v, %v", c, err)
	}
	if !c.Topics.Allows([]byte("AAPL")) || c.Topics.Allows([]byte("X")) {
		t.Error("the topics are not those of the claim that was asked for")
	}
	if c, err = v.Verify([]byte(hs(`{"sub":"bob"}`)), now); err != nil || !c.Expires.IsZero() || c.Topics != nil {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestMalformedTokens(t *testing.T) {
	v := newVerifier(t, Config{Secret: secret64})
	token := hs(good)
	parts := strings.Split(token, ".")
	pad := strings.Repeat("a", TokenMax)
	for what, c := range map[string]struct {
		token string
		want  error
	}{
		"nothing":         {"", Missing},
		"too long":        {token + pad, TooLong},
		"as long as can":  {pad, Malformed},
		"one part":        {parts[0], Malformed},
		"two parts":       {parts[0] + "." + parts[1], Malformed},
		"four parts":      {token + ".", Malformed},
		"dots":            {"..", Malformed},
		"many dots":       {strings.Repeat(".", TokenMax), Malformed},
		"five parts":      {"a.b.c.d.e", Malformed}, // A JWE.
		"garbage":         {"\x00\xff\x80", Malformed},
		"padding":         {parts[0] + "=." + parts[1] + "." + parts[2], Malformed},
		"line end inside": {token[:len(token)-9] + "\r\n" + token[len(token)-9:], Malformed},
		"line end":        {token + "\n", Malformed},
		"blank in front":  {" " + token, Malformed},
		"standard base64": {parts[0] + "." + parts[1] + "." + strings.Repeat("+", 43), Malformed},
		// The last character of 32 bytes in base64 has two bits that mean nothing.
		"other last bits":      {token[:len(token)-1] + string(nextInBase64(token[len(token)-1])), Malformed},
		"header no object":     {sign("HS256", secret64, `["alg"]`, good), Malformed},
		"header twice alg":     {sign("HS256", secret64, `{"alg":"none","alg":"HS256"}`, good), Malformed},
		"header not UTF-8":     {sign("HS256", secret64, "{\"alg\":\"HS256\",\"x\":\"\xff\"}", good), Malformed},
		"header kid no string": {sign("HS256", secret64, `{"alg":"HS256","kid":7}`, good), Malformed},
		"header alg no string": {sign("HS256", secret64, `{"alg":["HS256"]}`, good), Malformed},
		"crit":                 {sign("HS256", secret64, `{"alg":"HS256","crit":["exp"],"exp":1}`, good), Critical},
		"b64 false":            {sign("HS256", secret64, `{"alg":"HS256","b64":false,"crit":["b64"]}`, good), Critical},
		"other secret":         {mint("HS256", bytes.Repeat([]byte("x"), 64), good), BadSignature},
		"empty secret":         {mint("HS256", []byte{}, good), BadSignature},
		"kid that fits none":   {sign("HS256", secret64, `{"alg":"HS256","kid":"whatever"}`, good), nil}, // A secret has no kid.
		"key in the header":    {sign("RS256", otherRSA(), `{"alg":"RS256","jwk":{"kty":"RSA"},"x5u":"https://evil.example"}`, good), WrongAlgorithm},
	} {
		if _, err := v.Verify([]byte(c.token), now); err != c.want {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
}

// nextInBase64 returns the character after c, which differs in the last bit or more.
func nextInBase64(c byte) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, c)^1]
}

// The header is parsed before anything is known of the sender, so it is short.
func TestHeaderMax(t *testing.T) {
	v := newVerifier(t, Config{Secret: secret64})
	for extra, want := range map[int]error{0: nil, 1: Malformed} {
		empty := len(`{"alg":"HS256","x":""}`)
		header := `{"alg":"HS256","x":"` + strings.Repeat("x", headerMax/4*3-empty+extra) + `"}`
		if _, err := v.Verify([]byte(sign("HS256", secret64, header, good)), now); err != want {
			t.Errorf("%d more: %v", extra, err)
		}
	}
}

// What is not signed is not parsed: claims that are no JSON are not even malformed.
func TestSignatureComesFirst(t *testing.T) {
	v := newVerifier(t, Config{Secret: secret64})
	for _, payload := range []string{"", "{", strings.Repeat("[", 5000), `{"exp":1}`} {
		if _, err := v.Verify([]byte(mint("HS256", secret64[:32], payload)), now); err != BadSignature {
			t.Errorf("%.20q: %v", payload, err)
		}
	}
}

// A long list of topics still fits a token, so its limit is reached.
func TestMostTopicsOfAToken(t *testing.T) {
	v := newVerifier(t, Config{Secret: secret64})
	payload := func(n int) string {
		return `{"sub":"alice","exp":1700000600,"topics":[` + strings.TrimSuffix(strings.Repeat(`"A",`, n), ",") + `]}`
	}
	if _, err := v.Verify([]byte(hs(payload(patternsMax))), now); err != nil {
		t.Error(err)
	}
	if _, err := v.Verify([]byte(hs(payload(patternsMax+1))), now); err != BadTopics {
		t.Error(err)
	}
}

// Keys of several kinds and two of one kind stand in one file while the issuer changes over.
func TestKeyFileWithSeveralKeys(t *testing.T) {
	var file []byte
	for _, public := range []crypto.PublicKey{otherRSA().Public(), edKey().Public(), rsaKey().Public()} {
		file = append(file, publicPEM(public)...)
	}
	v := newVerifier(t, Config{KeyFile: write(t, "keys.pem", file)})
	for _, token := range []string{mint("RS256", rsaKey(), good), mint("PS512", otherRSA(), good), mint("EdDSA", edKey(), good)} {
		if _, err := v.Verify([]byte(token), now); err != nil {
			t.Error(err)
		}
	}
	if s := v.Stats(); s.Keys != 3 || !s.Fetched.IsZero() {
		t.Errorf("%+v", s)
	}
	v.Run(t.Context()) // Returns at once.
}

// Many goroutines verify with one verifier: for the race detector.
func TestVerifyFromManyGoroutines(t *testing.T) {
	v := newVerifier(t, Config{Secret: secret64, Issuer: "i"})
	token := []byte(hs(`{"sub":"alice","exp":1700000600,"iss":"i"}`))
	errs := make(chan error)
	for i := range 8 {
		go func() {
			var err error
			for n := range 200 {
				at, want := now, error(nil)
				if (n+i)%2 == 0 { // The clock is the call's own.
					at, want = now.Add(time.Hour), Expired
				}
				if _, got := v.Verify(token, at); got != want {
					err = fmt.Errorf("%v, want %v", got, want)
				}
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestBearer(t *testing.T) {
	for field, want := range map[string]string{
		"Bearer a.b.c": "a.b.c", "bearer a": "a", "BEARER   a": "a",
		"": "", "Bearer": "", "Bearer ": "", "Basic a": "", "Bearera": "", "Bearer\ta": "",
	} {
		token, ok := Bearer([]byte(field))
		if string(token) != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", field, token, ok)
		}
	}
}

// What refuses a token has no part of it. The reasons are constants, so this is about the
// type of the error: one that wraps the parser's would quote.
func TestErrorsAreReasons(t *testing.T) {
	v := newVerifier(t, Config{Secret: secret64, Issuer: "i", Audience: "a"})
	for _, token := range []string{"x", "a.b.c", hs("{}"), hs(good), hs(`{"sub":"alice-the-user","exp":"soon"}`), mint("RS256", rsaKey(), good)} {
		_, err := v.Verify([]byte(token), now)
		if why, ok := err.(Reason); !ok || why == 0 || why >= Reasons {
			t.Errorf("%#v", err)
		}
	}
}

// A token of a type that is not taken is refused, however good it is otherwise, with or
// without application/ and in any case.
func TestTypes(t *testing.T) {
	for _, c := range []struct {
		types     []string
		good, bad []string // What stands in the header; "" is nothing.
	}{
		{nil,
			[]string{`"typ":"JWT"`, `"typ":"jwt"`, `"typ":"at+jwt"`, `"typ":"AT+JWT"`, `"typ":"application/at+jwt"`, `"typ":"Application/JWT"`, `"typ":null`, ``},
			[]string{`"typ":"logout+jwt"`, `"typ":"dpop+jwt"`, `"typ":"secevent+jwt"`, `"typ":""`, `"typ":"none"`, `"typ":"application/none"`, `"typ":"x/JWT"`,
				`"typ":"application/x/JWT"`, `"typ":"application/"`, `"typ":"JWT "`, `"typ":"JOSE"`}},
		{[]string{"at+jwt"},
			[]string{`"typ":"at+jwt"`, `"typ":"application/at+jwt"`},
			[]string{`"typ":"JWT"`, ``, `"typ":null`}},
		{[]string{"Application/Feed+JWT", "x/y", NoType},
			[]string{`"typ":"feed+jwt"`, `"typ":"application/feed+jwt"`, `"typ":"X/Y"`, ``},
			[]string{`"typ":"JWT"`, `"typ":"at+jwt"`, `"typ":"y"`, `"typ":"application/x/y"`}},
	} {
		v := newVerifier(t, Config{Secret: secret64, Types: c.types})
		verify := func(typ string) error {
			header := `{"alg":"HS256"}`
			if typ != "" {
				header = `{"alg":"HS256",` + typ + `}`
			}
			_, err := v.Verify([]byte(sign("HS256", secret64, header, good)), now)
			return err
		}
		for _, typ := range c.good {
			if err := verify(typ); err != nil {
				t.Errorf("%v, %s: %v", c.types, typ, err)
			}
		}
		for _, typ := range c.bad {
			if err := verify(typ); err != WrongType {
				t.Errorf("%v, %s: %v, want %v", c.types, typ, err, WrongType)
			}
		}
		if err := verify(`"typ":7`); err != Malformed {
			t.Errorf("a number: %v", err)
		}
	}
	if WrongType.Status() != 401 {
		t.Errorf("answered with %d", WrongType.Status())
	}
	for _, typ := range []string{"", "a b", "JWT;x", "\u00e4"} {
		if err := (Config{Secret: secret64, Types: []string{typ}}).Validate(); err == nil || !strings.Contains(err.Error(), "want types such as JWT") {
			t.Errorf("type %q: %v", typ, err)
		}
	}
}
