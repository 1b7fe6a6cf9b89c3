// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"crypto/tls"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/fanout"
	"tickedge/internal/guard"
)

// settings are what of a [Config] may change while a server runs. They do not change themselves.
type settings struct {
	limits     fanout.Config
	commands   guard.Limit
	subscribes guard.Limit
	verifier   *auth.Verifier
	existing   *auth.Patterns
	requests   *guard.PrefixLimit
}

func (c *Config) settings() *settings {
	set := &settings{limits: c.Limits, verifier: c.Verifier, existing: c.Existing, requests: c.Requests}
	set.commands, set.subscribes = c.Limits.Limits()
	return set
}

// Adjustment is what a [Server] goes by from [Server.Adjust] on.
type Adjustment struct {
	secure *tls.Config
	set    *settings
}

// Prepare reads the files of c, and returns what a server can go by of it: of the limits what a shard of the
// client port takes, another verifier if there was one, the topics that exist, requests, certificate and authorities.
// Whether there is TLS at all does not change. The rest of c is not looked at.
func (s *Server) Prepare(c Config) (*Adjustment, error) {
	now := s.set.Load()
	if (c.Verifier == nil) != (now.verifier == nil) {
		c.Verifier = now.verifier
	}
	secure, err := c.loadTLS()
	if err != nil {
		return nil, err
	}
	c.Limits = now.limits.Adjusted(c.Limits)
	return &Adjustment{secure, c.settings()}, nil
}

// Adjust has the server go by what was prepared. Streams that are there have it from their next command on, and
// connections keep the certificates that were shown.
func (s *Server) Adjust(a *Adjustment) {
	if a.secure != nil && s.secure.Load() != nil {
		s.secure.Store(a.secure)
	}
	s.set.Store(a.set)
}

// refresh has a stream or a request go by the newest settings.
func (w *wanting) refresh(now time.Time) {
	newest := w.server.set.Load()
	if w.set == newest {
		return
	}
	if newest.subscribes != w.set.subscribes { // The clock of another rate runs at another pace.
		w.subscribes = newest.subscribes.Full(now.Sub(w.server.start))
	}
	w.set, w.cursor.snapshots = newest, newest.limits.Snapshots
}

// refresh is the same for the commands of a stream.
func (st *stream) refresh(now time.Time) {
	before := st.set.commands
	if st.wanting.refresh(now); st.set.commands != before {
		st.commands = st.set.commands.Full(now.Sub(st.server.start))
	}
}
