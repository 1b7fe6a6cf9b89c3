// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// slotCount is how many slots a Redis Cluster has.
const slotCount = 16384

// slotOf is the slot of a key or channel (Redis Cluster specification, "Key distribution
// model"): CRC16 of its hash tag, in its variant XMODEM.
func slotOf(name string) uint16 {
	var crc uint16
	tag := hashTag(name)
	for i := range len(tag) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^tag[i]]
	}
	return crc % slotCount
}

// hashTag is the part of a name that decides about its slot: what is in the first
// braces, if there is anything, else all of it.
func hashTag(name string) string {
	if _, rest, ok := strings.Cut(name, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			return tag
		}
	}
	return name
}

var crcTable = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return table
}()

// isMisplaced reports whether an error says that a node of a cluster does not serve a
// slot, or not for now.
func isMisplaced(err error) bool {
	return goredis.HasErrorPrefix(err, "ASK ") || isMoved(err) || goredis.IsTryAgainError(err) || goredis.IsClusterDownError(err)
}

// slotIn is the slot that an error is about, if it says so: MOVED 3999 127.0.0.1:6381.
func slotIn(err error) (slot uint16, given bool) {
	words := strings.Fields(err.Error())
	if len(words) < 2 {
		return 0, false
	}
	n, err := strconv.ParseUint(words[1], 10, 16)
	return uint16(n), err == nil
}
