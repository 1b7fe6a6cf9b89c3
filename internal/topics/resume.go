// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// A client that comes back is sent what has changed since it was here, or at another edge. What
// it has is said by a token: a time up to which all that was published had reached it.
//
// Once a second the table notes a stamp: the watermark, and the time by which all up to it was
// committed. A token of another edge is turned into the watermark of its time, less a tolerance
// for the difference of the clocks. One of this table has the watermark in it.
//
// A topic can be left out of what the client is sent if its row is no newer than that, and if
// nothing can have been missed of it since, see [Table.settle]. What is not known is sent: a
// repetition is harmless, and an omission is not.

// Clock tells two times in milliseconds: that of the host in Unix milliseconds, which may step,
// and another that never does.
type Clock func() (wall, steady int64)

const (
	// stampsKept is how many stamps are kept: a quarter of an hour of them.
	stampsKept = 900
	// stepMin is by how much the time of the host has to differ from what it should be, a second
	// or so after it was looked at last, to have been set.
	stepMin = 100
	// distrust is for how long after such a step the time of the host is not taken for that of
	// other edges, in milliseconds: a step that was a mistake is taken back by then.
	distrust = 15 * 60 * 1000
)

// ResumeToleranceMax bounds Config.ResumeTolerance. Whose clocks differ by more has none.
const ResumeToleranceMax = time.Minute

// When a topic was settled is the number of the next stamp, or one of these.
const (
	unsettled = math.MaxUint32 - iota // Its source may miss ticks of it, until it has fetched the value.
	disputed                          // The same, and a client that has resumed may have one that was missed.
	blind                             // The source has no value to fetch, and may have missed a tick.
	stampMax
)

// stamps is the part of a table for who resumes.
type stamps struct {
	taken     atomic.Uint32         // The number of the newest stamp, from 1.
	offer     atomic.Pointer[Offer] // Nil if there is none.
	resumed   atomic.Bool           // Somebody has resumed since the last stamp.
	skew      atomic.Int64          // Of the host's clock from the steady one, as of the newest stamp.
	resumedBy atomic.Int64          // Everybody who has resumed before the last stamp had by this steady time.

	mu      sync.Mutex
	epoch   uint64
	ring    [stampsKept]stamp
	first   uint32 // The oldest stamp since the last step of the clock.
	wall    int64  // When the newest was taken,
	steady  int64  // by both clocks.
	trusted int64  // The steady time from which on the clock of the host is trusted.
	heard   int64  // All that was published before this time of the host is known here, but of topics in doubt.
}

// stamp says that all up to seq was committed before at, in Unix milliseconds.
type stamp struct {
	at  int64
	seq uint64
}

// Offer is a token, and what a cursor has to be served up to before its client may have it.
type Offer struct {
	Token string
	Seq   uint64
	ID    uint32 // No two that follow each other have the same.
}

// NoToken is one that no table redeems. It takes the place of those that a client has, where it is
// sent rows that may be older than what these stand for.
const NoToken = "-"

// Since is what a token stands for.
type Since struct {
	seq   uint64
	stamp uint32
	state since
}

// since says how the rows of a table compare with a token that it redeems.
type since uint8

const (
	behind since = iota // They may be older: what the token stands for may not all be known here yet.
	ahead               // They are as new or newer, but of topics in doubt.
	own                 // They are as new or newer, as the token is of this table.
)

// Heard notes up to when, by the steady clock of [Table.Stamp], a source has told all that was
// published. 0 is not known. It is to be called before the stamp that goes by it.
func (t *Table) Heard(source int, until int64) {
	s := &t.sources[source]
	s.unsure = until == 0
	if !s.unsure {
		s.heard.Store(until)
	}
}

