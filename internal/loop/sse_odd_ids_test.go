// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"strings"
	"testing"
)

// An id that is no token of an edge brings all rows, and of several fields the first counts.
func TestOddLastEventIDsDoNotResume(t *testing.T) {
	e, token := resumable(t)
	const name = "Last-Event-ID: "
	for _, c := range []struct {
		fields        []string
		resumed, rows string
	}{
		{[]string{"Last-Event-ID:"}, "false", "AB"},
		{[]string{name + "\xff\xfe"}, "false", "AB"},
		{[]string{name + "币安"}, "false", "AB"},
		{[]string{name + token + " " + token}, "false", "AB"},
		{[]string{name + token + "\t" + token}, "false", "AB"},
		{[]string{name + token + "x"}, "false", "AB"},
		{[]string{name + token[1:]}, "false", "AB"},
		{[]string{name + strings.Repeat(token, 100)}, "false", "AB"},
		{[]string{name + " " + token + " "}, "true", "B"}, // Blanks around are not of the value (RFC 9110, 5.5).
		{[]string{name + token, "last-event-id: x"}, "true", "B"},
		{[]string{name + "x", name + token}, "false", "AB"},
		{[]string{"Last-Event-ID:", name + token}, "false", "AB"},
	} {
		_, _, r := e.follow("?topics=A,B", c.fields...)
		r.want("hello")
		ack := r.want("ack")
		if rows := resumedRows(t, ack, r.want("snapshot"), c.resumed); rows != c.rows {
			t.Errorf("%q: rows %s, want %s", c.fields, rows, c.rows)
		}
	}
}
