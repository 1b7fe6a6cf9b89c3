// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import "testing"

func TestWrkRate(t *testing.T) {
	const good = "Running 2s test @ http://127.0.0.1:80/\n  1 threads and 64 connections\n  20 requests in 2.00s, 5KB read\nRequests/sec:   1234.50\nTransfer/sec:      2.5KB\n"
	if rate, err := wrkRate([]byte(good)); rate != 1234.5 || err != nil {
		t.Errorf("%v, %v", rate, err)
	}
	for _, bad := range []string{
		"", "Requests/sec: 0.00\n", "Requests/sec: many\n", "  Non-2xx or 3xx responses: 3\n" + good,
		"  Socket errors: connect 0, read 1, write 0, timeout 0\n" + good,
	} {
		if rate, err := wrkRate([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, rate)
		}
	}
}
