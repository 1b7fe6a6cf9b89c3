// SPDX-License-Identifier: Apache-2.0

package edge

import "testing"

// The room is 20 % where that lasts for a quarter of a second, more where garbage comes
// faster, and never more than eight times what is alive.
func TestGCPercent(t *testing.T) {
	const mb = 1e6
	for _, c := range []struct {
		what       string
		rate, live float64
		want       int
	}{
		{"nothing collected yet", 10 * mb, 0, 20},
		{"idle", 0, 8 * mb, 20},
		{"15,000 conns, 20,000 ticks/s", 9 * mb, 10 * mb, 22},
		{"10,000 conns, 100,000 ticks/s", 45 * mb, 8 * mb, 140},
		{"a million conns, 100,000 ticks/s", 45 * mb, 580 * mb, 20},
		{"no conns, 200,000 ticks/s", 90 * mb, 2 * mb, 800},
	} {
		if got := gcPercent(c.rate, c.live); got != c.want {
			t.Errorf("%s: %d %%, want %d %%", c.what, got, c.want)
		}
	}
}
