// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// systemctl is a stand-in: which units run are files of a folder, and what it was asked for is a line each.
const systemctl = `#!/bin/sh
cd "$(dirname "$0")"
case $1 in
is-active) [ -e "runs.$3" ] ;;
start) echo "$*" >>calls; [ ! -e hangs ] || sleep 600; [ ! -e fails ] && touch "runs.$2" ;;
stop) echo "$*" >>calls; rm -f "runs.$2" ;;
status) ;;
*) echo "$*" >>calls ;;
esac
`

// upgradeHost is a host with units, as deploy/upgrade/upgrade sees it.
type upgradeHost struct {
	t   *testing.T
	dir string
}

func newUpgradeHost(t *testing.T, running ...string) *upgradeHost {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("upgrade is for Linux")
	}
	h := &upgradeHost{t, t.TempDir()}
	h.write("systemctl", systemctl)
	h.program("edge", "1")
	h.program("new", "2")
	for _, unit := range running {
		h.write("runs.tickedge@"+unit, "")
	}
	return h
}

func (h *upgradeHost) path(name string) string { return filepath.Join(h.dir, name) }

func (h *upgradeHost) write(name, text string) {
	h.t.Helper()
	if err := os.WriteFile(h.path(name), []byte(text), 0o755); err != nil {
		h.t.Fatal(err)
	}
}

// program writes an edge that has a version and can do no more.
func (h *upgradeHost) program(name, version string) {
	h.t.Helper()
	h.write(name, "#!/bin/sh\necho edge "+version+"\n")
}

// version is that of a program, empty if there is none.
func (h *upgradeHost) version(name string) string {
	out, _ := exec.Command(h.path(name)).Output()
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "edge ")
}

// upgrade runs the script, and returns what it asked systemctl for.
func (h *upgradeHost) upgrade(args ...string) (code int, calls, said string) {
	h.t.Helper()
	_ = os.Remove(h.path("calls"))
	c := exec.Command(filepath.Join("..", "..", "..", "deploy", "upgrade", "upgrade"), args...)
	c.Env = append(os.Environ(), "BIN="+h.path("edge"), "SYSTEMCTL="+h.path("systemctl"), "LOCK="+h.path("lock"), "READY=1")
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	text, _ := os.ReadFile(h.path("calls"))
	return c.ProcessState.ExitCode(), strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", ", "), string(out)
}

// An upgrade starts the other unit, and stops the old one when the new one is ready; and it can be taken back.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	h := newUpgradeHost(t, "a")
	code, calls, said := h.upgrade(h.path("new"))
	if code != 0 || calls != "start tickedge@b, stop tickedge@a, disable --quiet tickedge@a, enable --quiet tickedge@b" {
		t.Errorf("code %d, %s:\n%s", code, calls, said)
	}
	if h.version("edge") != "2" || h.version("edge.before") != "1" {
		t.Errorf("versions %s and %s", h.version("edge"), h.version("edge.before"))
	}
	code, calls, said = h.upgrade("-back")
	if code != 0 || !strings.HasPrefix(calls, "start tickedge@a, stop tickedge@b,") || h.version("edge") != "1" || h.version("edge.before") != "2" {
		t.Errorf("back: code %d, %s, versions %s and %s:\n%s", code, calls, h.version("edge"), h.version("edge.before"), said)
	}
	code, calls, said = h.upgrade()
	if code != 0 || !strings.HasPrefix(calls, "start tickedge@b, stop tickedge@a,") || h.version("edge") != "1" || h.version("edge.before") != "2" {
		t.Errorf("the same again: code %d, %s:\n%s", code, calls, said)
	}
}

// Where the new edge fails, or does not get ready, the old one goes on, and the next start of it has its own program.
func TestUpgradeThatFails(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"fails", "hangs"} {
		h := newUpgradeHost(t, "b")
		h.write(how, "")
		code, calls, said := h.upgrade(h.path("new"))
		if code != 1 || calls != "start tickedge@a, stop tickedge@a" || !strings.Contains(said, "tickedge@b goes on") {
			t.Errorf("%s: code %d, %s:\n%s", how, code, calls, said)
		}
		if h.version("edge") != "1" {
			t.Errorf("%s: the program is %s", how, h.version("edge"))
		}
	}
}

// Where it is not clear what is to be done, nothing is.
func TestUpgradeRefuses(t *testing.T) {
	t.Parallel()
	broken := func(h *upgradeHost) { h.write("new", "#!/bin/sh\nexit 126\n") }
	locked := func(h *upgradeHost) {
		f, err := os.Create(h.path("lock"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
			t.Fatal(err)
		}
	}
	for want, c := range map[string]struct {
		running []string
		args    []string
		before  func(*upgradeHost)
	}{
		"neither tickedge@a nor tickedge@b runs": {nil, []string{"new"}, nil},
		"both tickedge@a and tickedge@b run":     {[]string{"a", "b"}, []string{"new"}, nil},
		"is no program":                          {[]string{"a"}, []string{"missing"}, nil},
		"nothing was upgraded yet":               {[]string{"a"}, []string{"-back"}, nil},
		"-force is not known":                    {[]string{"a"}, []string{"-force"}, nil},
		"does not run on this host":              {[]string{"a"}, []string{"new"}, broken},
		"another upgrade is under way":           {[]string{"a"}, []string{"new"}, locked},
	} {
		h := newUpgradeHost(t, c.running...)
		if c.before != nil {
			c.before(h)
		}
		arg := c.args[0]
		if !strings.HasPrefix(arg, "-") {
			arg = h.path(arg)
		}
		code, calls, said := h.upgrade(arg)
		if code != 2 || calls != "" || !strings.Contains(said, want) || h.version("edge") != "1" {
			t.Errorf("want %s: code %d, calls %q, version %s:\n%s", want, code, calls, h.version("edge"), said)
		}
	}
}
