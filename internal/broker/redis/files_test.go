package redis

import (
	"slices"
	"testing"
)

// The descriptors that are kept free follow what is configured: sources, and sentinels.
func TestFiles(t *testing.T) {
	one := SourceConfig{URL: "redis://h"}
	watched := SourceConfig{URL: "redis-sentinel://a,b,c,d,e/m"}
	cluster := SourceConfig{URL: "redis-cluster://a,b,c"}
	for _, c := range []struct {
		sources []SourceConfig
		want    int
	}{
		{nil, 0},
		{[]SourceConfig{one}, 2 * 2},
		{[]SourceConfig{one, one, one}, 3 * 2 * 2},
		{[]SourceConfig{watched}, 2 * (2 + 5 + 1)},
		{slices.Repeat([]SourceConfig{watched}, 64), 64 * 2 * (2 + 5 + 1)},
		{[]SourceConfig{cluster}, 2 * (2*clusterNodes + askNodesMax)},
		{[]SourceConfig{watched, cluster, one}, 16 + 2*(2*clusterNodes+askNodesMax) + 4},
		{[]SourceConfig{{URL: "http://x"}, {}, one}, 4},
	} {
		if got := (Config{Sources: c.sources}).Files(); got != c.want {
			t.Errorf("%v: %d, want %d", c.sources, got, c.want)
		}
	}
}
