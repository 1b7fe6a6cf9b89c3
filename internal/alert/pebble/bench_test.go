// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"fmt"
	"testing"

	"tickedge/internal/alert"
)

// BenchmarkCreate creates an alert in each iteration, one after another: each waits for the disk.
func BenchmarkCreate(b *testing.B) {
	s, i := opened(b, b.TempDir()), 0
	for b.Loop() {
		created(b, s, fmt.Sprint("user", i%1000), fmt.Sprint("key", i), spec(fmt.Sprint("SYM", i%100)))
		i++
	}
}

// BenchmarkFire fires 500 alerts of as many users in each iteration, and arms them anew.
func BenchmarkFire(b *testing.B) {
	s := opened(b, b.TempDir())
	var of []alert.Alert
	for i := range 500 {
		of = append(of, created(b, s, fmt.Sprint("user", i), "", spec(fmt.Sprint("SYM", i%100))))
	}
	for b.Loop() {
		fired(b, s, of...)
		for i := range of {
			of[i].Arm++
		}
	}
}
