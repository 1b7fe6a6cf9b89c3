package flags

import (
	"errors"
	"flag"
	"testing"
	"time"
)

func newSet() (fs *flag.FlagSet, rate *float64, wait *time.Duration) {
	fs = flag.NewFlagSet("x", flag.ContinueOnError)
	rate = fs.Float64("rate", 2, "`ticks` per second")
	wait = fs.Duration("max-wait", time.Second, "the longest `time`")
	return fs, rate, wait
}

func TestFlagGoesBeforeEnvironment(t *testing.T) {
	t.Setenv("X_RATE", "3")
	t.Setenv("X_MAX_WAIT", "5s")
	fs, rate, wait := newSet()
	if err := Parse(fs, []string{"-rate=4"}, "X"); err != nil || *rate != 4 || *wait != 5*time.Second {
		t.Errorf("rate %v, wait %v, error %v", *rate, *wait, err)
	}
}

func TestErrorsSayWhatIsRight(t *testing.T) {
	for _, c := range []struct {
		args []string
		env  string
		want string
	}{
		{[]string{"-rate", "abc"}, "", `invalid value "abc" for flag -rate: parse error; want -rate ticks: ticks per second`},
		{[]string{"-rate"}, "", `-rate has no value; want -rate ticks: ticks per second`},
		{[]string{"-max-wait", "5"}, "", `invalid value "5" for flag -max-wait: parse error; want -max-wait time: the longest time`},
		{[]string{"-bogus=1"}, "", `unknown flag -bogus`},
		{nil, "soon", `X_MAX_WAIT="soon" in the environment is not valid; want -max-wait time: the longest time`},
		{[]string{"redis://:secret@h"}, "", `there is an argument that belongs to no flag: every setting is a flag`},
		{[]string{"---x"}, "", `bad flag syntax: ---x`},
	} {
		t.Setenv("X_MAX_WAIT", c.env)
		fs, _, _ := newSet()
		if err := Parse(fs, c.args, "X"); err == nil || err.Error() != c.want {
			t.Errorf("%q: %v, want %s", c.args, err, c.want)
		}
	}
	fs, _, _ := newSet()
	if err := Parse(fs, []string{"-h"}, "X"); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
}

func TestEmptyValue(t *testing.T) {
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	admin := fs.String("admin", "a", "")
	other := fs.String("other", "b", "")
	if err := Parse(fs, []string{"-admin=", "-other", "c"}, "X"); err != nil || *admin != "" || *other != "c" {
		t.Errorf("admin %q, other %q, error %v", *admin, *other, err)
	}
}
