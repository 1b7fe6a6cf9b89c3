// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"encoding"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// Set is the flags of a program, in the groups in which its help shows them.
type Set struct {
	*flag.FlagSet
	prefix   string   // Of its variables in the environment.
	commands []string // What may stand in place of flags.
	secrets  []string // Variables that have no flag.
	argsOnly map[string]bool
	groups   []group
	file     string // Of -config.

	from     map[string]Origin // Of flags that are set.
	warnings []string

	fileValues []string // As they stand in the file, for [Set.Conceal].
}

type group struct {
	title string
	names []string
}

// Origin is where a flag got its value.
type Origin struct {
	Kind   Kind
	Where  string // The variable, or the file and its line.
	failed bool   // It could not be set, and has its default.
}

// Kind is a kind of [Origin]. A later one does not go before one that is above it, but for the
// default.
type Kind int

// The kinds.
const (
	FromDefault Kind = iota
	FromArgs
	FromEnv
	FromFile
)

// several is a value of a flag that can be given several times.
type several interface {
	flag.Value
	Several()
}

// New returns a set without flags. Variables of the environment begin with prefix and an
// underscore; secrets are those that have no flag. commands may stand before the flags.
func New(program, prefix string, secrets, commands []string) *Set {
	s := &Set{FlagSet: flag.NewFlagSet(program, flag.ContinueOnError), prefix: prefix, secrets: secrets, commands: commands,
		argsOnly: make(map[string]bool), from: make(map[string]Origin)}
	s.SetOutput(io.Discard)
	s.Usage = func() {}
	return s
}

// Group begins a group. The flags that are declared from now on are in it.
func (s *Set) Group(title string) { s.groups = append(s.groups, group{title: title}) }

func (s *Set) shown(name string) string {
	g := &s.groups[len(s.groups)-1]
	g.names = append(g.names, name)
	return name
}

// The methods that declare a flag are those of package flag, for flags of the group.

func (s *Set) Var(v flag.Value, name, usage string) { s.FlagSet.Var(v, s.shown(name), usage) }
func (s *Set) BoolVar(p *bool, name string, v bool, usage string) {
	s.FlagSet.BoolVar(p, s.shown(name), v, usage)
}
func (s *Set) StringVar(p *string, name, v, usage string) {
	s.FlagSet.StringVar(p, s.shown(name), v, usage)
}
func (s *Set) IntVar(p *int, name string, v int, usage string) {
	s.FlagSet.IntVar(p, s.shown(name), v, usage)
}
func (s *Set) Uint64Var(p *uint64, name string, v uint64, usage string) {
	s.FlagSet.Uint64Var(p, s.shown(name), v, usage)
}
func (s *Set) Float64Var(p *float64, name string, v float64, usage string) {
	s.FlagSet.Float64Var(p, s.shown(name), v, usage)
}
func (s *Set) TextVar(p encoding.TextUnmarshaler, name string, v encoding.TextMarshaler, usage string) {
	s.FlagSet.TextVar(p, s.shown(name), v, usage)
}
func (s *Set) DurationVar(p *time.Duration, name string, v time.Duration, usage string) {
	s.FlagSet.DurationVar(p, s.shown(name), v, usage)
}

// Common declares -config, -check and -version, which all programs have. check is set if the
// configuration is only to be looked at.
func (s *Set) Common(check *bool) {
	s.StringVar(&s.file, "config", "", "`file` with flags, in YAML: max-conns: 1000. Flags and the environment go before it")
	s.BoolVar(check, "check", false, "read every file, print the effective configuration or all that is wrong with it, and end")
	s.BoolVar(new(bool), "version", false, "print the version and end")
	s.OnlyArgs("check", "version")
}

// OnlyArgs keeps flags from being set by the environment or a file.
func (s *Set) OnlyArgs(names ...string) {
	for _, name := range names {
		s.argsOnly[name] = true
	}
}

