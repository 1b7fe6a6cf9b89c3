// SPDX-License-Identifier: Apache-2.0

package app

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// release is the newest one of CHANGELOG.md, which a test compares. It stands for builds that
// know no better: of a copy without git, or of a repository without tags.
const release = "0.9.0"

// What a build can say of itself, where there is no git:
//
//	go build -ldflags "-X tickedge/internal/app.version=0.9.1 -X tickedge/internal/app.commit=19fb187"
var version, commit string

// Version says which program runs.
type Version struct {
	Version string `json:"version"` // By semantic versioning.
	Commit  string `json:"commit"`  // Ends in -modified if the sources were not those of the commit.
	Time    string `json:"time,omitempty"`
	Go      string `json:"go"`
}

// BuildVersion is the version of this program.
func BuildVersion() Version {
	info, _ := debug.ReadBuildInfo()
	return versionOf(info, version, commit)
}

// versionOf takes what was said at build time before what Go has noted by itself.
func versionOf(info *debug.BuildInfo, version, commit string) Version {
	noted, settings := "", map[string]string{}
	if info != nil {
		// Without a tag Go notes v0.0.0 and the commit.
		if noted = info.Main.Version; noted == "(devel)" || strings.HasPrefix(noted, "v0.0.0-") {
			noted = ""
		}
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
	}
	v := Version{
		Version: strings.TrimPrefix(cmp.Or(version, noted, release), "v"),
		Commit:  cmp.Or(commit, settings["vcs.revision"], "unknown"),
		Time:    settings["vcs.time"],
		Go:      runtime.Version(),
	}
	if commit == "" && settings["vcs.modified"] == "true" {
		v.Commit += "-modified"
	}
	return v
}

// String is what -version prints behind the name of the program.
func (v Version) String() string {
	return fmt.Sprintf("%s, commit %s, %s %s/%s", v.Version, v.Commit, v.Go, runtime.GOOS, runtime.GOARCH)
}
