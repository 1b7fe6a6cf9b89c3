// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"slices"
	"testing"
)

// The descriptors that are kept free follow what is configured: sources, and sentinels.
func TestFiles(t *testing.T) {
	one := Config{URL: "redis://h"}
	watched := Config{URL: "redis-sentinel://a,b,c,d,e/m"}
	cluster := Config{URL: "redis-cluster://a,b,c"}
	for _, c := range []struct {
		sources []Config
		want    int
	}{
		{nil, 0},
		{[]Config{one}, 2 * 2},
		{[]Config{one, one, one}, 3 * 2 * 2},
		{[]Config{watched}, 2 * (2 + 5 + 1)},
		{slices.Repeat([]Config{watched}, 64), 64 * 2 * (2 + 5 + 1)},
		{[]Config{cluster}, 2 * (2*clusterNodes + askNodesMax)},
		{[]Config{watched, cluster, one}, 16 + 2*(2*clusterNodes+askNodesMax) + 4},
		{[]Config{{URL: "http://x"}, {}, one}, 4},
	} {
		got := 0
		for _, s := range c.sources {
			got += s.Files()
		}
		if got != c.want {
			t.Errorf("%v: %d, want %d", c.sources, got, c.want)
		}
	}
}
