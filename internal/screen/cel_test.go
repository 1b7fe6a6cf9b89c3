// SPDX-License-Identifier: Apache-2.0

package screen

import (
	_ "embed"
	"strings"
	"testing"
)

// What cel-go says of conditions and values ("make screen-oracle").
//
//go:embed testdata/cel.txt
var fromCEL string

func TestVerdictsOfCEL(t *testing.T) {
	inside, all := 0, 0
	for line := range strings.Lines(fromCEL) {
		src, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		value, want, _ := strings.Cut(rest, "\t")
		got := verdict(mustParse(t, src).root, value)
		if got != (want == "true") {
			t.Errorf("%s is %v of %s, and with cel-go %s", src, got, value, want)
		}
		if all++; got {
			inside++
		}
	}
	if all < 2000 || inside < all/5 || inside > all*4/5 {
		t.Errorf("%d lines, of which %d are inside", all, inside)
	}
}
