// SPDX-License-Identifier: Apache-2.0

package httphead_test

import (
	"os"
	"regexp"
	"testing"

	"tickedge/internal/httphead"
	"tickedge/internal/protocol"
)

// The table of docs/PROTOCOL.md that shows names in a URL is right.
func TestNamesInAURLAreAsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	table := regexp.MustCompile("(?s)\\n\\| name \\| in `\\?topics=` \\|\n(.*?)\n\n").FindSubmatch(text)
	if table == nil {
		t.Fatal("there is no table of names in a URL")
	}
	rows := regexp.MustCompile("(?m)^\\| `(\\S+)` \\| `(\\S+)`").FindAllSubmatch(table[1], -1)
	if len(rows) < 8 {
		t.Fatalf("the table has %d names", len(rows))
	}
	for _, row := range rows {
		name, encoded := string(row[1]), string(row[2])
		req := httphead.Request{Query: []byte("topics=A," + encoded + "%2CB&interval=500")}
		q, r := req.ParseQuery(protocol.ValidInterval)
		if r != nil || len(q.Topics) != 3 || string(q.Topics[1]) != name || q.Interval != 500 {
			t.Errorf("%s in a URL is %q (%+v)", name, q.Topics, r)
		}
	}
}
