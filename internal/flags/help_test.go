// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"
)

const intro = `x is a program for tests, and this line is longer than a narrow terminal is wide, so it is broken.

  x -demo     try it
`

// Help fits into what it is written to, whatever that is, and has every word.
func TestHelpFits(t *testing.T) {
	s, v := newSet()
	s.StringVar(new(string), "a-flag-with-a-very-long-name", "", "`value` of it, which is explained at length, with https://example.com/an/address/that/has/no/blanks/and/stays/whole in it")
	v.at = nil
	var words []string
	for columns, wide := range map[string]int{"": widthDefault, "0": widthDefault, "nonsense": widthDefault, "1": widthMin, "45": 45, "59": 59, "60": 60, "79": 79, "132": 132, "10000": 10000} {
		t.Setenv("COLUMNS", columns)
		var out strings.Builder
		s.WriteHelp(&out, intro)
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > wide && !strings.Contains(line, "https://") {
				t.Errorf("COLUMNS=%s: a line has %d columns: %q", columns, n, line)
			}
			if line != "\n" && strings.TrimRight(line, " \n") == "" {
				t.Errorf("COLUMNS=%s: a line of blanks", columns)
			}
		}
		if got := strings.Fields(out.String()); words == nil {
			words = got
		} else if strings.Join(got, " ") != strings.Join(words, " ") {
			t.Errorf("COLUMNS=%s: other words", columns)
		}
	}
	t.Setenv("COLUMNS", "80")
	var out strings.Builder
	s.WriteHelp(&out, "")
	for _, want := range []string{
		"\nAll\n  -rate ticks                ticks per second (default 2)\n",
		"\n  -demo                      try it\n",
		"\n  -a-flag-with-a-very-long-name value\n                             value of it, which is explained at length, with\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, out.String())
		}
	}
}

// A file is no terminal.
func TestWidthOfAFile(t *testing.T) {
	t.Setenv("COLUMNS", "")
	f, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := width(f); got != widthDefault {
		t.Errorf("%d columns", got)
	}
}

func TestCompletion(t *testing.T) {
	s, _ := newSet()
	var out strings.Builder
	if !s.WriteCompletion(&out, "bash") {
		t.Fatal("bash is not known")
	}
	bash := exec.Command("bash", "--norc", "-c", "source /dev/stdin; complete -p x")
	bash.Stdin = strings.NewReader(out.String())
	said, err := bash.CombinedOutput()
	if want := "complete -o default -W 'doctor version -rate -max-wait -max-conns -seed -demo -listen -at -config -check -version' x\n"; err != nil || string(said) != want {
		t.Errorf("%v, got %s want %s", err, said, want)
	}
	out.Reset()
	if !s.WriteCompletion(&out, "fish") || !strings.Contains(out.String(), "complete -c x -o rate -r -d 'ticks per second'\n") || !strings.Contains(out.String(), "complete -c x -o demo -d 'try it'\n") {
		t.Errorf("fish: %s", out.String())
	}
	out.Reset()
	if !s.WriteCompletion(&out, "zsh") || !strings.HasPrefix(out.String(), "#compdef x\n") {
		t.Errorf("zsh: %s", out.String())
	}
	if s.WriteCompletion(&out, "cmd") {
		t.Error("cmd is known")
	}
}
