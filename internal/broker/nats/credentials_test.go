// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// must returns a value, and fails if there is an error.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A token is who we are, and stands in no log.
func TestToken(t *testing.T) {
	t.Parallel()
	s := startWith(t, &server.Options{Authorization: secret})
	nc := must(natsgo.Connect(s.ClientURL(), natsgo.Token(secret)))
	defer nc.Close()
	f := runCore(t, Config{URL: "nats://" + secret + "@" + s.Addr().String()})
	f.acquire("A")
	f.hears(nc, "A", "1")
	wrong := startCore(t, Config{URL: "nats://another-" + secret + "@" + s.Addr().String()})
	wrong.down("uthorization", "correct user and password, token")
	if f.log.Count(secret) != 0 || wrong.log.Count(secret) != 0 {
		t.Error("the log has the token")
	}
}

// The file with an NKey's seed is read for each connection.
func TestNKey(t *testing.T) {
	t.Parallel()
	known, other := must(nkeys.CreateUser()), must(nkeys.CreateUser())
	s := startWith(t, &server.Options{Nkeys: []*server.NkeyUser{{Nkey: must(known.PublicKey())}}})
	file := filepath.Join(t.TempDir(), "edge.nk")
	writeFile(t, file, must(other.Seed()))
	f := startCore(t, Config{URL: "nats://" + s.Addr().String() + "?nkey=" + file})
	f.down("uthorization", "NKey")
	writeFile(t, file, must(known.Seed()))
	f.until("it is up", func() bool { return f.table.Health().Up })
	if f.log.Count(string(must(known.Seed()))) != 0 {
		t.Error("the log has the seed")
	}
}

// operator is one of a server with accounts, of which one is the edge's.
type operator struct {
	t       *testing.T
	server  *server.Server
	key     nkeys.KeyPair
	account nkeys.KeyPair
	claims  *jwt.AccountClaims
}

func startOperator(t *testing.T, limit func(*jwt.AccountClaims)) *operator {
	t.Helper()
	o := &operator{t: t, key: must(nkeys.CreateOperator()), account: must(nkeys.CreateAccount())}
	id := must(o.account.PublicKey())
	o.claims = jwt.NewAccountClaims(id)
	if limit != nil {
		limit(o.claims)
	}
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(id, must(o.claims.Encode(o.key))); err != nil {
		t.Fatal(err)
	}
	o.server = startWith(t, &server.Options{TrustedKeys: []string{must(o.key.PublicKey())}, AccountResolver: resolver})
	return o
}

// issue makes the text of a credentials file, good until a time if that is not zero.
func (o *operator) issue(expires time.Time) (creds []byte, id, seed string) {
	user := must(nkeys.CreateUser())
	id, seed = must(user.PublicKey()), string(must(user.Seed()))
	claims := jwt.NewUserClaims(id)
	if !expires.IsZero() {
		claims.Expires = expires.Unix()
	}
	return must(jwt.FormatUserConfig(must(claims.Encode(o.account)), []byte(seed))), id, seed
}

// update has the server know what claims says of the account now.
func (o *operator) update() {
	account := must(o.server.LookupAccount(must(o.account.PublicKey())))
	o.server.UpdateAccountClaims(account, o.claims)
}

// Credentials that expire, or are revoked, end the feed with a line that says what to do. New ones in the same file
// are enough.
func TestCredentials(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lasts     time.Duration
		end       func(o *operator, id string)
		err, hint string
	}{
		"expired": {5 * time.Second, func(*operator, string) {}, "authentication expired", "put them into the file of the option creds"},
		"revoked": {time.Hour, func(o *operator, id string) { o.claims.Revoke(id); o.update() }, "authentication revoked", "the credentials were revoked: issue new ones"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := startOperator(t, nil)
			file := filepath.Join(t.TempDir(), "edge.creds")
			creds, id, seed := o.issue(time.Now().Add(c.lasts))
			writeFile(t, file, creds)
			f := startCore(t, Config{URL: "nats://" + o.server.Addr().String() + "?mode=core&creds=" + file})
			f.until("it is up, or was", func() bool { return f.table.Health().Up || f.feed.Stats().LastError != "" })
			if f.log.Count("feed up") == 0 {
				t.Skip("the credentials had expired before it was connected")
			}
			f.acquire("A")
			c.end(o, id)
			f.down(c.err, c.hint)
			again, _, another := o.issue(time.Time{})
			writeFile(t, file, again)
			f.until("it is up", func() bool { return f.table.Health().Up })
			nc := must(natsgo.Connect(o.server.ClientURL(), natsgo.UserCredentials(file)))
			defer nc.Close()
			f.hears(nc, "A", "1")
			for _, s := range []string{seed, another, strings.SplitN(string(creds), "\n", 3)[1]} {
				if f.log.Count(s) != 0 {
					t.Error("the log has the credentials")
				}
			}
		})
	}
}
