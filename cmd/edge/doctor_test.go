// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// doctorUnder runs the doctor with a hard limit of open files.
func doctorUnder(t *testing.T, files int, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the doctor only knows Linux")
	}
	shell := exec.Command("sh", append([]string{"-c", `ulimit -n "$1" && shift && exec "$@"`, "sh",
		strconv.Itoa(files), binary, "doctor"}, args...)...)
	var out, errs strings.Builder
	shell.Stdout, shell.Stderr = &out, &errs
	_ = shell.Run() // The code says it.
	return shell.ProcessState.ExitCode(), out.String(), errs.String()
}

// reserve is how many files are kept free with one loop and nothing else said: 68 for the
// loop, 4 for the feed, 34 for the admin port, and 128 to spare.
const reserve = 234

// reserved is how many files are kept free with some flags, as the doctor has it.
func reserved(t *testing.T, args ...string) int {
	t.Helper()
	_, stdout, stderr := runEdge(t, nil, append([]string{"doctor", "-json"}, args...)...)
	var report struct {
		Goal struct {
			Reserve int `json:"file_reserve"`
		}
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || report.Goal.Reserve == 0 {
		t.Fatalf("%v, %s", err, stderr)
	}
	return report.Goal.Reserve
}

func TestDoctorNamesTheLimitOfFilesFirst(t *testing.T) {
	t.Parallel()
	sentinels := []string{"-loops", "1", "-redis", "a:*=redis-sentinel://h,i,j/m", "-redis", "redis://h", "-jwt-jwks-url", "https://issuer.example/"}
	for _, c := range []struct {
		name  string
		files int
		args  []string
		code  int
		holds int
	}{
		{"no goal", 1000, []string{"-loops", "1"}, 0, 1000 - reserve},
		{"more loops", 1000, []string{"-loops", "8"}, 0, 1000 - reserve - 7*4},
		{"more sources", 1000, sentinels, 0, 1000 - reserve - 12 - 2},
		{"no admin port", 1000, []string{"-loops", "1", "-admin", ""}, 0, 1000 - reserve + 34},
		{"just enough", 1000, []string{"-loops", "1", "-max-conns", strconv.Itoa(1000 - reserve)}, 0, 1000 - reserve},
		{"one too many", 1000, []string{"-loops", "1", "-max-conns", strconv.Itoa(1001 - reserve)}, 1, 1000 - reserve},
		{"not even one", 200, []string{"-max-conns", "1"}, 1, 0},
		{"not even one, no goal", 200, nil, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := doctorUnder(t, c.files, append(c.args, "-json")...)
			var report struct {
				Holds  int
				Limits []struct{ Key string }
			}
			if err := json.Unmarshal([]byte(stdout), &report); err != nil {
				t.Fatalf("code %d, %v:\n%s%s", code, err, stdout, stderr)
			}
			if code != c.code || report.Holds != c.holds || report.Limits[0].Key != "RLIMIT_NOFILE" || stderr != "" {
				t.Errorf("code %d, holds %d, first %v, want %d, %d: %s", code, report.Holds, report.Limits[0], c.code, c.holds, stderr)
			}
		})
	}
	code, stdout, _ := doctorUnder(t, 1000, "-max-conns", "5000", "-loops", "1")
	for _, want := range []string{"can hold 766 connections, not 5,000", " 1.           766  open files", "LimitNOFILE=5234"} {
		if code != 1 || !strings.Contains(stdout, want) {
			t.Errorf("code %d, %q is not in:\n%s", code, want, stdout)
		}
	}
}

func TestDoctorAndEdgeAgreeOnTheMaximum(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := doctorUnder(t, 1000, "-json")
	var report struct{ Holds int }
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != 0 {
		t.Fatalf("code %d, %v: %s", code, err, stderr)
	}
	out, err := exec.Command("sh", "-c", `ulimit -n 1000 && exec "$1" -check`, "sh", binary).Output()
	if err != nil || !strings.Contains(string(out), "-max-conns="+strconv.Itoa(report.Holds)+"\n") {
		t.Errorf("the doctor says %d, the edge %v:\n%s", report.Holds, err, out)
	}
}

func TestDoctorRefusesWrongFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env, args []string
		want      string
	}{
		{nil, []string{"-max-conns", "-1"}, "-max-conns is -1, want 0 or more"},
		{nil, []string{"-max-cons", "1"}, "unknown flag -max-cons"},
		{nil, []string{"-max-conns", "999999999", "-loops", "0"}, "-loops is 0"},
		{nil, []string{"now"}, "belongs to no flag"},
		{[]string{"EDGE_INTERVAL=soon"}, nil, "EDGE_INTERVAL"},
	} {
		code, stdout, stderr := runEdge(t, c.env, append([]string{"doctor"}, c.args...)...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%v %v: code %d, %q is not in:\n%s%s", c.env, c.args, code, c.want, stdout, stderr)
		}
	}
	if code, stdout, _ := runEdge(t, nil, "doctor", "-h"); code != 0 || !strings.Contains(stdout, "edge doctor -max-conns") {
		t.Errorf("-h: code %d\n%s", code, stdout)
	}
}

// The units are checked by systemd itself, with our binary in the place of the installed
// ones.
func TestDoctorUnitIsGood(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has systemd")
	}
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("install systemd (make deps)")
	}
	units, err := filepath.Glob(filepath.Join("..", "..", "deploy", "systemd", "*.service"))
	if err != nil || len(units) < 3 {
		t.Fatalf("%q %v", units, err)
	}
	installed := regexp.MustCompile(`/usr/local/bin/(edge|marketdata|alerts)\b`)
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), filepath.Base(unit))
		if err := os.WriteFile(file, installed.ReplaceAll(text, []byte(binary)), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(tool, "verify", "--man=no", "--recursive-errors=no", file).CombinedOutput()
		if err != nil || strings.Contains(string(out), filepath.Base(unit)) {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
}
