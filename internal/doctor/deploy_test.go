// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// settings reads the keys of the shipped sysctl file, those included that are only
// proposed, as #key = value.
func settings(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/sysctl.d/60-tickedge.conf")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "# ") || line == "#" || line == "" {
			continue // A comment in words.
		}
		key, value, ok := strings.Cut(line, "=")
		key = strings.TrimLeft(strings.TrimSpace(key), "#-")
		if !ok || strings.ContainsAny(key, " \t") {
			t.Fatalf("%q is no setting", line)
		}
		if _, twice := out[key]; twice {
			t.Errorf("%s is there twice", key)
		}
		out[key] = strings.TrimSpace(value)
	}
	return out
}

func TestSysctlFileIsExplainedAndKnown(t *testing.T) {
	guide, err := os.ReadFile("../../docs/TUNING.md")
	if err != nil {
		t.Fatal(err)
	}
	have := settings(t)
	if len(have) < 8 {
		t.Errorf("only %d settings", len(have))
	}
	for key := range have {
		if !strings.Contains(string(guide), "`"+key+"`") {
			t.Errorf("%s is not explained in docs/TUNING.md", key)
		}
		if !slices.Contains(Sysctls, key) {
			t.Errorf("the doctor does not know %s", key)
		}
	}
	for _, key := range Sysctls {
		if !strings.Contains(string(guide), "`"+key+"`") {
			t.Errorf("the doctor knows %s, and docs/TUNING.md does not explain it", key)
		}
	}
}

// A host with the shipped settings, and memory for it, holds a million connections and
// gets no advice about settings.
func TestSysctlFileIsEnoughForAMillion(t *testing.T) {
	root := whole()
	for key, value := range settings(t) {
		root[path(key)].Data = []byte(value + "\n")
	}
	h := ReadHost(root)
	h.FilesHard, h.MemTotal, h.MemAvailable, h.CPUs = 1_048_576, 24*gib, 22*gib, 64
	h.Cgroup = big().Cgroup
	g := goal(1_000_000)
	r := Assess(h, g)
	if !r.Enough || len(r.Advice) > 0 || len(h.Unread) > 0 {
		t.Errorf("holds %d, unread %q, advice %+v", r.Holds, h.Unread, r.Advice)
	}
}
