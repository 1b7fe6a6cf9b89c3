// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"slices"
	"testing"

	"tickedge/internal/broker"
)

// Users and passwords that were renewed are those of the next connection, of servers and of sentinels, and are veiled.
func TestRenewedLogin(t *testing.T) {
	t.Parallel()
	const url = "redis-sentinel://u:p@a:1,b:2/m/3?sentinel_user=s&sentinel_password=t"
	renewed := new(broker.Renewed)
	u, err := Config{URL: url, Renewed: renewed}.upstream()
	if err != nil {
		t.Fatal(err)
	}
	logins := func() (all []string) {
		server, err := u.at("a:1", u.opts)
		if err != nil {
			t.Fatal(err)
		}
		guard, err := u.at("a:1", u.sentinelOpts)
		if err != nil {
			t.Fatal(err)
		}
		user, password := u.credentials()
		return []string{server.Username, server.Password, guard.Username, guard.Password, user, password}
	}
	for _, c := range []struct {
		set  string
		want []string
	}{
		{"", []string{"u", "p", "s", "t", "u", "p"}},
		{"redis-sentinel://v:q@a:1,b:2/m/3?sentinel_user=x&sentinel_password=y", []string{"v", "q", "x", "y", "v", "q"}},
		{"redis-sentinel://v:q@a:1,c:2/m/3?sentinel_user=x&sentinel_password=y", []string{"u", "p", "s", "t", "u", "p"}},
		{url, []string{"u", "p", "s", "t", "u", "p"}},
		{"redis-sentinel://v:q@a:1,b:2/m/3", []string{"v", "q", "", "", "v", "q"}},
	} {
		if c.set != "" {
			renewed.Set(c.set)
		}
		if got := logins(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.set, got, c.want)
		}
	}
	if got := u.secrets(); !slices.Contains(got, "p") || !slices.Contains(got, "q") {
		t.Errorf("the veil hides %q", []string(got))
	}
}

func TestSameServers(t *testing.T) {
	t.Parallel()
	const a = "redis://u:p@a:6379/2"
	for b, want := range map[string]bool{
		a: true, "redis://u:q@a:6379/2": true, "redis://:q@a:6379/2": true, "redis://a:6379/2": true, "redis://u:p@a:6379/3": false,
		"rediss://u:p@a:6379/2": false, "redis://u:p@b:6379/2": false, "redis://u:p@a:6380/2": false, "redis://u:p@a:6379/2?max_retries=3": false,
		"redis://u:p@a@a:6379/2": false, "": false,
	} {
		if SameServers(a, b) != want {
			t.Errorf("%s: want %v", b, want)
		}
	}
}
