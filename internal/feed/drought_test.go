// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"fmt"
	"testing"
)

// Topics that went leave nothing behind, however many there were.
func TestDroughtsAreForgotten(t *testing.T) {
	var d droughts
	at := int64(0)
	for i := range 1000 {
		d.over(fmt.Sprint("T", i), 1, at, one, one)
	}
	for range 3 {
		at += droughtKept.Milliseconds()
		d.over("LIVES", 1, at, one, one)
	}
	if n := len(d.newer) + len(d.older); n > 2 {
		t.Errorf("%d are kept", n)
	}
	// One that is looked at is not lost on the way.
	begin := at
	for !d.over("SLOW", 1, at, one, one) {
		if at-begin > 2*droughtKept.Milliseconds() {
			t.Fatal("a slow topic does not get out")
		}
		at += droughtKept.Milliseconds() - 1
	}
}
