// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

func TestTextIsAsInTheFile(t *testing.T) {
	small := big()
	small.CPUs, small.FilesHard, small.Somaxconn = 2, 20_000, 128
	small.Cgroup.Memory, small.Cgroup.Version = 512*mib, 2
	small.Unread = []string{"/proc/sys/fs/nr_open: not there"}
	small.NrOpen = Unknown
	for name, r := range map[string]Report{
		"small.txt": Assess(small, goal(100_000)),
		"big.txt":   Assess(big(), goal(0)),
	} {
		var b strings.Builder
		if err := r.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if b.String() != string(want) {
			t.Errorf("%s is now (-update if that is right):\n%s", name, b.String())
		}
	}
}

func TestCountAndBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 19672: "19,672", 1048576: "1,048,576", -1000: "-1,000"} {
		if have := Count(n); have != want {
			t.Errorf("count(%d) is %s, want %s", n, have, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1 << 20: "1 MiB", 3 << 29: "1.5 GiB"} {
		if have := Bytes(n); have != want {
			t.Errorf("bytes(%d) is %s, want %s", n, have, want)
		}
	}
}

func TestJSONSaysWhatIsUnknown(t *testing.T) {
	out, err := json.Marshal([]Amount{Unknown, 0, 7, Unlimited})
	if err != nil || string(out) != `[null,0,7,"unlimited"]` {
		t.Errorf("%s, %v", out, err)
	}
}
