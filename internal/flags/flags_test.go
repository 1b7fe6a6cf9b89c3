// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// places is a flag that is given as often as one likes.
type places []string

func (p *places) String() string { return strings.Join(*p, " ") }

func (p *places) Set(s string) error {
	*p = append(*p, s)
	return nil
}

func (*places) Several() {}

// values are what the flags of newSet are bound to.
type values struct {
	rate   float64
	wait   time.Duration
	most   int
	seed   uint64
	demo   bool
	listen string
	at     places
	check  bool
}

func newSet() (*Set, *values) {
	v := new(values)
	s := New("x", "X", []string{"X_SECRET"}, []string{"doctor", "version"})
	s.Group("All")
	s.Float64Var(&v.rate, "rate", 2, "`ticks` per second")
	s.DurationVar(&v.wait, "max-wait", time.Second, "the longest `time`")
	s.IntVar(&v.most, "max-conns", 0, "connections")
	s.Uint64Var(&v.seed, "seed", 1, "the same gives the same")
	s.BoolVar(&v.demo, "demo", false, "try it")
	s.StringVar(&v.listen, "listen", ":8080", "`host:port` for clients")
	s.Var(&v.at, "at", "`URL` of a place")
	s.Common(&v.check)
	return s, v
}

// write makes a file of a configuration.
func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// A flag goes before the environment, and that before a file. An empty variable is none, and an
// empty flag is one.
func TestRanks(t *testing.T) {
	file := write(t, "rate: 9\nmax-wait: 9s\nmax-conns: 9\nat: [a, b]\ndemo: true # a word\n")
	t.Setenv("X_RATE", "3")
	t.Setenv("X_MAX_WAIT", "5s")
	t.Setenv("X_MAX_CONNS", "")
	t.Setenv("X_CONFIG", file)
	s, v := newSet()
	if err := s.Parse([]string{"--rate=4", "-listen=", "-check"}); err != nil {
		t.Fatal(err)
	}
	if v.rate != 4 || v.wait != 5*time.Second || v.most != 9 || !slices.Equal(v.at, []string{"a", "b"}) || !v.demo || v.listen != "" || !v.check || v.seed != 1 {
		t.Errorf("%+v", *v)
	}
	var out strings.Builder
	s.WriteOrigins(&out)
	want := "# from the command line: -rate, -listen\n" +
		"# from the environment: -max-wait (X_MAX_WAIT), -config (X_CONFIG)\n" +
		"# from the file: -max-conns (" + file + ":3), -demo (" + file + ":5), -at (" + file + ":4)\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	if !s.Changed("rate") || s.Changed("seed") || !s.Changed("listen") {
		t.Error("what was changed is not known")
	}
	located := s.Locate(errors.New("-max-wait is 5s\n-max-conns: 9\n-rate is 4\nsomething else"))
	if want := "-max-wait (X_MAX_WAIT) is 5s\n-max-conns (" + file + ":3): 9\n-rate is 4\nsomething else"; located.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", located, want)
	}
}

const (
	wantRate = "want a number such as 2: ticks per second"
	wantWait = "want a duration such as 1s (units: ms, s, m, h): the longest time"
	wantMost = "want a whole number such as 100: connections"
)

