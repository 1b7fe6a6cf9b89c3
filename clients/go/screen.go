// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"
)

// ScreenConfig is what a screen is of. docs/SCREENS.md has the language of conditions.
type ScreenConfig struct {
	// Topics are names, or patterns: a prefix and a star, such as "crypto:*". 1 to 64.
	Topics []string
	// Where is a condition over the members of values, such as "chg_pct > 5 && v > 1e6". Without it every topic is inside.
	Where string
	// Top and By choose the first so many, 1 to 100, ranked by a member: "-chg_pct" is the largest first.
	Top int
	By  string
}

// ScreenRow is a topic that is inside of a screen.
type ScreenRow struct {
	Topic string
	// Value is as it was published. It is the caller's own.
	Value json.RawMessage
	// N is how many ticks of the topic that edge has seen. It begins anew with a connection.
	N uint64
	// At is when the edge has sent the value, by its clock, to a millisecond.
	At time.Time
}

// ScreenUpdate is what has changed of a screen since the update before it that was taken.
type ScreenUpdate struct {
	// State is Waiting, Live, Reconnecting or Rejected.
	State State
	// Full says that Rows are all that is inside: it comes first, and after a connection was lost.
	Full bool
	// Rows are those that came in or have another value, in the order of their names.
	Rows []ScreenRow
	// Out are names that are not inside any more.
	Out []string
	// Order has all names as they are ranked if that has changed. It is nil if not, or if the screen has no rank.
	Order []string

	// Code and Reason say why the screen is rejected or waits for a connection.
	Code   int
	Reason string
	// At is the byte of Where or By at which it is wrong, as Reason says, or -1.
	At int
	// Temporary says of a rejected screen that the client asks again within seconds or minutes.
	Temporary bool
}

// Err returns a [*ScreenError] if the screen is rejected, otherwise nil.
func (u ScreenUpdate) Err() error {
	if u.State != Rejected {
		return nil
	}
	return &ScreenError{Code: u.Code, Reason: u.Reason, At: u.At, Temporary: u.Temporary}
}

// ScreenError is a screen that an edge does not give.
type ScreenError struct {
	Code      int // One of docs/PROTOCOL.md.
	Reason    string
	At        int  // The byte of Where or By that is wrong, as Reason says, or -1.
	Temporary bool // The client asks again within seconds or minutes.
}

func (e *ScreenError) Error() string { return fmt.Sprintf("tickedge: screen: %d %s", e.Code, e.Reason) }

// Screen is a screen of a client. Its memory is that of what is inside, however slowly it is read.
type Screen struct {
	client *Client
	stop   func() bool
	notify chan struct{} // Holds one: there is news, or the screen has ended.

	// The client's mutex guards what follows.
	command  command // What asks for it.
	phase    phase
	id       uint64 // The command that asked for it.
	retryAt  time.Time
	tries    int
	err      error
	standing standing
	at       int

	begun bool       // A full state has begun on this connection.
	next  *inside    // That state, while further pieces of it are to come.
	now   inside     // What was complete last.
	had   stringSet  // Names that the reader has.
	news  screenNews // What it has not taken.
}

type stringSet = map[string]struct{}

// inside is what is inside of a screen.
type inside struct {
	rows  map[string]ScreenRow
	ranks []string // nil if it is not ranked.
}

// screenNews is what a reader has not taken.
type screenNews struct {
	any, full, order bool
	rows, out        stringSet
}

