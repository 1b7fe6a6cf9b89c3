// SPDX-License-Identifier: Apache-2.0

package topics

import "cmp"

// Version orders the ticks of one topic, as their publisher numbers them: a decimal
// number, Whole and Nano billionths above it. The zero Version is none.
type Version struct {
	Whole int64
	Nano  uint32
	Set   bool
}

// Compare is below 0 if v is older than w, 0 if they are the same, and above 0 if v is
// newer. None is older than any other.
func (v Version) Compare(w Version) int {
	switch {
	case v.Set != w.Set && v.Set:
		return 1
	case v.Set != w.Set:
		return -1
	case !v.Set:
		return 0
	}
	return cmp.Or(cmp.Compare(v.Whole, w.Whole), cmp.Compare(v.Nano, w.Nano))
}
