// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"slices"
	"strconv"
	"time"

	"tickedge/internal/guard"
	"tickedge/internal/protocol"
	"tickedge/internal/screen"
	"tickedge/internal/topics"
)

// Screens is what one client has of screens: which, and what it has been sent of them. The zero value has none. Few clients
// have some, so a shard keeps them apart from its conns.
type Screens struct {
	held []held
	next int // Which comes first in the next message, so that none waits for the others.
}

// held is one of them. What is due is to be looked at when there is room.
type held struct {
	name  string
	who   string // By whom it is counted.
	view  *screen.View
	place screen.Place
	due   bool
	begun bool // A full state is under way in pieces.
}

// ScreenCharge is what a screen is charged beside its message, in commands of the rate: its condition is parsed, and
// may be new.
const ScreenCharge = 4

// How many screens there may be, unless something else is set.
const (
	DefaultMaxScreens        = 8  // Of one client.
	DefaultMaxScreensPerUser = 32 // Of one user, or one address.
)

// ScreensMax bounds Config.MaxScreens.
const ScreensMax = 32

const screensOff = "this edge has no screens (-max-screens-per-conn 0)"

// Len is how many screens there are.
func (h *Screens) Len() int { return len(h.held) }

// Due notes that it is time for all of them.
func (h *Screens) Due() {
	for i := range h.held {
		h.held[i].due = true
	}
}

// More reports whether some are due still.
func (h *Screens) More() bool {
	return slices.ContainsFunc(h.held, func(one held) bool { return one.due })
}

// Ask adds a screen that a client asks for by patterns, if it may have it: in the place of the one that has its name, which stays
// if there is an error. cfg has the registry and the limit, by says where the client is from.
func (h *Screens) Ask(
	cfg *Config, patterns [][]byte, asked *protocol.Screen, rights *Rights, by guard.Prefix, now time.Time,
) *protocol.CommandError {
	if !cfg.hasScreens() {
		return &protocol.CommandError{Code: protocol.ErrUnsupported, Reason: screensOff}
	}
	spec, e := ScreenSpec(patterns, asked, rights)
	if e != nil {
		return e
	}
	name, who := string(asked.Name), rights.who(by)
	i := slices.IndexFunc(h.held, func(one held) bool { return one.name == name })
	if i < 0 && len(h.held) >= cfg.MaxScreens {
		return &protocol.CommandError{Code: protocol.ErrTooFast, Reason: "at most " + strconv.Itoa(cfg.MaxScreens) + " screens per connection: end one first"}
	}
	var old *screen.View
	if i >= 0 {
		old = h.held[i].view
	}
	view, e := cfg.Screens.Replace(old, spec, who, now)
	if e != nil {
		return e
	}
	one := held{name: name, who: who, view: view, due: true}
	if i >= 0 {
		h.held[i] = one
	} else {
		h.held = append(h.held, one)
	}
	return nil
}

// Remove removes those of which gone reports true.
func (h *Screens) Remove(registry *screen.Registry, gone func(name string, spec *screen.Spec) bool, now time.Time) {
	h.held = slices.DeleteFunc(h.held, func(one held) bool {
		if !gone(one.name, one.view.Spec()) {
			return false
		}
		registry.Detach(one.view, one.who, now)
		return true
	})
}

// List appends what there is, as list answers it.
func (h *Screens) List() (all []protocol.Screened) {
	for _, one := range h.held {
		spec := one.view.Spec()
		s := protocol.Screened{Name: one.name, Topics: spec.Patterns, Top: spec.Top}
		if !spec.Where.Always() {
			s.Where = spec.Where.String()
		}
		if spec.Top > 0 {
			s.By = spec.By.String()
		}
		all = append(all, s)
	}
	return all
}

// has reports whether a client has a screen of a name.
func (h *Screens) has(name string) bool {
	return slices.ContainsFunc(h.held, func(one held) bool { return one.name == name })
}

