// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

// Parts of the edge that conditions are about.
const (
	extractPart = "members of values"
	evalPart    = "conditions"
	putPart     = "what is inside"
	watchPart   = "the rest of screens"
)

// Other parts.
const (
	clientsPart = "clients" // Visits, frames, sockets: what conditions have nothing to do with.
	readingPart = "reading"
)

// screensLayers are the parts of an edge with screens; see [edgeLayers].
var screensLayers = []layer{
	edgeLayers[0], // The collector, whoever made its work.
	{extractPart, []string{"tickedge/internal/screen.(*Paths).Extract"}},
	{evalPart, []string{"tickedge/internal/screen.(*Program).Eval"}},
	{putPart, []string{"tickedge/internal/screen.(*View).put"}},
	{clientsPart, []string{"tickedge/internal/loop.", "tickedge/internal/fanout.", "github.com/panjf2000/gnet"}},
	{watchPart, []string{"tickedge/internal/screen."}},
	{readingPart, []string{"internal/poll.(*FD).Read", "tickedge/internal/resp.", "github.com/redis/go-redis"}},
	{"is it JSON, is it UTF-8", []string{"tickedge/internal/broker.Inspect"}},
	{"the topic table", []string{"tickedge/internal/topics."}},
	{"the rest of the feed", []string{"tickedge/internal/feed.", "tickedge/internal/broker"}},
	{"the rest", []string{""}},
}

// conditionParts are those that there is nothing of without screens.
var conditionParts = []string{extractPart, evalPart, putPart, watchPart}

// of is how much CPU a tick took in a part, in ns.
func (r *screensRound) of(parts ...string) (ns float64) {
	for _, s := range r.Profile {
		for _, part := range parts {
			if s.Of == part {
				ns += s.Percent / 100 * r.CPUPerTick * 1000
			}
		}
	}
	return ns
}

// feedNS is what a tick cost but for clients, in ns: all that does not depend on how many there are.
func (r *screensRound) feedNS() float64 {
	if len(r.Profile) == 0 {
		return 0
	}
	return 1000*r.CPUPerTick - r.of(clientsPart)
}
