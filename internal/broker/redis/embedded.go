// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"

	"github.com/alicebob/miniredis/v2"
)

// Embedded is a Redis inside the process, for a demonstration that needs nothing
// installed. It is a stand-in for tests by origin and knows no limits of its own:
//
//   - It hands every message to its subscribers before it answers the PUBLISH, so one
//     subscriber that does not read holds up everybody.
//   - A PUBLISH looks through all channels of every subscriber. That is nothing for
//     the tens of symbols of a demonstration, and too much for thousands.
//   - Every command is answered with a write of its own, so pipelines gain little:
//     it takes about a fifth of the ticks that a real Redis does.
//
// It keeps nothing beyond the process and asks for no password, which is why it
// listens on 127.0.0.1 only.
type Embedded struct{ server *miniredis.Miniredis }

// StartEmbedded starts one on a port of the kernel's choice.
func StartEmbedded() (*Embedded, error) {
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("embedded redis: %w", err)
	}
	return &Embedded{server: m}, nil
}

// URL is where the server listens, for a [Config].
func (e *Embedded) URL() string { return "redis://" + e.server.Addr() }

// Close ends the server and its connections.
func (e *Embedded) Close() { e.server.Close() }