// Piece fetches what is new of one screen that is due, for a message of most bytes or so. ok is false where nothing is. The beginning of a
// screen has to wait where the prefix has used up its rate of snapshots: delayed.
func (h *Screens) Piece(p *screen.Piece, most int, snapshots *guard.PrefixLimit, by guard.Prefix, now time.Time) (name string, ok, delayed bool) {
	for range h.held {
		h.next %= len(h.held)
		one := &h.held[h.next]
		switch {
		case !one.due:
		case !one.view.Ready() || one.view.Heard(one.place):
			one.due = false
		case one.place == screen.Place{} && !snapshots.Has(by, now):
			delayed = true
		default:
			one.view.Changes(&one.place, most, p)
			one.due = p.More
			full := p.Full || one.begun
			one.begun = full && p.More
			if full {
				snapshots.Spend(by, max(0, size(p)-snapshotSmall)/SnapshotUnit, now)
			}
			if !p.Full && len(p.Rows)+len(p.Out) == 0 && p.Order == nil {
				continue // What has changed has changed back.
			}
			h.next++
			p.More = p.More && full
			return one.name, true, false
		}
		h.next++
	}
	return "", false, delayed
}

// size is how many bytes of rows there are in a piece.
func size(p *screen.Piece) (n int) {
	for _, r := range p.Rows {
		n += len(r.JSON())
	}
	return n
}

// screenOf is the screens of a conn, nil if it has none.
func (s *Shard) screenOf(id ConnID, c *conn) *Screens {
	if c.flags&screening == 0 {
		return nil
	}
	return s.screens[id]
}

// dropScreens gives up the screens of a conn.
func (s *Shard) dropScreens(id ConnID, c *conn) {
	if h := s.screenOf(id, c); h != nil {
		h.Remove(s.cfg.Screens, func(string, *screen.Spec) bool { return true }, s.clock)
		s.noScreens(id, c, h)
	}
}

// noScreens forgets the screens of a conn if there is none any more.
func (s *Shard) noScreens(id ConnID, c *conn, h *Screens) {
	if h.Len() == 0 {
		c.flags &^= screening
		delete(s.screens, id)
		s.aside(id).bare = s.now
	}
}

// deliverScreens appends what is new of the screens of a conn, as far as there is room in a piece.
func (s *Shard) deliverScreens(id ConnID, c *conn, flush bool, dst []byte) []byte {
	h, f := s.screens[id], c.framing()
	if flush {
		h.Due()
	}
	for len(dst) < s.piece {
		start := len(dst)
		name, ok, delayed := h.Piece(&s.screened, s.piece-start, s.Snapshots, s.sink.Prefix(id), s.clock)
		if delayed {
			s.stats.Count[SnapshotsDelayed]++
			s.sooner(id, c, s.now+snapshotAgain)
		}
		if !ok {
			return dst
		}
		s.stats.Count[ScreensTold]++
		s.stats.Count[ScreenRows] += uint64(len(s.screened.Rows))
		dst = f.end(appendScreen(f.begin(dst), s.clock.UnixMilli(), name, &s.screened), start)
		clear(s.screened.Rows) // Rows that are not the newest any more are garbage.
	}
	if h.More() {
		s.stats.Count[Pieces]++
		s.sooner(id, c, s.now+1)
	}
	return dst
}

func appendScreen(dst []byte, now int64, name string, p *screen.Piece) []byte {
	dst = protocol.AppendScreenHead(dst, now, name, p.Full, p.More)
	for i, row := range p.Rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, row.JSON()...)
	}
	return protocol.AppendScreenEnd(dst, p.Out, p.Order)
}

// screen carries out a screen command.
func (s *Shard) screen(id ConnID, c *conn, cmd *protocol.Command, rights *Rights) *protocol.CommandError {
	if !topics.ValidName(cmd.Screen.Name) {
		return &protocol.CommandError{Code: protocol.ErrBadTopic, Reason: "screen is a name of " + topics.NameRule}
	}
	return s.addScreen(id, c, cmd.Topics, &cmd.Screen, rights)
}

