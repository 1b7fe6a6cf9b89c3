// SPDX-License-Identifier: Apache-2.0

package tickedge

import "time"

const (
	// maxScreenRows bounds what is kept of a screen, whatever an edge sends.
	maxScreenRows = 100_000
	// screenLimit is the longest message of an edge of which a screen was asked for, in bytes.
	screenLimit = 1 << 20
	// longestRetry is up to where the pauses double before a screen is asked for again that was refused for now.
	longestRetry = 2 * time.Minute
)

// nextScreen chooses a command about screens: what is left behind first, so that there is room. The client's mutex is held, as
// in all that follows.
func (s *session) nextScreen(now, wake time.Time) (command, time.Time) {
	c := s.c
	if len(c.left) > 0 {
		return command{Op: "unscreen", Screen: c.left[0]}, wake
	}
	var due *Screen
	for _, x := range c.screens {
		switch {
		case x.phase == asked || x.phase == held || x.phase == refused && x.retryAt.IsZero():
		case x.retryAt.After(now):
			wake = sooner(wake, x.retryAt)
		case due == nil || due.command.Screen > x.command.Screen:
			due = x
		}
	}
	if due == nil {
		return command{}, wake
	}
	return due.command, wake
}

// screenWritten notes a command about screens that is about to be written.
func (s *session) screenWritten(cmd command) {
	if cmd.Op == "unscreen" {
		s.c.left = s.c.left[1:]
		return
	}
	s.ws.SetReadLimit(max(screenLimit, int64(s.maxTopics)*bytesPerTopic))
	if x := s.c.screens[cmd.Screen]; x != nil {
		x.phase, x.id, x.retryAt = asked, cmd.ID, time.Time{}
	}
}

// screened takes in the ack of a screen. What is inside comes behind it.
func (s *session) screened(cmd command) {
	if x := s.c.screens[cmd.Screen]; x != nil && x.id == cmd.ID {
		x.phase, x.tries = held, 0
	}
}

// screenFailed takes in that a command about screens was not carried out.
func (s *session) screenFailed(cmd command, m message) {
	passing := m.Code == 429 || m.Code == 503
	if cmd.Op == "unscreen" {
		if passing {
			s.c.left = append(s.c.left, cmd.Screen)
		}
		return
	}
	x := s.c.screens[cmd.Screen]
	if x == nil || x.phase != asked || x.id != cmd.ID {
		return
	}
	x.phase, x.retryAt, x.at = refused, time.Time{}, -1
	if m.At != nil {
		x.at = *m.At
	}
	if passing {
		x.retryAt = time.Now().Add(min(s.c.soon()<<min(x.tries, 16), longestRetry))
		x.tries++
	}
	x.stand(standing{Rejected, m.Code, m.Reason, passing})
}

// screen takes in a message of a screen.
func (s *session) screen(m message) {
	x := s.c.screens[m.Screen]
	if x == nil || x.phase != asked && x.phase != held || !m.Full && !x.begun {
		return
	}
	if m.Full {
		x.begun, x.next = true, newInside()
	}
	at := time.UnixMilli(m.TS)
	if x.next != nil {
		x.next.merge(m, at, nil)
		if !m.More {
			x.complete()
		}
		return
	}
	x.now.merge(m, at, x)
	x.live()
}

// merge takes the rows of a message into those that are there, and notes for the reader of a screen, if there is one, what changes.
func (in *inside) merge(m message, at time.Time, x *Screen) {
	for _, r := range m.D {
		if r.S == "" || r.V == nil || len(in.rows) >= maxScreenRows && !in.has(r.S) {
			continue
		}
		in.rows[r.S] = ScreenRow{Topic: r.S, Value: r.V, N: r.N, At: at}
		if x != nil {
			x.news.rows[r.S] = struct{}{}
			delete(x.news.out, r.S)
		}
	}
	for _, name := range m.Out {
		if !in.has(name) {
			continue
		}
		delete(in.rows, name)
		if x != nil {
			x.outside(name)
		}
	}
	if m.Order != nil {
		in.ranks = m.Order[:min(len(m.Order), maxScreenRows)]
		if x != nil {
			x.news.order = true
		}
	}
}

// outside notes that a topic is not inside any more. A reader that has not had it hears nothing of it.
func (x *Screen) outside(name string) {
	delete(x.news.rows, name)
	if _, had := x.had[name]; had {
		x.news.out[name] = struct{}{}
	}
}

// complete takes the full state for what is there.
func (x *Screen) complete() {
	x.now, x.next = *x.next, nil
	x.news.reset()
	x.news.full, x.news.order = true, true
	for name := range x.had {
		if !x.now.has(name) {
			x.news.out[name] = struct{}{}
		}
	}
	for name := range x.now.rows {
		x.news.rows[name] = struct{}{}
	}
	x.live()
}

func (x *Screen) live() {
	x.standing, x.at = standing{state: Live}, -1
	x.ring()
}

func (x *Screen) stand(as standing) {
	x.standing = as
	x.ring()
}

// loseScreens begins anew for the next connection. It returns whether there were screens that it had not come to.
func (c *Client) loseScreens() (waiting bool) {
	c.left = nil
	for _, x := range c.screens {
		waiting = waiting || x.phase == unasked || x.phase == asked || x.phase == refused && !x.retryAt.IsZero()
		x.phase, x.retryAt, x.begun, x.next, x.at = unasked, time.Time{}, false, nil, -1
		x.stand(standing{state: Reconnecting, code: c.lost.code, reason: c.lost.reason})
	}
	return waiting
}

// openScreens is for a connection that has begun.
func (c *Client) openScreens() {
	for _, x := range c.screens {
		if x.standing.state == Reconnecting {
			x.stand(standing{state: Waiting})
		}
	}
}

// allowScreens asks again for what the token before did not allow.
func (c *Client) allowScreens() {
	for _, x := range c.screens {
		if x.phase == refused && x.standing.code == 403 {
			x.phase = unasked
		}
	}
}
