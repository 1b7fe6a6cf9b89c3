package flags

import (
	"flag"
	"fmt"
	"io"
	"time"
)

// Set is the flags of a program, in the groups in which its help shows them.
type Set struct {
	*flag.FlagSet
	groups []group
}

type group struct {
	title string
	names []string
}

// New returns a set without flags.
func New(program string) *Set { return &Set{FlagSet: flag.NewFlagSet(program, flag.ContinueOnError)} }

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
func (s *Set) DurationVar(p *time.Duration, name string, v time.Duration, usage string) {
	s.FlagSet.DurationVar(p, s.shown(name), v, usage)
}

// WriteValues writes the flags as they are set, a line each, so that they can be given back.
// show returns the values of a flag that are shown: none of one that is left out, and several
// of one that is given as often.
func (s *Set) WriteValues(w io.Writer, show func(name, value string) []string) {
	for _, g := range s.groups {
		for _, name := range g.names {
			for _, value := range show(name, s.Lookup(name).Value.String()) {
				fmt.Fprintf(w, "-%s=%s\n", name, value)
			}
		}
	}
}

// WriteHelp writes what each flag is for.
func (s *Set) WriteHelp(w io.Writer) {
	for _, g := range s.groups {
		fmt.Fprintf(w, "\n%s\n", g.title)
		for _, name := range g.names {
			f := s.Lookup(name)
			kind, usage := flag.UnquoteUsage(f)
			head := "-" + name
			if kind != "" {
				head += " " + kind
			}
			if f.DefValue != "" && f.DefValue != "false" {
				usage += " (default " + f.DefValue + ")"
			}
			fmt.Fprintf(w, "  %-28s %s\n", head, usage)
		}
	}
}
