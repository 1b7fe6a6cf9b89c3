// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"strings"
	"testing"
)

func TestReasons(t *testing.T) {
	labels := map[string]bool{}
	for r := Reason(1); r < Reasons; r++ {
		if r.Error() == "" || r.Label() == "" || labels[r.Label()] {
			t.Errorf("reason %d: text %q, label %q", r, r.Error(), r.Label())
		}
		labels[r.Label()] = true
		for _, c := range r.Error() { // RFC 6750, 3.
			if c < ' ' || c > '~' || c == '"' || c == '\\' {
				t.Errorf("%s: %q may not be in an error_description", r.Label(), c)
			}
		}
		// A close frame has room for 123 bytes of reason (RFC 6455, 5.5).
		if len(r.Error()) > 123 {
			t.Errorf("%s: %d bytes", r.Label(), len(r.Error()))
		}
		field, lines, status := "WWW-Authenticate: Bearer", 1, 401
		switch r {
		case NotReady, KeysPending:
			field, lines, status = "", 0, 503
		case TooManyWrong:
			field, status = "Retry-After: ", 429
		}
		if h := r.Header(); !strings.HasPrefix(h, field) || strings.Count(h, "\r\n") != lines || h != "" && !strings.HasSuffix(h, "\r\n") || r.Status() != status {
			t.Errorf("%s: %d, %q", r.Label(), r.Status(), h)
		}
	}
	// RFC 6750, 3.1: no error code for who has shown nothing.
	if h := Missing.Header(); h != "WWW-Authenticate: Bearer\r\n" {
		t.Error(h)
	}
}
