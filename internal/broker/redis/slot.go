package redis

import "strings"

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
