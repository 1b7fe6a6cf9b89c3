// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"encoding/binary"
	"math"
)

// A key begins with its kind. Numbers are 8 bytes, the highest first, so that keys are in their order; a user stands behind
// one byte with its length, so that those of a user are together.
const (
	// The version of the folder has the kind 0.
	kindAlert       = 1 + iota // ID: the alert.
	kindOfUser                 // User, ID: alerts that are not deleted.
	kindAlive                  // Bucket (a byte), ID: alerts that are active or waiting.
	kindFiring                 // User, number: the firing, and what was asked for.
	kindUser                   // User: its numbers.
	kindUnpublished            // User: its newest number was not published.
	kindKey                    // User, idempotency key: what was made with it.
	kindKeyAt                  // When it was made, user, idempotency key.
	kindPosition               // Bucket (a byte), symbol: up to when it is evaluated.
	kindChange                 // Sequence: the alert that changed last with it, and its bucket.
	kindExpires                // When, ID: alerts that are active or waiting, and end.
	kindDeleted                // When, ID: alerts that are deleted.
	kindCounters               // The newest ID and sequence.
)

const numberSize = 8

func appendNumber(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }

func appendUser(b []byte, user string) []byte { return append(append(b, byte(len(user))), user...) }

// numberKey is the key of a kind with a number.
func numberKey(kind byte, n int64) []byte { return appendNumber([]byte{kind}, n) }

// timeKey is the key of a kind with a time and an ID. Times before 1970 are in the order of their numbers too.
func timeKey(kind byte, at, id int64) []byte {
	return appendNumber(appendNumber([]byte{kind}, at^math.MinInt64), id)
}

// untilKey is behind all keys of a kind whose time is below one.
func untilKey(kind byte, at int64) []byte { return appendNumber([]byte{kind}, at^math.MinInt64) }

// userKey is the key of a kind with a user, to which what follows is to be appended.
func userKey(kind byte, user string) []byte { return appendUser([]byte{kind}, user) }

// bucketKey is the key of a kind with a bucket, to which what follows is to be appended.
func bucketKey(kind byte, bucket int) []byte { return []byte{kind, byte(bucket)} }

func keyKey(user, key string) []byte { return append(userKey(kindKey, user), key...) }

func keyAtKey(at int64, user, key string) []byte {
	return append(appendUser(untilKey(kindKeyAt, at), user), key...)
}

// behind is the lowest key that does not begin with a prefix, of which no kind is 255.
func behind(prefix []byte) []byte {
	b := bytes.Clone(prefix)
	for i := len(b) - 1; ; i-- {
		if b[i]++; b[i] != 0 {
			return b[:i+1]
		}
	}
}

// lastNumber is the number at the end of a key that is of a length.
func lastNumber(key []byte, size int) (int64, bool) {
	if len(key) != size || size < numberSize {
		return 0, false
	}
	n := int64(binary.BigEndian.Uint64(key[size-numberSize:]))
	return n, n > 0
}

// cutUser takes a user from the beginning of what is left of a key.
func cutUser(b []byte) (user string, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], true
}
