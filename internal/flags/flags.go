// Package flags reads the flags of a command and the environment variables that stand
// for them, and turns what is wrong into errors that say what is right.
package flags

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/peterbourgon/ff/v3"
)

// Parse sets fs from args and then, where a flag is not given, from the environment:
// with the prefix EDGE, -max-conns is EDGE_MAX_CONNS. It prints nothing. The error is
// [flag.ErrHelp] if the help was asked for, or one line for the user.
func Parse(fs *flag.FlagSet, args []string, prefix string) error {
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	err := ff.Parse(fs, args, ff.WithEnvVarPrefix(prefix))
	switch {
	case errors.Is(err, flag.ErrHelp):
		return flag.ErrHelp
	case err != nil:
		return Hide(describe(err, fs, prefix), args, prefix)
	case fs.NArg() > 0:
		// It is not repeated: it may be a URL with a password.
		return errors.New("there is an argument that belongs to no flag: every setting is a flag")
	}
	return nil
}

// concerned finds the flag in an error of package flag or ff.
var concerned = regexp.MustCompile(`(?:flag "|flag -|value .* for -|needs an argument: -|not defined: -)([a-z0-9-]+)`)

// describe says which flag is wrong, with which value, and what it takes.
func describe(err error, fs *flag.FlagSet, prefix string) error {
	text := err.Error()
	for _, layer := range []string{"error parsing commandline arguments: ", "error parsing environment variables: "} {
		text = strings.TrimPrefix(text, layer)
	}
	m := concerned.FindStringSubmatch(text)
	if m == nil {
		return errors.New(text)
	}
	f := fs.Lookup(m[1])
	if f == nil {
		return fmt.Errorf("unknown flag -%s", m[1])
	}
	if strings.Contains(text, "not defined: ") {
		// There is more behind the name, and it is not repeated: it may be a URL with a password.
		return fmt.Errorf("unknown flag that begins with -%s: want a blank or an = between a flag and its value", m[1])
	}
	kind, usage := flag.UnquoteUsage(f)
	want := fmt.Sprintf("want -%s %s: %s", f.Name, kind, strings.ReplaceAll(usage, "\n", " "))
	env := prefix + "_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
	switch {
	case strings.Contains(text, env):
		return fmt.Errorf("%s=%q in the environment is not valid; %s", env, os.Getenv(env), want)
	case strings.Contains(text, "needs an argument"):
		return fmt.Errorf("-%s has no value; %s", f.Name, want)
	}
	return fmt.Errorf("%s; %s", text, want)
}
