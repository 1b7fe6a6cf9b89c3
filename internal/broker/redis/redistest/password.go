// SPDX-License-Identifier: Apache-2.0

package redistest

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Password returns a password of any printable characters, and parts of it that are in no text of
// ours by chance.
func Password(random *rand.Rand) (password string, parts []string) {
	for range 1 + random.IntN(4) {
		part := make([]byte, 6)
		for i := range part {
			part[i] = "BCDFGHJKLMNPQRSTVWXZ"[random.IntN(20)]
		}
		parts = append(parts, string(part))
		password += string(part)
		for range random.IntN(4) {
			password += string(rune(' ' + random.IntN(0x7f-' ')))
		}
		if random.IntN(8) == 0 {
			password += "é€\u2028"
		}
	}
	return password, parts
}

// Percent writes a password as it stands in a URL, with all but letters and digits as %XX.
func Percent(password string) string {
	var b strings.Builder
	for _, c := range []byte(password) {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}
