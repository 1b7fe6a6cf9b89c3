// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/codes"

	pricesv1 "tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/auth"
)

// tokenWith returns a good token with an id.
func tokenWith(t *testing.T, user, jti string) context.Context {
	t.Helper()
	claims := jwt.MapClaims{"sub": user, "exp": time.Now().Add(long).Unix(), "jti": jti, "iat": 1000}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	must(t, err)
	return withToken("Bearer " + text)
}

// revocable runs a server where tokens are asked for, of which some may be revoked.
func revocable(t *testing.T, change func(cfg *Config, sh *share)) (*world, *auth.Revocations) {
	r := auth.NewRevocations()
	return guarded(t, func(cfg *Config, sh *share) {
		var err error
		cfg.Verifier, err = auth.NewVerifier(auth.Config{Secret: []byte(secret), Revoked: r}, slog.New(slog.DiscardHandler))
		must(t, err)
		if change != nil {
			change(cfg, sh)
		}
	}), r
}

// A stream ends when its token is revoked, and nobody comes back with it.
func TestRevokedTokenEndsStreams(t *testing.T) {
	const hello, ended, refused = "hello 10 ms, 256 topics", "Unauthenticated: 4501 token revoked", "Unauthenticated: the token has been revoked"
	w, r := revocable(t, nil)
	door := w.dial()
	streams := map[string]*client{}
	for name, who := range map[string][2]string{"a1": {"ann", "a1"}, "a2": {"ann", "a2"}, "b1": {"bob", "b1"}} {
		streams[name] = w.streamIn(tokenWith(t, who[0], who[1]), door)
		streams[name].want(hello)
	}
	must(t, r.TakeValue(`{"jti":["zz"]}`)) // Which is nobody's.
	must(t, r.TakeValue(`{"jti":["a1"]}`))
	streams["a1"].want(ended)
	w.streamIn(tokenWith(t, "ann", "a1"), door).want(refused)
	_, err := door.GetPrices(tokenWith(t, "ann", "a1"), &pricesv1.GetPricesRequest{Topics: []string{"A"}})
	wantCode(t, err, codes.Unauthenticated)
	w.until(func() bool { return w.Stats().Tokens["revoked"] == 2 }, "two refused tokens")
	streams["a2"].subscribe(1)
	streams["a2"].want("ack 1: 0 topics, 10 ms")
	must(t, r.TakeValue(`{"sub":[{"sub":"ann","before":1001}]}`))
	streams["a2"].want(ended)
	streams["b1"].subscribe(1)
	streams["b1"].want("ack 1: 0 topics, 10 ms")
	must(t, r.TakeValue(`{"sub":["bob"]}`))
	streams["b1"].want(ended)
}

// late revokes what was verified just before.
type late struct {
	*share
	revoke func()
}

func (l *late) EnterUser(user string, end func()) (leave func()) {
	l.revoke()
	return l.share.EnterUser(user, end)
}

// A token that is revoked while its stream begins is found too.
func TestRevokedWhileItBegins(t *testing.T) {
	l := new(late)
	w, r := revocable(t, func(cfg *Config, sh *share) { l.share, cfg.Share = sh, l })
	l.revoke = func() { must(t, r.TakeValue(`{"jti":["a1"]}`)) }
	w.streamIn(tokenWith(t, "ann", "a1"), w.dial()).want("Unauthenticated: 4501 token revoked")
}
