// SPDX-License-Identifier: Apache-2.0

package flags

import "strings"

// nearest returns which of the names was meant, or "" if none is like it: one that differs in
// few letters, or else one that begins with it.
func nearest(name string, names []string) (near string) {
	const longest = 64
	if len(name) > longest {
		return ""
	}
	best := 1 + len(name)/4 // More than that is another word.
	for _, n := range names {
		if d := distance(strings.ToLower(name), strings.ToLower(n)); d < best || d == best && near == "" {
			best, near = d, n
		}
	}
	if near != "" || len(name) < 3 {
		return near
	}
	for _, n := range names {
		if strings.HasPrefix(n, name) && (near == "" || len(n) < len(near)) {
			near = n
		}
	}
	return near
}

// distance is how many letters have to be put in, taken out, changed, or exchanged with their
// neighbour to come from a to b.
func distance(a, b string) int {
	if abs(len(a)-len(b)) > 1+len(a)/4 {
		return len(a) + len(b)
	}
	// Rows of the table of distances between beginnings of a and b.
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

func abs(n int) int { return max(n, -n) }