func TestErrorsSayWhatIsRight(t *testing.T) {
	for _, c := range []struct {
		args string
		env  string // X_MAX_WAIT
		want []string
	}{
		{"-rate abc", "", []string{`-rate is "abc", ` + wantRate}},
		{"-rate", "", []string{`-rate has no value, ` + wantRate}},
		{"-rate -max-wait 1s", "", []string{`-rate has no value, ` + wantRate}},
		{"-rate=", "", []string{`-rate has no value, ` + wantRate}},
		{"-max-wait 5", "", []string{`-max-wait is "5", ` + wantWait}},
		{"-max-conns 99999999999999999999", "", []string{`-max-conns is "99999999999999999999", ` + wantMost}},
		{"-max-conns 0100 -seed 010", "", []string{`-max-conns is "0100", ` + wantMost, `-seed is "010", want a whole number such as 1, 0 or more: the same gives the same`}},
		{"-max-conns 10k -rate 1,5 -max-wait 1d -demo=yes -seed -1", "", []string{
			`-max-conns is "10k", ` + wantMost, `-rate is "1,5", ` + wantRate, `-max-wait is "1d", ` + wantWait,
			`-demo is "yes", want true or false: try it`, `-seed is "-1", want a whole number such as 1, 0 or more: the same gives the same`,
		}},
		{"-bogus=1", "", []string{"unknown flag -bogus"}},
		{"-max-con hunter2 -max_wait hunter2 -rate 1", "soon", []string{
			"unknown flag -max-con: did you mean -max-conns?", "unknown flag -max_wait: did you mean -max-wait?", `X_MAX_WAIT is "soon", ` + wantWait}},
		{"-secret hunter2", "", []string{"unknown flag -secret: it is for the environment alone, as X_SECRET"}},
		{"-rate 1 more -demo true", "", []string{"argument 3 belongs to no flag: every setting is a flag, -name value or -name=value",
			"-demo takes its value behind a =: -demo, -demo=true or -demo=false"}},
		{"-demo true -rate 1", "", []string{"-demo takes its value behind a =: -demo, -demo=true or -demo=false"}},
		{"doctr", "", []string{`x has no command "doctr": did you mean doctor? there are doctor, version, and every setting is a flag`}},
		{"serve -rate x", "", []string{`x has no command "serve": there are doctor, version, and every setting is a flag`, `-rate is "x", ` + wantRate}},
		{"redis://:hunter2@h", "", []string{"argument 1 belongs to no flag: every setting is a flag, -name value or -name=value"}},
		{"-rate 1 hunter2 more", "", []string{"argument 3 belongs to no flag: every setting is a flag, -name value or -name=value"}},
		{"---x=hunter2", "", []string{"argument 1 is no flag: want -name value or -name=value"}},
		{"-max-conns redis://:hunter2@h", "", []string{"-max-conns is a URL or the like (not shown, it may hold a password), " + wantMost}},
		{"-config /no/such", "", []string{"-config: open /no/such: no such file or directory"}},
	} {
		t.Setenv("X_MAX_WAIT", c.env)
		s, v := newSet()
		err := s.Parse(strings.Fields(c.args))
		if want := strings.Join(c.want, "\n"); err == nil || err.Error() != want {
			t.Errorf("%s: got\n%v\nwant\n%s", c.args, err, want)
		}
		// What is wrong is as if it had not been given.
		if v.rate == 0 || v.wait != time.Second || v.most != 0 || v.seed != 1 {
			t.Errorf("%s: %+v", c.args, *v)
		}
	}
}

