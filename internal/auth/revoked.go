// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"cmp"
	"hash/maphash"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// RevokedMost bounds the entries of a list of revoked tokens. As many take 17 MB by jti and 26 MB by sub, and three times as much
// while a newer list is read.
const RevokedMost = 1_000_000

// The lists of a [Revocations].
const (
	RevokedFile = iota
	RevokedTopic

	RevokedLists // One more than the last.
)

// Revocations is which tokens were revoked before their end, by two lists that count together. Of a token it has a hash with a
// seed of this process: nobody can choose a jti that collides with another. Nil has none. All methods may be called from any
// goroutine, and only those that set a list wait for anything.
type Revocations struct {
	seeds   [2]maphash.Seed
	lists   [RevokedLists]atomic.Pointer[revokedList]
	current [RevokedLists]atomic.Bool

	mu      sync.Mutex // Of changed.
	changed chan struct{}

	reading sync.Mutex // Of file.
	file    lastFile
}

// NewRevocations returns two empty lists, of which none is current.
func NewRevocations() *Revocations {
	r := &Revocations{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, changed: make(chan struct{})}
	for i := range r.lists {
		r.lists[i].Store(new(revokedList))
	}
	return r
}

// digest stands for a jti or a sub.
type digest struct{ hi, lo uint64 }

func (d digest) compare(other digest) int {
	return cmp.Or(cmp.Compare(d.hi, other.hi), cmp.Compare(d.lo, other.lo))
}

// hash never returns a hi of 0, which stands for no jti.
func (r *Revocations) hash(s string) digest {
	return digest{max(1, maphash.String(r.seeds[0], s)), maphash.String(r.seeds[1], s)}
}

// revokedList is one list. It does not change. It is in order, as a map would take three times the memory.
type revokedList struct {
	ids   []digest
	users []revokedUser // Each once.
}

// revokedUser revokes the tokens of a user that were issued before a time, in seconds, and those that do not say when they were.
type revokedUser struct {
	digest
	before uint32
}

// always is later than any time at which a token was issued.
const always = math.MaxUint32

func (l *revokedList) hasUser(user digest, issued uint32) bool {
	i, found := slices.BinarySearchFunc(l.users, user, func(u revokedUser, d digest) int { return u.compare(d) })
	return found && (issued == 0 || issued < l.users[i].before)
}

func (l *revokedList) hasID(id digest) bool {
	_, found := slices.BinarySearchFunc(l.ids, id, digest.compare)
	return found
}

// sort brings a list into order. Of a user that comes several times the latest time counts.
func (l *revokedList) sort() {
	slices.SortFunc(l.ids, digest.compare)
	l.ids = slices.Compact(l.ids)
	slices.SortFunc(l.users, func(a, b revokedUser) int { return cmp.Or(a.compare(b.digest), cmp.Compare(b.before, a.before)) })
	l.users = slices.CompactFunc(l.users, func(a, b revokedUser) bool { return a.digest == b.digest })
}

// Has reports whether a token was revoked, by what is kept of it: its user, and ID and Issued of its [Claims]. It may be wrong once
// in some 10^13 times; [Verifier.Verify], which sees the whole token, is not then.
func (r *Revocations) Has(user string, id uint64, issued uint32) bool {
	if r == nil {
		return false
	}
	var of digest
	for i := range r.lists {
		l := r.lists[i].Load()
		if id != 0 && len(l.ids) > 0 {
			at, _ := slices.BinarySearchFunc(l.ids, id, func(d digest, id uint64) int { return cmp.Compare(d.hi, id) })
			if at < len(l.ids) && l.ids[at].hi == id {
				return true
			}
		}
		if len(l.users) == 0 {
			continue
		}
		if of.hi == 0 {
			of = r.hash(user)
		}
		if l.hasUser(of, issued) {
			return true
		}
	}
	return false
}

// mark sets what is kept of a token to find out later whether it was revoked, and reports whether it is already.
func (r *Revocations) mark(p *payload, claims *Claims) (revoked bool) {
	if r == nil {
		return false
	}
	claims.Issued = issuedAt(p.Rest["iat"])
	var jti string
	var id digest
	if value, ok := p.Rest["jti"]; ok && value.Kind() == '"' && json.Unmarshal(value, &jti) == nil {
		id = r.hash(jti)
		claims.ID = id.hi
	}
	user := r.hash(claims.User)
	for i := range r.lists {
		l := r.lists[i].Load()
		if id.hi != 0 && l.hasID(id) || l.hasUser(user, claims.Issued) {
			return true
		}
	}
	return false
}

// issuedAt returns iat in whole seconds, or 0 for a token that does not say it in a way to be understood.
func issuedAt(iat jsontext.Value) uint32 {
	var seconds float64
	if iat.Kind() != '0' || json.Unmarshal(iat, &seconds) != nil || seconds < 1 {
		return 0
	}
	return uint32(min(seconds, always-1))
}

// Changed returns a channel that is closed when a list changes. Get it before you look at the lists. Of nil it is never closed.
func (r *Revocations) Changed() <-chan struct{} {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// set has a list take the place of another.
func (r *Revocations) set(which int, l *revokedList) {
	r.lists[which].Store(l)
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
}

// SetCurrent says whether a list is the newest that there is.
func (r *Revocations) SetCurrent(which int, current bool) { r.current[which].Store(current) }

// Entries says how many entries a list has.
func (r *Revocations) Entries(which int) (ids, users int) {
	l := r.lists[which].Load()
	return len(l.ids), len(l.users)
}

// RevokedStats says what is revoked.
type RevokedStats struct {
	IDs, Users int // Of both lists.
	Current    [RevokedLists]bool
}

// Stats may be called from any goroutine.
func (r *Revocations) Stats() (s RevokedStats) {
	for i := range r.lists {
		ids, users := r.Entries(i)
		s.IDs, s.Users, s.Current[i] = s.IDs+ids, s.Users+users, r.current[i].Load()
	}
	return s
}