// Screen asks for a screen until ctx ends or it is closed, and returns at once. What the edge says against it comes as an
// update with the state [Rejected]. The error is as that of [Client.Subscribe].
func (c *Client) Screen(ctx context.Context, config ScreenConfig) (*Screen, error) {
	cmd := command{Op: "screen", Topics: slices.Clone(config.Topics), Where: config.Where, Top: config.Top, By: config.By}
	payload, err := encode(cmd)
	switch {
	case c.problem != nil:
		return nil, c.problem
	case err != nil || len(payload) > maxBytes-128:
		return nil, errors.New("tickedge: the screen is too long: want up to 64 topics, and 1024 bytes of a condition")
	case len(cmd.Topics) == 0 || slices.Contains(cmd.Topics, ""):
		return nil, errors.New(`tickedge: a screen is of topics, such as "crypto:*"`)
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	c.screenSeq++
	cmd.Screen = fmt.Sprintf("s%d", c.screenSeq) // Not used twice: what still comes of another one is not taken for this one's.
	s := &Screen{client: c, notify: make(chan struct{}, 1), command: cmd, at: -1, had: make(stringSet), now: *newInside()}
	s.news.reset()
	s.standing = standing{state: Waiting}
	if !c.up && c.lost.reason != "" {
		s.standing = standing{state: Reconnecting, code: c.lost.code, reason: c.lost.reason}
	}
	if c.screens == nil {
		c.screens = make(map[string]*Screen)
	}
	c.screens[cmd.Screen] = s
	s.stop = context.AfterFunc(ctx, func() { s.end(context.Cause(ctx)) })
	c.changed++
	c.start()
	return s, nil
}

func newInside() *inside { return &inside{rows: make(map[string]ScreenRow)} }

func (n *screenNews) reset() { *n = screenNews{rows: make(stringSet), out: make(stringSet)} }

// Next waits until something has changed and returns all of that. What was there when the screen ended is returned before the
// error, which is [ErrClosed], a [*ConnError] or that of a context, and the same from then on.
func (s *Screen) Next(ctx context.Context) (ScreenUpdate, error) {
	return await(ctx, s.notify, func() (u ScreenUpdate, ok bool, err error) {
		s.client.mu.Lock()
		defer s.client.mu.Unlock()
		if u, ok = s.take(); s.err != nil {
			s.ring() // For whoever else waits.
		}
		return u, ok, s.err
	})
}

// All returns what [Screen.Next] does, one after the other. The last of it is an error, and comes once.
func (s *Screen) All(ctx context.Context) iter.Seq2[ScreenUpdate, error] { return all(ctx, s.Next) }

// Rows returns what is inside now: as it is ranked, otherwise in the order of the names.
func (s *Screen) Rows() []ScreenRow {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	names := s.now.ranks
	if names == nil {
		names = slices.Sorted(maps.Keys(s.now.rows))
	}
	return s.copies(names)
}

// Close ends the screen. Closing twice is no error.
func (s *Screen) Close() { s.end(ErrClosed) }

// take returns what is new. The client's mutex is held, as in all that follows but end.
func (s *Screen) take() (u ScreenUpdate, ok bool) {
	n := &s.news
	if !n.any {
		return u, false
	}
	u = ScreenUpdate{
		State: s.standing.state, Full: n.full, Code: s.standing.code, Reason: s.standing.reason, At: s.at, Temporary: s.standing.temporary,
		Rows: s.copies(slices.Sorted(maps.Keys(n.rows))), Out: slices.Sorted(maps.Keys(n.out)),
	}
	if n.order && s.now.ranks != nil {
		u.Order = slices.DeleteFunc(slices.Clone(s.now.ranks), func(name string) bool { return !s.now.has(name) })
	}
	for name := range n.out {
		delete(s.had, name)
	}
	for _, r := range u.Rows {
		s.had[r.Topic] = struct{}{}
	}
	n.reset()
	return u, true
}

func (in *inside) has(name string) bool {
	_, ok := in.rows[name]
	return ok
}

// copies returns the rows of these names, as far as there are such.
func (s *Screen) copies(names []string) (rows []ScreenRow) {
	for _, name := range names {
		if r, ok := s.now.rows[name]; ok {
			r.Value = bytes.Clone(r.Value)
			rows = append(rows, r)
		}
	}
	return rows
}

func (s *Screen) ring() {
	s.news.any = s.news.any || s.err == nil
	select {
	case s.notify <- struct{}{}:
	default:
	}
}

func (s *Screen) end(err error) {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.err != nil {
		return
	}
	s.finish(err)
	if delete(c.screens, s.command.Screen); s.phase == asked || s.phase == held {
		c.left = append(c.left, s.command.Screen)
	}
	c.poke()
}

func (s *Screen) finish(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	s.stop()
	s.ring()
}
