// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"testing"
	"time"
)

func TestBackoffBounds(t *testing.T) {
	var b Backoff
	bound := BackoffMin
	for range 20 {
		longest := time.Duration(0)
		for range 50 {
			try := b
			d := try.Next()
			if d <= 0 || d > bound {
				t.Fatalf("wait of %v, want above 0 and at most %v", d, bound)
			}
			longest = max(longest, d)
		}
		if longest < bound/2 { // Once in 2^50 by chance.
			t.Fatalf("longest of 50 waits is %v, want them up to %v", longest, bound)
		}
		b.Next()
		bound = min(2*bound, BackoffMax)
	}
	b.Reset()
	if d := b.Next(); d > BackoffMin {
		t.Errorf("wait after reset = %v", d)
	}
}
