// SPDX-License-Identifier: Apache-2.0

package alert

import (
	"context"
	"errors"
)

// Errors of a [Store] that are about what was asked. All others mean that it may work later.
var (
	ErrNone  = errors.New("there is no such alert")
	ErrQuota = errors.New("the user has as many alerts as allowed: delete some")
	ErrKey   = errors.New("this idempotency key was used with something else")
	ErrState = errors.New("the alert has changed meanwhile: read it again")
	ErrNewer = errors.New("it was written by a newer version of this program: use that one, or another place")
)

// Store keeps alerts. Any goroutine may use it; every method is one transaction, and has happened wholly when it returns nil,
// and wholly or not at all when it returns an error. No method changes what it is given.
type Store interface {
	// Create stores an alert of a user, active, armed now for the first time (Arm 1), with an ID above all before. key, if not
	// empty, makes it idempotent for at least a day: the same key of the same user with the same spec returns the alert of the
	// first time as it is now and false, with another spec ErrKey. quota bounds the user's alerts that are active or waiting:
	// ErrQuota.
	Create(ctx context.Context, user, key string, s Spec, side Side, now int64, quota int) (a Alert, created bool, err error)
	// Get returns an alert of a user, ErrNone if there is none, or if it is another's or deleted.
	Get(ctx context.Context, user string, id int64) (Alert, error)
	// List returns alerts by their IDs, those after q.After.
	List(ctx context.Context, q Query) ([]Alert, error)
	// Change sets the spec of an alert and arms it: state Active, Arm one higher, Armed now, the Side that is given. arm is the
	// generation that the caller has read: ErrState if it is another by now. The symbol must be the one it has. Quota as for
	// Create, if it was neither active nor waiting.
	Change(ctx context.Context, user string, id, arm int64, s Spec, side Side, now int64, quota int) (Alert, error)
	// Delete makes an alert deleted: ErrNone if there is none.
	Delete(ctx context.Context, user string, id, now int64) error

	// Fire stores firings (Number and Stored are set by it), each only if its alert is active with the same Arm and had not
	// expired at At; one that expired since, and was active until then, fires too: the store may have been away. Those alerts become fired, or waiting if they repeat, with the firing as their Last; the user's number
	// rises by one for each, without a gap, in the order in which they are given; the user's news is unpublished then. It
	// returns for each whether it was taken. Calling it again with the same is harmless.
	Fire(ctx context.Context, f []Firing, now int64) (taken []bool, err error)
	// Arm makes alerts that are waiting with the Arm of the change active: Arm one higher, Armed as given. For alerts that are
	// active with that Arm and whose Side is unknown it sets the side and nothing else. Others are left alone.
	Arm(ctx context.Context, a []Arming) error
	// Expire makes alerts expired whose time is over: active or waiting, with Expires from 1 to now. At most limit at a time; it
	// returns how many.
	Expire(ctx context.Context, now int64, limit int) (int, error)

	// Firings returns firings of a user with numbers above after, in their order, and the user's newest number.
	Firings(ctx context.Context, user string, after int64, limit int) (f []NewsItem, number int64, err error)
	// Unpublished returns news of users whose newest number was not published, at most limit users, each with its newest firings
	// (at most NewsMax, in the order of their numbers).
	Unpublished(ctx context.Context, limit int) ([]News, error)
	// Published notes that the news of a user up to a number is published. A lower number than before changes nothing.
	Published(ctx context.Context, n []Publication) error

	// Republish makes the news of users unpublished, of those who have any: at most limit users, those behind one. It returns the
	// last of them, and the empty string if there are no more.
	Republish(ctx context.Context, after string, limit int) (last string, err error)

	// Changes returns alerts of buckets that were created, changed, deleted, fired, armed or expired since a mark, in any order,
	// some of them perhaps again, and the mark for the next call. The empty mark is the beginning: then only those that are
	// active or waiting. At most limit alerts come at a time; more holds if there are others. An alert is never left out: what
	// was committed before the call is in this answer or a later one.
	Changes(ctx context.Context, buckets []int, mark string, limit int) (a []Alert, next string, more bool, err error)
	// Positions returns up to when (Unix milliseconds, the end of a closed bar of a second) the symbols of buckets are evaluated.
	Positions(ctx context.Context, buckets []int) (map[string]int64, error)
	// SetPositions raises positions: all firings up to then are stored. A position never falls.
	SetPositions(ctx context.Context, at map[string]int64) error

	// Lease divides the buckets among owners: it renews the leases of owner until now + term, takes ones that nobody holds (any
	// more) up to its even share among the owners that are alive, and gives back ones above that. It returns those that owner
	// holds. Whatever the clocks of owners say, two may believe to hold one for a while: it only divides work.
	Lease(ctx context.Context, owner string, now, term int64) (buckets []int, err error)
	// Release gives back all buckets of an owner.
	Release(ctx context.Context, owner string) error

	// Trim deletes firings beyond the newest keep of each user, alerts that were deleted before a time, and idempotency keys
	// older than that. At most limit rows at a time; it returns how many.
	Trim(ctx context.Context, keep int, before int64, limit int) (int, error)
	Close() error
}

// Buckets is how many parts the symbols are divided into.
const Buckets = 64

// Bucket is the part that a symbol is in (FNV-1a of its bytes, modulo Buckets).
func Bucket(symbol string) int {
	h := uint32(2166136261)
	for i := range len(symbol) {
		h = (h ^ uint32(symbol[i])) * 16777619
	}
	return int(h % Buckets)
}

// Query says which alerts are wanted.
type Query struct {
	User   string // Empty is all users.
	Symbol string // Empty is all symbols.
	Active bool   // Only those that are active or waiting.
	After  int64
	Limit  int
}

// Arming is an alert to be armed anew, or the side of one that waits for a crossing.
type Arming struct {
	Alert int64
	Arm   int64 // The generation that it had.
	At    int64
	Side  Side
}

// NewsMax is how many firings [News] has at most.
const NewsMax = 20

// News is what a user is to be told.
type News struct {
	User   string
	Number int64 // Of the newest firing.
	Fired  []NewsItem
}

// NewsItem is a firing with what the user had asked for then.
type NewsItem struct {
	Firing
	Spec Spec
}

// Publication is that a user has been told.
type Publication struct {
	User   string
	Number int64
}
