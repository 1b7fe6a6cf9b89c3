// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"net/netip"
	"testing"
)

func src(addr string) Prefix { return PrefixOf(netip.MustParseAddr(addr)) }

func TestPrefixOf(t *testing.T) {
	same := [][]string{
		{"192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201"},
		{"192.0.2.2"},
		{"0.0.0.0"},
		{"0.0.0.1"},
		{"255.255.255.255"},
		{"2001:db8::", "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8::1%eth0"},
		{"2001:db8:0:1::1"},
		{"2001:db9::1"},
		{"fe80::1", "fe80::2%eth0"},
		{"::", "::1", "::192.0.2.1", "::1:0:0:1"},
		{"::1:0:0:0:1"},
		{"0:0:c000:201::1"}, // The number of 192.0.2.1 as a network.
		{"64:ff9b::1"},
	}
	owner := map[Prefix]int{PrefixOf(netip.Addr{}): -1}
	if PrefixOf(netip.Addr{}) != 0 {
		t.Error("no address is somebody")
	}
	for i, class := range same {
		for _, addr := range class {
			if src(addr) != src(class[0]) {
				t.Errorf("%s and %s are two sources", addr, class[0])
			}
		}
		if other, taken := owner[src(class[0])]; taken {
			t.Errorf("%s has the source of class %d", class[0], other)
		}
		owner[src(class[0])] = i
	}
}
