// SPDX-License-Identifier: Apache-2.0

package backoffice

import (
	"strings"
	"testing"

	"tickedge/internal/broker"
)

// What the broker does not take is answered at once, with why.
func TestPublishDenied(t *testing.T) {
	d := serve(t)
	for fate, want := range map[broker.Fate]string{
		broker.Forbidden: "the broker does not take this topic: its user may not publish it",
		broker.Unserved:  "the broker does not take this topic: it has no place for it",
		broker.TooLarge:  "the broker does not take it: the value is longer than it takes",
	} {
		d.edge.fate = fate
		if res, body := d.do("POST", "/publish", "application/json", `{"topic":"A","value":{"p":1}}`); res.StatusCode != 422 || !strings.Contains(body, want) {
			t.Errorf("%d %s", res.StatusCode, body)
		}
		_, got := d.do("POST", "/publish", "application/x-ndjson", `{"topic":"A","value":{"p":1},"ver":1}`)
		if got != `{"topic":"A","ver":1,"result":"denied","error":"`+want+"\"}\n" {
			t.Errorf("%s", got)
		}
	}
	if d.log.Count("denied=1") != 3 {
		t.Error("the audit does not count lines")
	}
}
