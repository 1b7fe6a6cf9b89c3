// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/fanout"
	"tickedge/internal/httphead"
	"tickedge/internal/protocol"
	"tickedge/internal/wsproto"
)

// session is what a conn has by its token. The zero value is a conn without one.
type session struct {
	user   string
	topics *auth.Patterns // Those that it may have; nil is all.
	expiry int32          // Its place in the loop's expiries, from 1; 0 is nowhere.

	// The conn that has it, or how to end what has it without one. Not changed, so that other loops may read it.
	id   fanout.ConnID
	loop *loop
	end  func()
}

// asked is what a request for a WebSocket asks for, and who asks.
type asked struct {
	httphead.Query
	protocol string // The sub-protocol that is chosen, if one is.
	claims   auth.Claims
}

// identify says what a request asks for, and what its token says, if one is needed.
func (l *loop) identify(c *conn, req *httphead.Request) (a asked, r *httphead.Refusal) {
	if a.Query, r = req.ParseQuery(protocol.ValidInterval); r != nil {
		return a, r
	}
	offer, r := wsproto.ParseOffer(req)
	if r != nil {
		return a, r
	}
	a.protocol = offer.Chosen
	token, r := oneToken(req, &a.Query, &offer)
	if r != nil || l.set.verifier == nil {
		return a, r
	}
	var why auth.Reason
	if a.claims, why = l.verify(c, token); why != 0 {
		r = refusalOf(why)
		if r.Status == 503 {
			r.Header += l.retryAfter()
		}
	}
	return a, r
}

func refusalOf(why auth.Reason) *httphead.Refusal {
	return &httphead.Refusal{Status: why.Status(), Reason: why.Error(), Header: why.Header()}
}

// oneToken returns the token of a request, which comes in one of three ways only (RFC 6750, 2):
// of two, a proxy may have looked at the other. An Authorization field of another scheme has
// none: a browser adds what a proxy has asked its user for.
func oneToken(req *httphead.Request, query *httphead.Query, offer *wsproto.Offer) (token []byte, r *httphead.Refusal) {
	field, inField := auth.Bearer(req.Authorization)
	ways := 0
	for _, way := range [...]struct {
		taken bool
		token []byte
	}{{inField, field}, {query.HasToken, query.Token}, {offer.HasToken, offer.Token}} {
		if way.taken {
			ways++
			token = way.token
		}
	}
	if ways > 1 {
		return nil, &httphead.Refusal{Status: 400, Reason: httphead.OneToken}
	}
	return token, nil
}

// verify returns what a token of a conn says, or why it is refused, which it counts.
func (l *loop) verify(c *conn, token []byte) (claims auth.Claims, why auth.Reason) {
	claims, why = l.set.verifier.VerifyFrom(c.prefix, token, time.Now(), l.server.wrongTokens)
	if why != 0 {
		l.counts.tokens[why]++
	}
	return claims, why
}

// authorize takes a newer token of a conn, or says why the old one stays. Where no token is
// asked for, any is good.
func (l *loop) authorize(c *conn, token []byte) *protocol.CommandError {
	if l.set.verifier == nil {
		return nil
	}
	claims, why := l.verify(c, token)
	if why != 0 {
		return &protocol.CommandError{Code: why.Status(), Reason: why.Error()}
	}
	if claims.User != c.more.user {
		l.counts.tokens[otherUser]++
		return &protocol.CommandError{Code: protocol.ErrToken, Reason: "the token is of another user: open another connection for it"}
	}
	l.renew(c, &claims)
	return nil
}

// begin gives a conn what its token says. Another conn of the user may have to go.
func (l *loop) begin(c *conn, claims *auth.Claims) {
	s := &c.details().session
	*s = session{user: claims.User, id: c.id, loop: l}
	l.renew(c, claims)
	for _, old := range l.server.sessions.enter(s) {
		if x := l.away.add(bySessions); x != nil {
			x.what, x.more = shown(s.user), []any{"limit", l.set.maxSessions}
		}
		old.yield()
	}
}

// yield has the conn end that has a session, or what has it without one: a newer one takes its place.
func (s *session) yield() {
	if s.end != nil {
		s.end()
		return
	}
	s.loop.ask(func() { s.loop.replace(s) })
}

// renew gives a conn what a newer token of the same user says.
func (l *loop) renew(c *conn, claims *auth.Claims) {
	s := &c.more.session
	s.topics = claims.Topics
	c.more.tokenID, c.more.issued = claims.ID, claims.Issued
	l.expiries.remove(l, s)
	if !claims.Expires.IsZero() {
		l.expiries.add(s, claims.Expires)
	}
}

// replace evicts a conn for a newer one of its user, if it is still there: its slot may
// have another by now, but a session is never used again while somebody knows it.
func (l *loop) replace(old *session) {
	if c := l.conn(old.id); c.more != nil && &c.more.session == old {
		l.shard.Evict(c.id, fanout.Replaced)
	}
}

