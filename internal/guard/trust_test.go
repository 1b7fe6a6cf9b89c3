// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"net/netip"
	"strings"
	"testing"
)

func trust(t testing.TB, list string) Trusted {
	t.Helper()
	tr, err := ParseTrusted(list)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestParseTrusted(t *testing.T) {
	for _, tt := range []struct {
		list string
		has  string
		not  string
	}{
		{"", "", "0.0.0.0 127.0.0.1 ::1"},
		{" , ", "", "127.0.0.1"},
		{"10.0.0.0/8,::1", "10.0.0.0 10.255.255.255 ::ffff:10.1.2.3 ::1", "9.255.255.255 11.0.0.0 ::2 127.0.0.1 ::"},
		{" 192.0.2.1 , 2001:db8::/32 ", "192.0.2.1 ::ffff:192.0.2.1 2001:db8:ffff::1", "192.0.2.0 192.0.2.2 2001:db9::1"},
		{"192.0.2.128/25", "192.0.2.128 192.0.2.255", "192.0.2.127 198.51.100.200"},
	} {
		tr := trust(t, tt.list)
		for _, addr := range strings.Fields(tt.has) {
			if !tr.Has(netip.MustParseAddr(addr)) {
				t.Errorf("%q does not have %s", tt.list, addr)
			}
		}
		for _, addr := range strings.Fields(tt.not) {
			if tr.Has(netip.MustParseAddr(addr)) {
				t.Errorf("%q has %s", tt.list, addr)
			}
		}
		if tr.Has(netip.Addr{}) {
			t.Errorf("%q has no address at all", tt.list)
		}
	}
}

func TestParseTrustedRefuses(t *testing.T) {
	for _, tt := range []struct{ list, want string }{
		{"10.1.2.3/8", "want 10.0.0.0/8"},
		{"2001:db8::1/64", "want 2001:db8::/64"},
		{"0.0.0.0/0", "is everybody"},
		{"::/0", "is everybody"},
		{"::ffff:10.0.0.0/104", "write it as IPv4"},
		{"::ffff:10.0.0.1", "write it as IPv4"},
		{"fe80::1%eth0", "is no network"},
		{"10.0.0.0/33", "is no network"},
		{"10.0.0/8", "is no network"},
		{"localhost", "is no network"},
		{"10.0.0.0/8 ::1", "is no network"},
		{"::1, a, 10.0.0.0/8, b", "\"b\" is no network"},
		{"::1, a, 10.0.0.0/8, b", "\"a\" is no network"},
	} {
		tr, err := ParseTrusted(tt.list)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.list, err, tt.want)
		}
		if tr.Has(netip.MustParseAddr("::1")) {
			t.Errorf("%q: a list that is wrong is trusted in part", tt.list)
		}
	}
}

func TestClientAddr(t *testing.T) {
	const proxies = "10.0.0.0/8,2001:db8:ffff::/48"
	for _, tt := range []struct {
		name      string
		peer      string
		forwarded []string
		want      string
	}{
		{"no header", "10.0.0.1", nil, "10.0.0.1"},
		{"no header, not trusted", "192.0.2.1", nil, "192.0.2.1"},
		{"not trusted", "192.0.2.1", []string{"198.51.100.1"}, "192.0.2.1"},
		{"not trusted, claims to come from a proxy", "192.0.2.1", []string{"198.51.100.1, 10.0.0.1"}, "192.0.2.1"},
		{"mapped, not trusted", "::ffff:192.0.2.1", []string{"198.51.100.1"}, "192.0.2.1"},
		{"one", "10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"mapped peer", "::ffff:10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"mapped client", "10.0.0.1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"the right-most that is no proxy", "10.0.0.1", []string{"203.0.113.9, 198.51.100.1, 10.9.9.9"}, "198.51.100.1"},
		{"what the client wrote itself", "10.0.0.1", []string{"127.0.0.1, 10.1.1.1, 198.51.100.1"}, "198.51.100.1"},
		{"two fields", "10.0.0.1", []string{"203.0.113.9", "198.51.100.1"}, "198.51.100.1"},
		{"two fields, the last all proxies", "10.0.0.1", []string{"203.0.113.9, 198.51.100.1", "10.0.0.2,10.0.0.3"}, "198.51.100.1"},
		{"all are proxies", "10.0.0.1", []string{"10.0.0.4, 10.0.0.3"}, "10.0.0.4"},
		{"IPv6", "2001:db8:ffff::1", []string{"2001:db8::7, 2001:db8:ffff::2"}, "2001:db8::7"},
		{"brackets", "10.0.0.1", []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"brackets and port", "10.0.0.1", []string{"[2001:db8::7]:4711"}, "2001:db8::7"},
		{"port", "10.0.0.1", []string{"198.51.100.1:4711, 10.0.0.2:80"}, "198.51.100.1"},
		{"no blanks", "10.0.0.1", []string{"203.0.113.9,198.51.100.1,10.0.0.2"}, "198.51.100.1"},
		{"blanks and tabs", "10.0.0.1", []string{" \t198.51.100.1 \t"}, "198.51.100.1"},
		{"empty elements", "10.0.0.1", []string{",198.51.100.1,, ,"}, "198.51.100.1"},
		{"empty", "10.0.0.1", []string{"", ","}, "10.0.0.1"},
		{"garbage before the client is not reached", "10.0.0.1", []string{"<script>, 198.51.100.1"}, "198.51.100.1"},
	} {
		got := trust(t, proxies).ClientAddr(netip.MustParseAddr(tt.peer), tt.forwarded)
		if got != netip.MustParseAddr(tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, got, tt.want)
		}
	}
	// Nothing behind what is no address is believed.
	for _, bad := range []string{
		"unknown", "_hidden", "localhost", "198.51.100", "198.51.100.256", "198.51.100.01", "198.51.100.1.", "0x7f000001", "1",
		"[198.51.100.1]", "[198.51.100.1]:80", "[2001:db8::7", "2001:db8::7]", "[]", "[", "]", ":", "[2001:db8::7]x", "[2001:db8::7]:",
		"[[2001:db8::7]]", "2001:db8::7%eth0", "[fe80::1%eth0]", "[fe80::1%1]:80", "198.51.100.1:", "198.51.100.1:65536", "198.51.100.1:http", "198.51.100.1:-1",
		"198.51.100.1 198.51.100.2", "\"198.51.100.1\"", "for=198.51.100.1", "198.51.100.0/24", "::ffff:198.51.100.1%1", strings.Repeat("1", 8000),
	} {
		got := trust(t, proxies).ClientAddr(netip.MustParseAddr("10.0.0.1"), []string{"203.0.113.9, " + bad + ", 10.0.0.2"})
		if got != netip.MustParseAddr("10.0.0.2") {
			t.Errorf("%.40q: %v, want the last proxy", bad, got)
		}
	}
}

