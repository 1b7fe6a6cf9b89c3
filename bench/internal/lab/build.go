// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	// binDir is where programs are built to, in the source tree, so that the next run
	// only builds what has changed. git ignores it.
	binDir = "bin/lab"
	// benchDir is the directory of bench, which is a module of its own.
	benchDir = "bench"
)

// sourceRoot is the source tree that the current directory belongs to, be it in the
// product's module or in bench's.
func sourceRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("lab: go env: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	text, _ := os.ReadFile(mod) // Without a module there is none, and the path is empty.
	switch line, _, _ := strings.Cut(string(text), "\n"); line {
	case "module tickedge":
		return filepath.Dir(mod), nil
	case "module tickedge/" + benchDir:
		return filepath.Dir(filepath.Dir(mod)), nil
	}
	return "", fmt.Errorf("lab: not in the source tree, from which the programs are built: change into it")
}

// Use makes Build return a program that is there already, in place of the one in a
// directory of the source tree. With an empty path it is that one again.
func (l *Lab) Use(dir, path string) {
	if path == "" {
		delete(l.given, dir)
		return
	}
	if l.given == nil {
		l.given = map[string]string{}
	}
	l.given[dir] = path
}

// Build builds the program in a directory of the source tree and returns its path.
func (l *Lab) Build(dir string) (string, error) {
	if path, ok := l.given[dir]; ok {
		return path, nil
	}
	out := filepath.Join(l.Root, binDir, strings.ReplaceAll(strings.TrimPrefix(dir, benchDir+"/"), "/", "-"))
	cmd := exec.CommandContext(l.ctx, "go", "build", "-trimpath", "-o", out, ".")
	cmd.Dir = filepath.Join(l.Root, dir) // The module that it is in decides on versions.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("lab: build %s: %w\n%s", dir, err, text)
	}
	return out, nil
}

// BuildAt builds the program in a directory as it was in a commit, and returns its path, in the run's
// directory.
func (l *Lab) BuildAt(commit, dir string) (string, error) {
	fail := func(err error, text []byte) (string, error) {
		return "", fmt.Errorf("lab: build %s of %s: %w\n%s", dir, commit, err, text)
	}
	tree := l.Path("tree-" + commit)
	if err := os.MkdirAll(tree, 0o755); err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	git := exec.CommandContext(l.ctx, "git", "archive", "--output", l.Path(commit+".tar"), commit)
	git.Dir = l.Root
	if text, err := git.CombinedOutput(); err != nil {
		return fail(err, text)
	}
	if text, err := exec.CommandContext(l.ctx, "tar", "-xf", l.Path(commit+".tar"), "-C", tree).CombinedOutput(); err != nil {
		return fail(err, text)
	}
	of := &Lab{Dir: l.Dir, Root: tree, ctx: l.ctx}
	return of.Build(dir)
}
