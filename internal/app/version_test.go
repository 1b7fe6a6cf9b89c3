// SPDX-License-Identifier: Apache-2.0

package app

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	stamped := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}, Settings: settings}
	}
	git := []debug.BuildSetting{{Key: "vcs.revision", Value: "19fb187"}, {Key: "vcs.time", Value: "2026-11-27T07:00:00Z"}, {Key: "vcs.modified", Value: "false"}}
	changed := append([]debug.BuildSetting{{Key: "vcs.modified", Value: "true"}}, git[:2]...)
	for name, c := range map[string]struct {
		info            *debug.BuildInfo
		version, commit string
		want            Version
	}{
		"no build info":     {nil, "", "", Version{release, "unknown", "", ""}},
		"a copy":            {stamped("(devel)"), "", "", Version{release, "unknown", "", ""}},
		"git":               {stamped("v0.0.0-20261127070000-19fb187+dirty", changed...), "", "", Version{release, "19fb187-modified", "2026-11-27T07:00:00Z", ""}},
		"git with tags":     {stamped("v0.9.1-0.20261127070000-19fb187", git...), "", "", Version{"0.9.1-0.20261127070000-19fb187", "19fb187", "2026-11-27T07:00:00Z", ""}},
		"a tag":             {stamped("v1.2.3", git...), "", "", Version{"1.2.3", "19fb187", "2026-11-27T07:00:00Z", ""}},
		"a release":         {stamped("(devel)"), "v1.2.4", "abc", Version{"1.2.4", "abc", "", ""}},
		"a release and git": {stamped("v1.2.3", changed...), "1.2.4", "abc", Version{"1.2.4", "abc", "2026-11-27T07:00:00Z", ""}},
	} {
		c.want.Go = runtime.Version()
		if got := versionOf(c.info, c.version, c.commit); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	if text := (Version{Version: "1.2.3", Commit: "abc", Go: "go1.26"}).String(); text != "1.2.3, commit abc, go1.26 "+runtime.GOOS+"/"+runtime.GOARCH {
		t.Error(text)
	}
}

// The newest release of the changelog is the one that builds without git say that they are.
func TestReleaseIsThatOfTheChangelog(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "CHANGELOG.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^## (\d+\.\d+\.\d+) `).FindStringSubmatch(string(text))
	if m == nil || m[1] != release {
		t.Errorf("the newest release of CHANGELOG.md is %q, and the constant is %s", m, release)
	}
	if !strings.Contains(string(text), "\n## Unreleased\n") {
		t.Error("CHANGELOG.md has no place for what comes next")
	}
}
