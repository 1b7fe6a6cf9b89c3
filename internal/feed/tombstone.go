// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// A tombstone has one shape inside the edge, null, whichever of its two it came in: clients are shown
// no other. null has no version, and needs none: the topic keeps the one that it has.

// tombstone says whether a value, which may be flawed, is a tombstone, and which version it has. Where
// values have theirs in another member than ver, it has none that could be compared.
func tombstone(value, field string) (v topics.Version, is bool) {
	if len(value) > tombstoneMax || !broker.IsTombstone(value) || broker.Inspect(value) != broker.Flawless {
		return v, false
	}
	if field == "" || field == broker.VersionMember {
		v, _ = inspect(value, "")
	}
	return v, true
}

// tombstoneMax bounds one, so that long values are not looked at twice: the longest version has 19 digits.
const tombstoneMax = 64

// rowValue is what the table is given for a value that was inspected.
func rowValue(value string) string {
	if len(value) <= tombstoneMax && broker.IsTombstone(value) {
		return topics.Delisted
	}
	return value
}

// committed counts a tick, or a fetched value, that became a row.
func (s *source) committed(as broker.Count, value string) {
	s.counters[as].Add(1)
	if value == topics.Delisted {
		s.counters[broker.Tombstones].Add(1)
	}
}