func TestClientAddrLooksAtFewElements(t *testing.T) {
	tr := trust(t, "10.0.0.0/8")
	peer := netip.MustParseAddr("10.0.0.1")
	for _, proxy := range []string{"10.0.0.2", ""} {
		for _, split := range []string{",", "\n"} {
			near := strings.Split("198.51.100.1"+strings.Repeat(split+proxy, hopsMax-1), "\n")
			if got := tr.ClientAddr(peer, near); got.String() != "198.51.100.1" {
				t.Errorf("behind %d of %q: %v", hopsMax-1, proxy, got)
			}
			far := strings.Split("198.51.100.1"+strings.Repeat(split+proxy, hopsMax), "\n")
			if got := tr.ClientAddr(peer, far); !tr.Has(got) {
				t.Errorf("behind %d of %q: %v, want a proxy", hopsMax, proxy, got)
			}
		}
	}
}

// FuzzClientAddr: what the client wrote itself does not matter, nor how the list is
// split into fields.
func FuzzClientAddr(f *testing.F) {
	for _, seed := range []string{"", "10.0.0.9", "203.0.113.9, 10.0.0.9", ",,", "unknown", "[::1]:80", "10.0.0.1:", "10.0.0.2\x00"} {
		f.Add(seed)
	}
	tr := trust(f, "10.0.0.0/8,2001:db8:ffff::/48")
	peer, client := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("198.51.100.1")
	f.Fuzz(func(t *testing.T, own string) {
		for _, forwarded := range [][]string{
			{own + ", 198.51.100.1"}, {own, "198.51.100.1"}, {own + ",198.51.100.1:1, [2001:db8:ffff::1]"}, {own, own, "198.51.100.1,10.3.2.1", "10.1.2.3"},
		} {
			if got := tr.ClientAddr(peer, forwarded); got != client {
				t.Fatalf("%q: %v", forwarded, got)
			}
		}
		if got := tr.ClientAddr(client, []string{own}); got != client {
			t.Fatalf("%q: a peer that is not trusted became %v", own, got)
		}
		one, two := tr.ClientAddr(peer, []string{own}), tr.ClientAddr(peer, strings.Split(own, ","))
		if one != two || one.Is4In6() || one.Zone() != "" || !one.IsValid() {
			t.Fatalf("%q: %v, %v if it is split", own, one, two)
		}
	})
}

func TestClientAddrAllocations(t *testing.T) {
	tr := trust(t, "10.0.0.0/8,2001:db8:ffff::/48")
	peer := netip.MustParseAddr("10.0.0.1")
	forwarded := []string{"203.0.113.9, 198.51.100.1", "10.0.0.2, [2001:db8:ffff::1]"}
	if n := testing.AllocsPerRun(100, func() { tr.ClientAddr(peer, forwarded) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
