// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// What would make a release that nobody else could make is refused, with what to do.
func TestReleaseRefuses(t *testing.T) {
	tree := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		args = append([]string{"-C", tree, "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"}, args...)
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	git("init", "-q")
	write(t, filepath.Join(tree, "CHANGELOG.md"), []byte("# Changelog\n\n## 1.2.3 (2026-01-02)\n"))
	git("add", "CHANGELOG.md")
	git("commit", "-q", "-m", "one")
	find := func(version, toolchain string) error {
		b := &build{version: version, toolchain: toolchain, dir: tree, log: io.Discard}
		return b.findSource(t.Context())
	}
	for _, good := range []string{"v1.2.3", "v2.0.0-rc.1"} {
		if err := find(good, "go1.26.8"); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for version, want := range map[string]string{
		"1.2.3": "want v and a number", "v1.2": "want v and a number", "v1.2.3 -X a=b": "want v and a number", "v1.2.4": "no heading of 1.2.4",
	} {
		if err := find(version, "go1.26.8"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", version, err, want)
		}
	}
	if err := find("v1.2.3", "local"); err == nil || !strings.Contains(err.Error(), "want a toolchain") {
		t.Error(err)
	}
	write(t, filepath.Join(tree, "new"), nil)
	if err := find("v1.2.3", "go1.26.8"); err == nil || !strings.Contains(err.Error(), "in no commit") {
		t.Error(err)
	}
	b := &build{version: "v1.2.3", toolchain: "go1.2.3", dir: tree, log: io.Discard}
	if err := b.release(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "this is "+runtime.Version()) {
		t.Error(err)
	}
	if err := makeEmpty(tree); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Error(err)
	}
	write(t, filepath.Join(tree, "a.crt"), []byte("trust me"))
	if _, err := readCerts(tree); err == nil || !strings.Contains(err.Error(), "want "+certsSum) {
		t.Error(err)
	}
}

func TestPlatforms(t *testing.T) {
	if all, err := parsePlatforms(""); err != nil || len(all) != 4 {
		t.Error(all, err)
	}
	if some, err := parsePlatforms("darwin-arm64,linux-amd64"); err != nil || len(some) != 2 || some[0] != (platform{"darwin", "arm64"}) {
		t.Error(some, err)
	}
	if _, err := parsePlatforms("linux-amd64,plan9-arm"); err == nil || !strings.Contains(err.Error(), `"plan9-arm" is none of [linux-amd64`) {
		t.Error(err)
	}
}

// The order in which files are found, their owners and times are not in an archive.
func TestArchivesHaveNoTimeAndNoOrder(t *testing.T) {
	a, b := entry{name: "a", mode: 0o644, data: []byte("1")}, entry{name: "b/", mode: 0o755}
	var one, two bytes.Buffer
	if err := writeTarGz(&one, []entry{a, b}, 1_700_000_000); err != nil {
		t.Fatal(err)
	}
	if err := writeTarGz(&two, []entry{b, a}, 1_700_000_000); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("the order matters")
	}
	if time := one.Bytes()[4:8]; !bytes.Equal(time, make([]byte, 4)) {
		t.Errorf("the head of gzip has the time %x", time)
	}
	file := filepath.Join(t.TempDir(), "a.tar.gz")
	write(t, file, one.Bytes())
	t.Setenv("TZ", "UTC")
	said, err := output(exec.Command("tar", "--numeric-owner", "-tvzf", file))
	if err != nil || !strings.Contains(said, "-rw-r--r-- 0/0") || !strings.Contains(said, "2023-11-14 22:13 a\n") {
		t.Errorf("%v:\n%s", err, said)
	}
}

// An instruction that is not understood is an error: an image without it would be another one than Docker makes.
func TestDockerfile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Dockerfile")
	args := map[string]string{"VERSION": "1"}
	for text, want := range map[string]string{
		"FROM scratch\nSTOPSIGNAL 9\n":                        "can't have STOPSIGNAL",
		"FROM scratch\nCOPY --from=other /a /b\n":             "come from build",
		"FROM scratch\nCOPY --from=build --chown=1:2 /a /b\n": "the owner is",
		"FROM scratch\nCOPY --from=build --link /a /b\n":      "is not known",
		"FROM scratch\nHEALTHCHECK NONE\n":                    "want CMD",
		"FROM scratch\nARG OTHER\n":                           "no value for OTHER",
		"FROM debian\nSTOPSIGNAL 9\n":                         "no image",
	} {
		write(t, file, []byte(text))
		if _, err := readDockerfile(file, args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	write(t, file, []byte("FROM x AS build\nRUN y\nFROM scratch AS a\n# A comment.\n"+
		"LABEL v=\"$VERSION\" \\\n  w=\"2\"\nUSER 5:5\nFROM scratch\nENTRYPOINT [\"/b\", \"c\"]\n"))
	stages, err := readDockerfile(file, args)
	if err != nil || len(stages) != 2 {
		t.Fatal(stages, err)
	}
	if a, b := stages[0], stages[1]; a.name != "a" || a.config.Labels["v"] != "1" || a.config.Labels["w"] != "2" || a.config.User != "5:5" ||
		b.name != "" || len(b.config.Entrypoint) != 2 || b.config.User != "" {
		t.Errorf("%+v", stages)
	}
}

// A program for another processor, or one that wants libraries of the system, is found.
func TestProgramsThatDoNotFit(t *testing.T) {
	self := read(t, os.Args[0])
	other := platform{host.os, map[string]string{"amd64": "arm64", "arm64": "amd64"}[host.arch]}
	if err := checkProgram(self, other); err == nil || !strings.Contains(err.Error(), "it is for") {
		t.Error(err)
	}
	if shell, err := os.ReadFile("/bin/sh"); err == nil {
		if err := checkProgram(shell, host); err == nil {
			t.Error("a program that is none of Go is taken")
		}
	}
	for text, want := range map[string]string{
		`{}`: "", `{"spdxVersion":"SPDX-2.2"}`: "", `{"more":1}`: "unknown field",
	} {
		if err := checkSBOM([]byte(text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	user := &inspected{platform: host, config: imageConfig{User: "nobody", Entrypoint: []string{"/a"}}}
	for _, name := range []string{"", "0", "root", "nobody", "0:0", "65532:0"} {
		user.config.User = name
		if err := user.check(); err == nil || !strings.Contains(err.Error(), "its user is") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