// From says where a flag got its value.
func (s *Set) From(name string) Origin { return s.from[name] }

// Changed reports whether a flag was set to something else than its default. To give the
// default is no change, so that what -check prints can be given back.
func (s *Set) Changed(name string) bool {
	f := s.Lookup(name)
	return s.from[name].Kind != FromDefault && !s.from[name].failed && f.Value.String() != f.DefValue
}

// Spelled returns which of two spellings of a flag counts, each with its dash cut off: the one that is given, and if
// both are that of the command line, before the environment, before the file. Both from one place are an error.
func (s *Set) Spelled(name, older string) (which string, err error) {
	a, b := s.from[name].Kind, s.from[older].Kind
	switch {
	case b == FromDefault || a != FromDefault && a < b:
		return name, nil
	case a == b:
		return name, fmt.Errorf("-%s and -%s are set, and -%[2]s is the older spelling of -%[1]s: leave it out, and give all by -%[1]s", name, older)
	}
	return older, nil
}

// NoEffect returns that flags which are set have no effect, and why, or nil if none is set. names
// has blanks between them; one with a star stands for all that begin like it.
func (s *Set) NoEffect(names, why string) error {
	var errs []error
	for name := range s.Names {
		for of := range strings.FieldsSeq(names) {
			prefix, all := strings.CutSuffix(of, "*")
			if (name == of || all && strings.HasPrefix(name, prefix)) && s.Changed(name) {
				errs = append(errs, fmt.Errorf("-%s has no effect: %s", name, why))
			}
		}
	}
	return errors.Join(errs...)
}

// Warnings are what was noticed and is no error, a line each.
func (s *Set) Warnings() []string { return s.warnings }

var (
	// label is what an error is about: the flags at its beginning.
	label   = regexp.MustCompile(`^-.+?(:| is | are | has |$)`)
	inLabel = regexp.MustCompile(`-[a-z0-9-]+`)
)

// Locate says in each line of an error that begins with flags where these come from, if they
// are not from the command line. It takes out what looks like a URL with a password: one may
// have come to any flag.
func (s *Set) Locate(err error) error {
	if err == nil {
		return nil
	}
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		about := label.FindString(line)
		located := inLabel.ReplaceAllStringFunc(about, func(name string) string {
			if where := s.from[name[1:]].Where; where != "" {
				name += " (" + where + ")"
			}
			return name
		})
		lines[i] = located + Hide(line[len(about):])
	}
	return errors.New(strings.Join(lines, "\n"))
}

// WriteValues writes the flags as they are set, a line each, so that they can be given back.
// show returns the values of a flag that are shown: none of one that is left out, and several
// of one that is given as often.
func (s *Set) WriteValues(w io.Writer, show func(name, value string) []string) {
	for name := range s.Names {
		for _, value := range show(name, s.Lookup(name).Value.String()) {
			fmt.Fprintf(w, "-%s=%s\n", name, value)
		}
	}
}

// WriteOrigins writes, as comments, which flags are from where. Those that have their default are
// left out.
func (s *Set) WriteOrigins(w io.Writer) {
	for _, kind := range []struct {
		Kind
		title string
	}{{FromArgs, "from the command line"}, {FromEnv, "from the environment"}, {FromFile, "from the file"}} {
		var names []string
		for name := range s.Names {
			if s.from[name].Kind != kind.Kind || s.argsOnly[name] {
				continue
			}
			text := "-" + name
			if where := s.from[name].Where; where != "" {
				text += " (" + where + ")"
			}
			names = append(names, text)
		}
		if len(names) > 0 {
			fmt.Fprintf(w, "# %s: %s\n", kind.title, strings.Join(names, ", "))
		}
	}
}

// Names yields the names of all flags, as the help has them.
func (s *Set) Names(yield func(name string) bool) {
	for _, g := range s.groups {
		for _, name := range g.names {
			if !yield(name) {
				return
			}
		}
	}
}
