// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"tickedge/internal/fanout"
	"tickedge/internal/guard"
	"tickedge/internal/topics"
)

// hasIPv6 skips a test where the host has no IPv6 to test with.
func hasIPv6(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this host has no IPv6: %v", err)
	}
	ln.Close()
}

func at(host string, addr net.Addr) net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(host), Port: tcpAddr(addr).Port}
}

// Each form of -listen is what the log says of it: who can connect, and where.
func TestListen(t *testing.T) {
	hasIPv6(t)
	const v4, v6 = "127.0.0.1", "::1"
	for _, c := range []struct {
		listen, bound, families string
		reached, not            []string
	}{
		{":0", "[::]", bothIPs, []string{v4, v6}, nil},
		{"[::]:0", "[::]", bothIPs, []string{v4, v6}, nil},
		{"[0:0::0]:0", "[::]", bothIPs, []string{v4, v6}, nil},
		{"0.0.0.0:0", "0.0.0.0", onlyIPv4, []string{v4}, []string{v6}},
		{"127.0.0.1:0", "127.0.0.1", onlyIPv4, []string{v4}, []string{v6}},
		{"[::ffff:127.0.0.1]:0", "127.0.0.1", onlyIPv4, []string{v4}, []string{v6}},
		{"[::1]:0", "[::1]", onlyIPv6, []string{v6}, []string{v4}},
		{"localhost:0", "127.0.0.1", onlyIPv4, []string{v4}, []string{v6}},
	} {
		t.Run(c.listen, func(t *testing.T) {
			e := serve(t, func(cfg *Config) { cfg.Listen = c.listen })
			if got, want := e.Addr().String(), c.bound+":"+strconv.Itoa(tcpAddr(e.Addr()).Port); got != want {
				t.Errorf("it listens on %s, want %s", got, want)
			}
			if e.Families() != c.families {
				t.Errorf("its clients are %s, want %s", e.Families(), c.families)
			}
			for _, host := range c.reached {
				// All loops share the port: of 20 connections some fall to either.
				for range 20 {
					dialRaw(t, at(host, e.Addr())).upgrade("")
				}
			}
			for _, l := range e.loops {
				if l.events.Load() == nil {
					t.Errorf("loop %d had no connection", l.index)
				}
			}
			for _, host := range c.not {
				if other, err := connect(at(host, e.Addr()), patience); err == nil {
					other.close()
					t.Errorf("%s is reached", host)
				}
			}
		})
	}
}

// What can't be listened on is refused, with what would be right.
func TestListenRefuses(t *testing.T) {
	for listen, want := range map[string]string{
		"name.invalid:0": "want an address of this host, or a name of it",
		"192.0.2.1:0":    "cannot assign requested address",
		"127.0.0.1":      "missing port",
	} {
		cfg := quick()
		cfg.Log, cfg.Listen = (&testLog{}).logger(), listen
		s, err := Start(cfg, topics.New(topics.Config{Max: 1, Linger: time.Second}))
		if err == nil {
			s.Shutdown(context.Background(), 0)
			t.Errorf("%s is taken", listen)
		} else if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "listen on "+listen) {
			t.Errorf("%s: %v, want %q", listen, err, want)
		}
	}
}

// An IPv4 client of a listener for both families is one: for the guard, for those who look
// at connections, and for the list of trusted proxies.
func TestMappedAddresses(t *testing.T) {
	hasIPv6(t)
	trusted, err := guard.ParseTrusted("127.0.0.9")
	if err != nil {
		t.Fatal(err)
	}
	e := serve(t, func(c *Config) {
		c.Listen, c.Guard.ConnsPerPrefix, c.Trusted = ":0", 1, trusted
	})
	addr := at("127.0.0.1", e.Addr())
	first := dialFrom(t, "127.0.0.1", addr).upgrade("")
	dialFrom(t, "127.0.0.2", addr).upgrade("") // Not the same /64.
	third := dialFrom(t, "127.0.0.1", addr)
	third.send([]byte(upgradeRequest("")))
	if res, _ := third.answer("GET"); res.StatusCode != 429 {
		t.Errorf("the second of one address is answered with %s", res.Status)
	}
	proxied := dialFrom(t, "127.0.0.9", addr)
	proxied.send([]byte(strings.Replace(upgradeRequest(""), "\r\n\r\n", "\r\nX-Forwarded-For: ::ffff:127.0.0.1\r\n\r\n", 1)))
	if res, _ := proxied.answer("GET"); res.StatusCode != 429 {
		t.Errorf("the third of one address, by a proxy, is answered with %s", res.Status)
	}
	infos, err := e.Inspect(t.Context(), 10, func(a, b *fanout.ConnInfo) int { return int(a.ID) - int(b.ID) })
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, info := range infos {
		remote, err := netip.ParseAddrPort(info.Remote)
		if err != nil || !remote.Addr().Is4() {
			t.Errorf("remote is %q, want an IPv4 address", info.Remote)
		}
		found = found || info.Remote == first.LocalAddr().String()
	}
	if !found {
		t.Errorf("%s is not among %+v", first.LocalAddr(), infos)
	}
}

// Who shares a port with others is told, and who does not is not.
func TestSharedPortIsTold(t *testing.T) {
	hasIPv6(t)
	for _, listen := range []string{":0", "0.0.0.0:0", "127.0.0.1:0", "[::1]:0"} {
		t.Run(listen, func(t *testing.T) {
			host, _, _ := net.SplitHostPort(listen)
			said := &testLog{}
			with := func(listen string) func(*Config) {
				return func(c *Config) { c.Listen, c.Log = listen, slog.New(slog.NewTextHandler(said, nil)) }
			}
			const told = "another process listens on this port too"
			first := serve(t, with(listen))
			if strings.Contains(said.String(), told) {
				t.Error("alone on its port, it says that there is another")
			}
			second := start(t, with(net.JoinHostPort(host, strconv.Itoa(tcpAddr(first.Addr()).Port))))
			second.end(0)
			if !strings.Contains(said.String(), told) {
				t.Error("the second on a port does not say so")
			}
		})
	}
}
