// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"testing"

	"tickedge/internal/doctor"
)

func TestBacklogShare(t *testing.T) {
	for memory, want := range map[doctor.Amount]int{
		24 << 30: 3 << 10, 512 << 20: 64, 600 << 20: 75, 1 << 20: 64, 0: 64, doctor.Unknown: 64, doctor.Unlimited: backlogTotalMax,
	} {
		if got := backlogShare(memory); got != want {
			t.Errorf("of %d bytes it is %d MiB, want %d", memory, got, want)
		}
	}
}
