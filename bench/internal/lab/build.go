//go:build linux

package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// binDir is where programs are built to, in the source tree, so that the next run
// only builds what has changed. git ignores it.
const binDir = "bin/lab"

// moduleRoot is the source tree that the current directory belongs to.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("lab: go env: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	text, err := os.ReadFile(mod)
	if mod == "" || err != nil || !strings.HasPrefix(string(text), "module tickedge\n") {
		return "", fmt.Errorf("lab: not in the source tree, from which the programs are built: change into it")
	}
	return filepath.Dir(mod), nil
}

// Use makes Build return a program that is there already, in place of the one in a
// directory of the source tree.
func (l *Lab) Use(dir, path string) {
	if l.given == nil {
		l.given = map[string]string{}
	}
	l.given[dir] = path
}

// Build builds the program in a directory of the source tree and returns its path. A
// directory without Go files is built by the C compiler from the *.c in it.
func (l *Lab) Build(dir string) (string, error) {
	if path, ok := l.given[dir]; ok {
		return path, nil
	}
	out := filepath.Join(l.Root, binDir, strings.ReplaceAll(strings.TrimPrefix(dir, "bench/"), "/", "-"))
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return "", fmt.Errorf("lab: build %s: %w", dir, err)
	}
	sources, err := filepath.Glob(filepath.Join(l.Root, dir, "*.go"))
	if err != nil {
		return "", fmt.Errorf("lab: build %s: %w", dir, err)
	}
	args := []string{"go", "build", "-trimpath", "-o", out, "./" + dir}
	if len(sources) == 0 {
		if sources, _ = filepath.Glob(filepath.Join(l.Root, dir, "*.c")); len(sources) == 0 {
			return "", fmt.Errorf("lab: build %s: there is no program in it", dir)
		}
		args = append([]string{"cc", "-O2", "-o", out}, sources...)
	}
	cmd := exec.CommandContext(l.ctx, args[0], args[1:]...)
	cmd.Dir = l.Root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("lab: build %s: %w\n%s", dir, err, text)
	}
	return out, nil
}

// Has reports whether there is a program in a directory of the source tree.
func (l *Lab) Has(dir string) bool {
	for _, pattern := range []string{"*.go", "*.c"} {
		if found, _ := filepath.Glob(filepath.Join(l.Root, dir, pattern)); len(found) > 0 {
			return true
		}
	}
	return false
}
