// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tickedge/internal/app"
)

// A recording that was read to its end is read again in silence, in whatever order its ids are.
func TestFileAgain(t *testing.T) {
	dir := t.TempDir()
	file, history := filepath.Join(dir, "trades.ndjson"), filepath.Join(dir, "h")
	const n = 100
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf(`{"symbol":"FILE:A","price":"10","size":"1","time":%d,"id":%d}`, 1_600_000_000_000+1000*i, i+1))
	}
	lines = append(append(lines[:50:50], lines[51:]...), lines[50])
	for _, some := range [][]string{lines, lines} {
		if err := os.WriteFile(file, []byte(strings.Join(some, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := run("-in=file", "-file="+file, "-symbols=FILE:A", "-intervals=1s", "-history="+history, "-retention=", "-admin=", "-listen=")
		if code != app.OK || strings.Contains(stderr, "a trade is in no bar") {
			t.Fatalf("%d %s", code, stderr)
		}
		code, stdout, stderr := run("backup", filepath.Join(dir, "b"), "-history="+history)
		if want := fmt.Sprintf("%d bars\n", len(some)); code != app.OK || stdout != want {
			t.Errorf("%d %s%s, want %s", code, stdout, stderr, want)
		}
	}
}
