// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
)

// A password that was renewed is used by the next connection, and stands in no log.
func TestRenewedPassword(t *testing.T) {
	t.Parallel()
	s := startWith(t, &server.Options{Username: "edge", Password: secret})
	nc := must(natsgo.Connect(s.ClientURL(), natsgo.UserInfo("edge", secret)))
	defer nc.Close()
	renewed := new(broker.Renewed)
	f := startCore(t, Config{URL: "nats://edge:wrong-" + secret + "@" + s.Addr().String(), Renewed: renewed})
	f.down("uthorization", "correct user and password")
	renewed.Set("nats://edge:" + secret + "@another.example.com") // That is none of the same servers.
	if user := must(Config{URL: "nats://a:b@host", Renewed: renewed}.upstream()).userNow(); user.Username() != "a" {
		t.Errorf("the user is %v, of other servers", user)
	}
	renewed.Set("nats://edge:" + secret + "@" + s.Addr().String())
	f.until("the source is up", func() bool { return f.table.Health().Up })
	f.acquire("A")
	f.hears(nc, "A", "1")
	if f.log.Count(secret) != 0 {
		t.Error("the log has the password")
	}
}

func TestSameServers(t *testing.T) {
	t.Parallel()
	const a = "nats://u:p@a:4222,b:4222?subject=md.{topic}"
	for b, want := range map[string]bool{
		a: true, "nats://u:q@a:4222,b:4222?subject=md.{topic}": true, "NATS://token@a:4222,b:4222?subject=md.{topic}": true,
		"nats://a:4222,b:4222?subject=md.{topic}": true, "nats://u:p@b:4222,a:4222?subject=md.{topic}": false,
		"tls://u:p@a:4222,b:4222?subject=md.{topic}": false, "nats://u:p@a:4222,b:4222?subject={topic}": false, "nats://u:p@a:4222": false,
	} {
		if SameServers(a, b) != want {
			t.Errorf("%s: want %v", b, want)
		}
	}
}