func TestWhatIsAskedForGoesFirst(t *testing.T) {
	t.Setenv("X_RATE", "abc")
	t.Setenv("X_VERSION", "1.2.3")
	for args, want := range map[string]error{
		"-h": flag.ErrHelp, "-bogus --help": flag.ErrHelp, "-rate x -version -bogus": ErrVersion, "-version=true": ErrVersion,
	} {
		s, _ := newSet()
		if err := s.Parse(strings.Fields(args)); !errors.Is(err, want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// A variable that is mistyped is told, and those that a platform sets are not. No value is.
func TestUnknownVariables(t *testing.T) {
	s, _ := newSet()
	errs := s.parseEnv([]string{
		"X_MAX_CONS=hunter2", "X_SECRT=hunter2", "X_CHECK=true", "X_REGION=eu", "X_EMPTY=", "XY_RATE=x", "X_RATE=3", "X_SECRET=s",
		"X_VERSION=1.2", "X_SERVICE_HOST=10.0.0.1", "X_SERVICE_PORT=80", "X_SERVICE_PORT_HTTP=80", "X_PORT=tcp://10.0.0.1:80",
		"X_PORT_80_TCP=tcp://10.0.0.1:80", "X_PORT_80_TCP_PROTO=tcp", "X_PORT_80_TCP_PORT=80", "X_PORT_80_TCP_ADDR=10.0.0.1",
		"X_ADMIN_SERVICE_HOST=10.0.0.2", "X_ADMIN_PORT=tcp://10.0.0.2:80", "X_ADMIN_PORT_53_UDP=udp://10.0.0.2:53", "X_PORT=80",
	})
	want := []string{
		"X_CHECK in the environment is no variable of x; -check is for the command line alone",
		"X_MAX_CONS in the environment is no variable of x; did you mean X_MAX_CONNS?",
		"X_PORT in the environment is no variable of x",
		"X_REGION in the environment is no variable of x",
		"X_SECRT in the environment is no variable of x; did you mean X_SECRET?",
	}
	if len(errs) != 0 || !slices.Equal(s.Warnings(), want) {
		t.Errorf("%v, got\n%s\nwant\n%s", errs, strings.Join(s.Warnings(), "\n"), strings.Join(want, "\n"))
	}
}

func TestFile(t *testing.T) {
	long := "# " + strings.Repeat("x", fileMax)
	for text, want := range map[string][]string{
		"":                                       nil,
		"# nothing":                              nil,
		"---\nrate: 3":                           nil,
		`{"rate": 3, "at": ["a"], "listen": ""}`: nil,
		"rate: 3\nrates: 4\nrate: 5\n\n-max-conns: 7\n": {":2: unknown flag rates: did you mean rate?", ":3: rate is there already, in line 1: want it once, as a list if it has several values", ":5: want the name of a flag without its dash: max-conns"},
		"max-wait: 5\nmax-conns: many":                  {`:1: max-wait is "5", ` + wantWait, `:2: max-conns is "many", ` + wantMost},
		"demo: yes\nmax-conns: 1e3":                     {`:1: demo is "yes", want true or false: try it`, `:2: max-conns is "1e3", ` + wantMost},
		"max-conns: [1, 2]\nlisten:\nrate: {a: 1}":      {`:1: max-conns is "1,2", ` + wantMost, `:2: listen has no value (write "" for nothing), want host:port for clients`, ":3: rate is no plain value, " + wantRate},
		"at: []\nrate: [[1]]":                           {`:1: at is an empty list (write "" for nothing), want URL of a place`, ":2: rate is a list of more than plain values, " + wantRate},
		"check: true\nconfig: x\nversion: true":         {":1: check can't be set in a file", ":2: config can't be set in a file", ":3: version can't be set in a file"},
		"secret: hunter2":                               {":1: unknown flag secret: it is for the environment alone, as X_SECRET"},
		"rate: 3\nlisten: *hunter2":                     {": it is not valid YAML: there is a reference to an anchor; put values that have blanks in them, or begin with * & ! { [ or %, in quotes"},
		"rate: 3\n listen: x: y":                        {":2: it is not valid YAML: mapping values are not allowed in this context; put values that have blanks in them, or begin with * & ! { [ or %, in quotes"},
		"rate: &a 3":                                    {":1: rate begins with & or ! (put the value in quotes), " + wantRate},
		"rate 3":                                        {":1: want a flag in each line, such as max-conns: 1000"},
		"- rate":                                        {":1: want a flag in each line, such as max-conns: 1000"},
		"rate: 3\n---\nrate: 4":                         {":2: there is a second document, want one"},
		"[a]: 3":                                        {":1: want the name of a flag, such as max-conns: 1000"},
		long:                                            {"long"},
	} {
		name := write(t, text)
		s, _ := newSet()
		err := s.Parse([]string{"-config", name})
		for i := range want {
			want[i] = name + want[i]
		}
		if text == long {
			want = []string{"-config: " + name + " is longer than 256 KiB"}
		}
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != strings.Join(want, "\n") {
			t.Errorf("%.40q: got\n%s\nwant\n%s", text, got, strings.Join(want, "\n"))
		}
	}
}

// Where a file could name the right form and a password, it shows the form alone.
func TestNoSecretOfAFileIsShown(t *testing.T) {
	for _, text := range []string{
		"redsi: redis://:hunter2@h", "rate: redis://:hunter2@h", "at: {redis://:hunter2@h: 1}", "redis://:hunter2@h: 3\nat: x", "listen: *hunter2",
		"rate: !hunter2 3", "at: &hunter2 x", "at: [redis://:hunter2@h", "at: 'redis://:hunter2@h", "at: x: hunter2", "hunter2", "- hunter2", "at: \"\\hunter2\"",
	} {
		s, _ := newSet()
		err := s.Parse([]string{"-config", write(t, text)})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"max-conns", "max-conns-per-ip", "jwt-secret-file", "listen", "redis", "demo"}
	for name, want := range map[string]string{
		"max-cons": "max-conns", "lisetn": "listen", "jwt-secret": "jwt-secret-file", "reids": "redis", "port": "", "x": "", "de": "",
		"maxconns": "max-conns", "MAX-CONNS": "max-conns", "doctor": "", strings.Repeat("y", 1000): "",
	} {
		if got := nearest(name, names); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