// Stamp notes the watermark and the time, and makes the token that clients may have from now on,
// if all sources are up. It is to be called about once a second, by the caller of [Table.Heard]:
// what comes later is older than need be, and no harm.
func (t *Table) Stamp(clock Clock) {
	st := &t.stamps
	heard, current := int64(math.MaxInt64), true
	for i := range t.sources {
		s := &t.sources[i]
		current = current && !s.unsure && s.feed.Load().Up
		heard = min(heard, s.heard.Load())
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	// First: what is settled from here on is settled before the stamp after this one.
	number := st.taken.Add(1)
	if st.resumed.Load() {
		st.resumedBy.Store(math.MaxInt64) // Whoever resumes now has done so by the time that follows.
		st.resumed.Store(false)
	}
	seq := t.watermark.Load()
	wall, steady := clock() // Last: what is committed up to seq was committed before.
	if st.resumedBy.Load() == math.MaxInt64 {
		st.resumedBy.Store(steady + 1)
	}
	if step := wall - st.wall - (steady - st.steady); st.first == 0 || step > stepMin || step < -stepMin {
		if st.first != 0 {
			st.trusted = steady + distrust
		}
		st.first, st.epoch, st.heard = number, rand.Uint64(), 0
		st.offer.Store(nil)
	}
	st.wall, st.steady = wall, steady
	st.skew.Store(wall - steady)
	st.ring[number%stampsKept] = stamp{wall + 1, seq} // What is cut off from a time counts as passed.
	if current {
		st.heard = wall - (steady - heard) - 1
		st.offer.Store(&Offer{st.token(st.heard, seq, number, steady < st.trusted), seq, number})
	}
}

// Offer is the token that clients may have now, nil if there is none. It stays the same while a
// source is down.
func (t *Table) Offer() *Offer { return t.stamps.offer.Load() }

// A token is these bytes, in base64url: a version, with a bit for those that are good for this
// table alone; the epoch; the time, in Unix milliseconds; the watermark, and the number of its
// stamp. Who makes one up deceives itself alone.
const (
	tokenVersion = 1
	tokenLocal   = 0x80
	tokenSize    = 1 + 8 + 8 + 8 + 4
)

// TokenMax bounds a token, in bytes.
const TokenMax = 48

const _ = uint(TokenMax - (tokenSize*8+5)/6)

func (st *stamps) token(at int64, seq uint64, number uint32, local bool) string {
	b := make([]byte, 1, tokenSize)
	if b[0] = tokenVersion; local {
		b[0] |= tokenLocal
	}
	b = binary.BigEndian.AppendUint64(b, st.epoch)
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = binary.BigEndian.AppendUint64(b, seq)
	b = binary.BigEndian.AppendUint32(b, number)
	return base64.RawURLEncoding.EncodeToString(b)
}

// Redeem says what a client has that brings a token, up to which it has been sent all. It is
// false for one that is malformed, too old, of the future or of a time whose clock is not
// trusted, and while a source is down: then the client is sent all rows.
func (t *Table) Redeem(token []byte) (since Since, ok bool) {
	var b [tokenSize]byte
	if len(token) != base64.RawURLEncoding.EncodedLen(tokenSize) {
		return since, false
	}
	if _, err := base64.RawURLEncoding.Strict().Decode(b[:], token); err != nil || b[0]&^tokenLocal != tokenVersion {
		return since, false
	}
	epoch, at := binary.BigEndian.Uint64(b[1:]), int64(binary.BigEndian.Uint64(b[9:]))
	since = Since{binary.BigEndian.Uint64(b[17:]), binary.BigEndian.Uint32(b[25:]), own}
	st := &t.stamps
	if !st.resumed.Load() {
		st.resumed.Store(true) // Before the sources are looked at, see disputes.
	}
	for i := range t.sources {
		if !t.sources[i].feed.Load().Up {
			return Since{}, false
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if epoch == st.epoch {
		if !st.kept(since.stamp) || since.seq != st.ring[since.stamp%stampsKept].seq {
			return Since{}, false
		}
		return since, true
	}
	if b[0]&tokenLocal != 0 || st.steady < st.trusted {
		return Since{}, false
	}
	return st.find(at, t.cfg.ResumeTolerance.Milliseconds())
}

// kept reports whether a stamp is among those that are kept. The caller holds st.mu.
func (st *stamps) kept(number uint32) bool {
	newest := st.taken.Load()
	return number >= st.first && st.first > 0 && number <= newest && newest-number < stampsKept
}

// find returns the newest stamp whose time was over for sure when it was at for another edge,
// whose clock may differ by a tolerance. The caller holds st.mu.
func (st *stamps) find(at, tolerance int64) (since Since, ok bool) {
	if at < 0 || at > st.wall+tolerance {
		return since, false
	}
	for number := st.taken.Load(); st.kept(number); number-- {
		if s := st.ring[number%stampsKept]; s.at <= at-tolerance {
			if since = (Since{s.seq, number, behind}); at+tolerance <= st.heard {
				since.state = ahead
			}
			return since, true
		}
	}
	return since, false
}

// Has reports whether who has all since then has the newest row of a topic that has one. The
// caller must hold the id.
func (t *Table) Has(id ID, since Since) bool {
	settled := t.settled(id).Load()
	seq := t.Seq(id)
	return seq > 0 && seq <= since.seq && settled <= since.stamp
}

// Settled reports whether who is served up to an offer has all that was published of a topic up to
// the time of its token. The caller must hold the id.
func (t *Table) Settled(id ID, o *Offer) bool {
	if t.settled(id).Load() > o.ID {
		return false
	}
	at, why := t.StaleFor(id)
	return (at == 0 || why == Silent) && !t.Withdrawn(id)
}

// Precedes reports whether a row of a topic, as it is sent now, may be older than what a token
// stands for that the client has: one that it brings, or has been given on this connection. Topics
// without a row have one that is newer, when it comes. The caller must hold the id.
func (t *Table) Precedes(id ID, since Since) bool {
	if since.state == own || t.Row(id) == nil {
		return false
	}
	at, why := t.StaleFor(id)
	return since.state == behind || t.settled(id).Load() >= stampMax || at != 0 && why != Silent
}

// Given is for tokens that were given on this connection.
func Given() Since { return Since{state: ahead} }

// Ahead reports whether the rows of the table are as new as what the token stands for, but of
// topics in doubt.
func (s Since) Ahead() bool { return s.state != behind }

// Fresh is what the token says of topics of which the client had no row.
func (s Since) Fresh() Since {
	s.state = min(s.state, ahead)
	return s
}

func (t *Table) settled(id ID) *atomic.Uint32 {
	return t.shards[id&shardMask].settled(uint32(id >> shardBits))
}

func (s *shard) settled(local uint32) *atomic.Uint32 {
	return &s.chunks[local>>chunkBits].Load().settled[local&chunkMask]
}

// settle notes that from now on every tick of a topic is taken, until Doubt: its source hears it,
// and has read the newest value since. The caller holds the shard's lock.
func (t *Table) settle(s *shard, local uint32) {
	s.settled(local).Store(min(t.stamps.taken.Load()+1, stampMax-1))
}

// Doubt notes that ticks of a topic may be missed from now on, or may have been since its source
// was heard last: until its value is fetched, or there is none.
func (t *Table) Doubt(name string) {
	s := t.shardOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	local, ok := s.ids[name]
	if !ok {
		return
	}
	settled := s.settled(local)
	if settled.Load() == disputed {
		return
	}
	settled.Store(unsettled) // Before it is known who has resumed, see disputes.
	if t.disputes(&t.sources[t.sourceOf(name)]) {
		settled.Store(disputed)
	}
}

// disputes reports whether a client that has resumed may have a value that was published since a
// source was heard last. If the source missed that, and the value before it came again, then
// the client is to be sent what the table had all the time.
//
// Whoever resumes says so before it looks at a source and at topics, and whoever calls this has
// changed these before: one of both sees the other.
func (t *Table) disputes(s *source) bool {
	return t.stamps.resumed.Load() || s.heard.Load() < t.stamps.resumedBy.Load()
}

func (c Config) checkTolerance() error {
	if c.ResumeTolerance < 0 || c.ResumeTolerance > ResumeToleranceMax {
		return fmt.Errorf("ResumeTolerance is %v, want 0s to %v", c.ResumeTolerance, ResumeToleranceMax)
	}
	return nil
}
