// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// inspect finds the version of a value, or what is wrong with it. Where field names none it is the member
// [broker.VersionMember], if there is one that is a whole number above 0; a value without it has no version. A field that
// is named has to be there.
func inspect(value, field string) (topics.Version, broker.Flaw) {
	if field != "" {
		return broker.InspectVersion(value, field)
	}
	v, f := broker.InspectVersion(value, broker.VersionMember)
	if f == broker.NoVersion || f == broker.Flawless && (v.Whole <= 0 || v.Nano != 0) {
		return topics.Version{}, broker.Flawless
	}
	return v, f
}
