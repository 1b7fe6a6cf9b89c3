// SPDX-License-Identifier: Apache-2.0

package loop

import "testing"

// A stream of another door is one of its user's connections: the oldest goes for the newest, and one that
// has left makes nobody go.
func TestUsersOfAnotherDoor(t *testing.T) {
	s := &Server{sessions: newSessions(2)}
	ended := make([]int, 4)
	end := func(i int) func() { return func() { ended[i]++ } }
	leave := s.EnterUser("ann", end(0))
	s.EnterUser("ann", end(1))
	s.EnterUser("bob", end(2))
	leave()
	s.EnterUser("ann", end(3))
	if ended[0]+ended[1]+ended[2]+ended[3] != 0 {
		t.Errorf("%v have ended, and nobody had to", ended)
	}
	s.EnterUser("ann", end(3))
	leave()
	if ended[1] != 1 || ended[0]+ended[2]+ended[3] != 0 {
		t.Errorf("%v have ended, want the oldest that is left", ended)
	}
}
