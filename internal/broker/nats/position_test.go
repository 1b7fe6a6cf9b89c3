// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"fmt"
	"testing"
)

func TestDelivered(t *testing.T) {
	want := delivered{stream: 42, consumer: 7, pending: 3}
	for _, reply := range []string{
		"$JS.ACK.TICKS.C.1.42.7.1732181723411000000.3",
		"$JS.ACK.hub.ACCHASH.TICKS.C.1.42.7.1732181723411000000.3",
		"$JS.ACK._.ACCHASH.TICKS.C.1.42.7.1732181723411000000.3.token",
	} {
		if got, ok := parseDelivered(reply); !ok || got != want {
			t.Errorf("%s: %+v, %v", reply, got, ok)
		}
	}
	for _, reply := range []string{"", "_INBOX.x", "$JS.ACK.", "$JS.ACK.TICKS.C.1.42.7.17", "$JS.ACK.TICKS.C.1.x.7.17.3", "$JS.ACK.TICKS.C.1.0.7.17.3", "$JS.ACK.TICKS.C.1.42.7.17."} {
		if got, ok := parseDelivered(reply); ok {
			t.Errorf("%s: %+v", reply, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { parseDelivered("$JS.ACK.TICKS.C.1.42.7.1732181723411000000.3") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// What was heard is remembered while fewer other subjects were, and what is remembered has a bound.
func TestFloors(t *testing.T) {
	f := newFloors()
	f.heard("A", 1)
	f.heard("A", 5)
	for i := range 3 * floorsMax {
		if i < floorsMax && i%1000 == 0 && f.of("A") != 5 {
			t.Fatalf("A is forgotten after %d others", i)
		}
		f.heard(fmt.Sprint("B", i), uint64(i))
	}
	if got := f.of("A"); got != 0 {
		t.Errorf("A is %d still", got)
	}
	if n := len(f.newer) + len(f.former); n > 2*floorsMax {
		t.Errorf("%d are remembered", n)
	}
}