// wildcard subscribes a pattern: a screen that is always true.
func (s *Shard) wildcard(id ConnID, c *conn, pattern []byte, rights *Rights) protocol.Rejected {
	switch h := s.screenOf(id, c); {
	case h != nil && h.has(string(pattern)):
		return protocol.Rejected{}
	case !s.cfg.hasScreens():
		return reject(pattern, protocol.ErrBadTopic, badTopic)
	}
	if e := s.addScreen(id, c, [][]byte{pattern}, &protocol.Screen{Name: pattern}, rights); e != nil {
		return reject(pattern, e.Code, e.Reason)
	}
	return protocol.Rejected{}
}

func (s *Shard) addScreen(id ConnID, c *conn, patterns [][]byte, asked *protocol.Screen, rights *Rights) *protocol.CommandError {
	h := s.screenOf(id, c)
	if h == nil {
		h = new(Screens)
	}
	if e := h.Ask(&s.cfg, patterns, asked, rights, s.sink.Prefix(id), s.clock); e != nil {
		s.stats.Count[ScreensRefused]++
		return e
	}
	c.flags |= screening
	s.screens[id] = h
	s.sooner(id, c, s.now+soon)
	return nil
}

// hasScreens reports whether there are screens at all.
func (cfg *Config) hasScreens() bool { return cfg.Screens != nil && cfg.MaxScreens > 0 }

// ScreenSpec reads what a screen is asked for, if the client may have it.
func ScreenSpec(patterns [][]byte, asked *protocol.Screen, rights *Rights) (screen.Spec, *protocol.CommandError) {
	spec, e := screen.ParseSpec(patterns, string(asked.Where), asked.Top, string(asked.By), rights.Private)
	if e != nil {
		return spec, e
	}
	if p := rights.beyond(&spec); p != "" {
		reason := "the token does not allow all topics of " + p
		return spec, &protocol.CommandError{Code: protocol.ErrForbidden, Reason: reason}
	}
	return spec, nil
}

// beyond returns a pattern of a screen that does not lie wholly within what a client may have; empty for none.
func (r *Rights) beyond(spec *screen.Spec) string {
	for _, p := range spec.Patterns {
		if !r.Allowed.Covers([]byte(p)) {
			return p
		}
	}
	return ""
}

// who is by whom the screens of a client are counted.
func (r *Rights) who(by guard.Prefix) string {
	if r.User != "" {
		return "user " + r.User
	}
	return "address " + strconv.FormatUint(uint64(by), 16)
}

// withdrawScreens takes away the screens that the conn's token does not allow any more, and returns them.
func (s *Shard) withdrawScreens(id ConnID, c *conn, rights *Rights) (gone []protocol.Rejected) {
	h := s.screenOf(id, c)
	if h == nil {
		return nil
	}
	h.Remove(s.cfg.Screens, func(name string, spec *screen.Spec) bool {
		p := rights.beyond(spec)
		if p != "" {
			gone = append(gone, reject([]byte(name), protocol.ErrForbidden, "the screen has ended: the token does not allow all topics of "+p))
		}
		return p != ""
	}, s.clock)
	s.noScreens(id, c, h)
	return gone
}

// unscreen gives up one screen of a conn, if it has that.
func (s *Shard) unscreen(id ConnID, c *conn, name []byte) {
	if h := s.screenOf(id, c); h != nil {
		h.Remove(s.cfg.Screens, func(has string, _ *screen.Spec) bool { return has == string(name) }, s.clock)
		s.noScreens(id, c, h)
	}
}

// listScreens is the screens of a conn, as list answers them.
func (s *Shard) listScreens(id ConnID, c *conn) []protocol.Screened {
	if h := s.screenOf(id, c); h != nil {
		return h.List()
	}
	return nil
}
