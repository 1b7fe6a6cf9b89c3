// SPDX-License-Identifier: Apache-2.0

package swarm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// TopicsMax bounds the topics of one conn. It is what a server takes by default, and
// what the marks of one frame (see rows) have room for.
const TopicsMax = 256

// Names returns the names of a universe of topics: pattern with the numbers from 0.
func Names(pattern string, universe int) ([]string, error) {
	names := make([]string, universe)
	for i := range names {
		names[i] = fmt.Sprintf(pattern, i)
	}
	for _, name := range []string{names[0], names[universe-1]} {
		if strings.Contains(name, "%!") || len(name) == 0 || len(name) > 64 {
			return nil, fmt.Errorf("pattern %q gives the name %q", pattern, name)
		}
		for _, c := range []byte(name) {
			if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/-", rune(c)) {
				return nil, fmt.Errorf("pattern %q gives the name %q, which has %q in it", pattern, name, c)
			}
		}
	}
	if universe > 1 && names[0] == names[1] {
		return nil, fmt.Errorf("pattern %q has no place for the number", pattern)
	}
	return names, nil
}

// pick fills ids with different numbers below universe, all sets being equally likely
// (Floyd's algorithm).
func pick(ids []uint32, universe int, rng *rand.Rand) {
	for k := range ids {
		j := universe - len(ids) + k
		id := uint32(rng.IntN(j + 1))
		if slices.Contains(ids[:k], id) {
			id = uint32(j)
		}
		ids[k] = id
	}
}

// follow fills ids with the numbers below universe that are the turn of a conn, if all
// conns take theirs one after the other, round and round.
func follow(ids []uint32, universe, conn int) {
	for k := range ids {
		ids[k] = uint32((conn*len(ids) + k) % universe)
	}
}
