// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"flag"
	"os"
	"testing"
)

// TestMain has more tests run at a time than there are processors: they wait, most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = flag.Set("test.parallel", "16")
	}
	os.Exit(m.Run())
}