// shed gives up what a conn has beside itself. Its address stays, if the log has lines
// about connections.
func (l *loop) shed(c *conn) {
	if c.more == nil {
		return
	}
	if s := &c.more.session; s.user != "" {
		l.server.sessions.leave(s)
		l.expiries.remove(l, s)
	}
	addr := c.more.addr
	c.more = nil
	if addr.IsValid() && l.debug() {
		c.more = &details{addr: addr}
	}
}

const (
	// sweepTurns is how many turns a sweep of the expiries takes: one second of them.
	sweepTurns = int(time.Second / fanout.SlotTime)
	// expireMax bounds the conns that one turn ends, which costs 10 µs or so each. An
	// issuer may let all its tokens end at midnight.
	expireMax = 64
)

// expiries is when the tokens of a loop's conns end, in no order. A turn looks at a part
// of them, so an end is found within a second, or later if more end in it than turns may.
// Conns without a token cost nothing, the others 16 bytes that are read in order. A heap
// would find the first end at once, but move entries, and write to sessions all over the
// memory, whenever a conn comes, goes or shows a newer token.
type expiries struct {
	list []expiry
	next int // Those from here on have been looked at, in this sweep.
}

type expiry struct {
	at int64 // Unix time in seconds, rounded up.
	id fanout.ConnID
}

func (e *expiries) add(s *session, at time.Time) {
	e.list = append(e.list, expiry{at.Add(time.Second - 1).Unix(), s.id})
	s.expiry = int32(len(e.list))
}

// remove takes a session out, if it is there. The last one takes its place, which has
// been looked at, or will be.
func (e *expiries) remove(l *loop, s *session) {
	if s.expiry == 0 {
		return
	}
	last := e.list[len(e.list)-1]
	e.list[s.expiry-1] = last
	e.list = e.list[:len(e.list)-1]
	l.conn(last.id).more.expiry = s.expiry
	s.expiry = 0
}

// expire looks for conns whose token has ended, and evicts them.
func (l *loop) expire(now time.Time) {
	e, unix, ended := &l.expiries, now.Unix(), 0
	for range len(e.list)/sweepTurns + 1 {
		if e.next = min(e.next, len(e.list)); e.next == 0 {
			e.next = len(e.list)
		}
		if e.next == 0 || ended == expireMax {
			return
		}
		e.next--
		if x := e.list[e.next]; x.at <= unix {
			l.shard.Evict(x.id, fanout.TokenExpired) // Which removes it.
			ended++
		}
	}
}

// sessions is which conns users have, on all loops, where that is limited. Its methods
// may be called from any goroutine. It holds a pointer for each conn and an entry for
// each user with one, so the number of connections bounds it.
type sessions struct {
	most   atomic.Int64 // Of a user. 0 is no limit: then nobody comes in here.
	used   atomic.Bool  // There was a limit once.
	seed   maphash.Seed
	shards [sessionShards]struct {
		sync.Mutex
		users map[string][]*session // The oldest first; none is empty.
	}
}

// sessionShards is how many locks the users share. One would do for what a host can
// accept, but its owner may lose its processor while it holds it.
const sessionShards = 64

func newSessions(most int) *sessions {
	r := &sessions{seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].users = map[string][]*session{}
	}
	r.adjust(most)
	return r
}

// adjust says how many a user may have from now on. Those that came while there was no limit do not count.
func (r *sessions) adjust(most int) {
	if most > 0 {
		r.used.Store(true)
	}
	r.most.Store(int64(most))
}

// enter counts a session in. If its user has too many now, the oldest ones are counted
// out and returned: their conns are to be evicted. It is one, but where the limit was lowered. Which
// of them are the oldest is decided here, under a lock, so that the newest ones are in, and not more than most.
func (r *sessions) enter(s *session) (oldest []*session) {
	most := int(r.most.Load())
	if most == 0 {
		return nil
	}
	shard := &r.shards[maphash.String(r.seed, s.user)%sessionShards]
	shard.Lock()
	defer shard.Unlock()
	list := append(shard.users[s.user], s)
	if over := len(list) - most; over > 0 {
		oldest = slices.Clone(list[:over])
		list = slices.Delete(list, 0, over)
	}
	shard.users[s.user] = list
	return oldest
}

// leave counts a session out, if it is still in.
func (r *sessions) leave(s *session) {
	if !r.used.Load() {
		return
	}
	shard := &r.shards[maphash.String(r.seed, s.user)%sessionShards]
	shard.Lock()
	defer shard.Unlock()
	list := shard.users[s.user]
	i := slices.Index(list, s)
	switch {
	case i < 0:
	case len(list) == 1:
		delete(shard.users, s.user)
	default:
		shard.users[s.user] = slices.Delete(list, i, i+1)
	}
}
