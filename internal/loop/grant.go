// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"tickedge/internal/auth"
	"tickedge/internal/fanout"
)

// grant is what a client may have whose token is of a user and has a claim. Every door asks it, and
// nothing else: commands, queries, streams, requests, and the list of names.
func (s *Server) grant(user string, claim *auth.Patterns) auth.Grant {
	return auth.Grant{Topics: claim, User: user, Private: s.cfg.Private}
}

// rights are those of a command or a request, until the next.
func (l *loop) rights(user string, claim *auth.Patterns) fanout.Rights {
	l.granted = l.server.grant(user, claim)
	return fanout.Rights{Existing: l.set.existing, Allowed: &l.granted, User: user, Private: l.server.cfg.Private}
}
