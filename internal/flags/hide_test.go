// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"errors"
	"flag"
	"strings"
	"testing"
)

// A URL that was given to another flag, or in another form, is in no error with its password.
func TestErrorsHidePasswords(t *testing.T) {
	const url = `redis://u:open/se@"same@host:1/0`
	for _, args := range [][]string{
		{"-rate", url}, {"-rate=" + url}, {"-" + url}, {"-rate" + url}, {"-redis:" + url}, {"--" + url}, {url}, {"-max-wait", "x," + url + ",y"},
		{"-max-wait", "x " + url},
	} {
		fs, _ := newSet()
		fs.String("redis", "", "")
		err := fs.Conceal(fs.Parse(args), args)
		if err == nil || strings.Contains(err.Error(), "se@") || strings.Contains(err.Error(), "open") || strings.Contains(err.Error(), "same") {
			t.Errorf("%q: %v", args, err)
		}
	}
	t.Setenv("X_RATE", url)
	fs, _ := newSet()
	if err := fs.Conceal(fs.Parse(nil), nil); err == nil || strings.Contains(err.Error(), "open") || !strings.Contains(err.Error(), "X_RATE") {
		t.Errorf("in the environment: %v", err)
	}
	same := errors.New("want redis://user:password@host")
	if err := fs.Conceal(same, []string{"-redis", url}); err != same {
		t.Errorf("what is right became %v", err)
	}
	if fs.Conceal(nil, nil) != nil || !errors.Is(fs.Parse([]string{"-h"}), flag.ErrHelp) {
		t.Error("no error became one")
	}
}

func TestLine(t *testing.T) {
	for in, want := range map[string]string{"a": "a", "a\n": "a", "a\r\n": "a", "a\n\n": "a\n", "a\r": "a\r", "": "", "\n": ""} {
		if got := Line(in); got != want {
			t.Errorf("%q becomes %q", in, got)
		}
	}
}
