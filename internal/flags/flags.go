// SPDX-License-Identifier: Apache-2.0

// Package flags reads the flags of a program, and what stands for them in the environment and
// in a file, and turns all that is wrong into errors that say what is right.
//
//	set.go      the flags of a program, and where each got its value
//	flags.go    the command line and the environment
//	file.go     the file
//	wrong.go    what is wrong with a value, and what is right
//	hide.go     errors without passwords
//	nearest.go  which name was meant
//	help.go     the help, and what completes flags in a shell
package flags

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ErrVersion is the error of [Set.Parse] if the version was asked for.
var ErrVersion = errors.New("flags: version requested")

// Asked reports whether an error of [Set.Parse] says that the help or the version was asked for.
func Asked(err error) bool { return errors.Is(err, flag.ErrHelp) || errors.Is(err, ErrVersion) }

// Parse sets the flags from args, then, where a flag is not given there, from the environment,
// and then from the file that -config names: with the prefix EDGE, -max-conns is EDGE_MAX_CONNS,
// and max-conns in the file. An empty variable is none. Parse prints nothing. The error is
// [flag.ErrHelp] or [ErrVersion] if that was asked for, or says all that is wrong, a line each.
// What is right is set all the same, so that more can be looked at.
func (s *Set) Parse(args []string) error {
	errs, asked := s.parseArgs(args)
	if asked != nil {
		return asked
	}
	errs = append(errs, s.parseEnv(os.Environ())...)
	if s.file != "" {
		errs = append(errs, s.parseFile(s.file)...)
	}
	return errors.Join(errs...)
}

// parseArgs is as package flag has it, but goes on after a mistake.
func (s *Set) parseArgs(args []string) (errs []error, asked error) {
	stray, lone := false, "" // lone is a bool flag that stood before the argument.
	for i := 0; i < len(args); i++ {
		arg := args[i]
		before := lone
		lone = ""
		if arg == "--" {
			continue // Behind it there are none but arguments, of which the first is told.
		}
		if len(arg) < 2 || arg[0] != '-' {
			switch {
			case before != "" && slices.Contains(boolWords, arg):
				errs = append(errs, fmt.Errorf("-%s takes its value behind a =: -%[1]s, -%[1]s=true or -%[1]s=false", before))
			case !stray: // The others belong to it.
				errs, stray = append(errs, s.strayArg(arg, i)), true
			}
			continue
		}
		name, value, valued := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		if name == "" || name[0] == '-' {
			errs = append(errs, fmt.Errorf("argument %d is no flag: want -name value or -name=value", i+1))
			continue
		}
		f := s.Lookup(name)
		switch {
		case f == nil && (name == "h" || name == "help"):
			return nil, flag.ErrHelp
		case f == nil:
			errs = append(errs, s.unknown("flag -", name))
			if !valued && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
				i++ // It is the value, which may be a secret.
			}
			continue
		case name == "version" && (!valued || isTrue(value)):
			return nil, ErrVersion
		case valued:
		case isBool(f):
			value, lone = "true", name
		case i+1 == len(args) || s.isFlag(args[i+1]):
			errs = append(errs, s.missing("-"+name, f))
			s.from[name] = Origin{Kind: FromArgs, failed: true}
			continue
		default:
			i++
			value = args[i]
		}
		if err := s.set(f, value, Origin{Kind: FromArgs}); err != nil {
			errs = append(errs, err)
		}
	}
	return errs, nil
}

// isTrue reports whether package flag takes a word for true.
func isTrue(word string) bool {
	yes, err := strconv.ParseBool(word)
	return err == nil && yes
}

// isFlag reports whether arg is a flag of the set, so that it can't be the value of another.
func (s *Set) isFlag(arg string) bool {
	if len(arg) < 2 || arg[0] != '-' {
		return false
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
	return s.Lookup(name) != nil
}

// boolWords are what somebody writes behind a flag that takes no value.
var boolWords = []string{"true", "false", "yes", "no", "on", "off", "1", "0"}

// plainWord is what a mistyped command looks like. Another argument may be a URL with a
// password, so it is not repeated.
var plainWord = regexp.MustCompile(`^[a-z][a-z-]{0,19}$`)

// strayArg says what is to be done about an argument that is neither a flag nor the value of
// one.
func (s *Set) strayArg(arg string, i int) error {
	if i > 0 || len(s.commands) == 0 || !plainWord.MatchString(arg) {
		return fmt.Errorf("argument %d belongs to no flag: every setting is a flag, -name value or -name=value", i+1)
	}
	hint := ""
	if near := nearest(arg, s.commands); near != "" {
		hint = "did you mean " + near + "? "
	}
	return fmt.Errorf("%s has no command %q: %sthere are %s, and every setting is a flag", s.Name(), arg, hint, strings.Join(s.commands, ", "))
}

// parseEnv sets flags that args have not set, and collects what is said of other variables.
func (s *Set) parseEnv(environ []string) (errs []error) {
	values := make(map[string]string)
	for _, pair := range environ {
		if name, value, _ := strings.Cut(pair, "="); value != "" && strings.HasPrefix(name, s.prefix+"_") {
			values[name] = value
		}
	}
	known := slices.Clone(s.secrets)
	s.VisitAll(func(f *flag.Flag) {
		if s.argsOnly[f.Name] {
			return
		}
		env := s.env(f.Name)
		known = append(known, env)
		if value, ok := values[env]; ok && s.from[f.Name].Kind == FromDefault {
			if err := s.set(f, value, Origin{Kind: FromEnv, Where: env}); err != nil {
				errs = append(errs, err)
			}
		}
	})
	var names []string
	for name := range values {
		if !slices.Contains(known, name) && !isForeign(strings.TrimPrefix(name, s.prefix+"_"), values[name]) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		hint := ""
		if near := nearest(name, known); near != "" {
			hint = "; did you mean " + near + "?"
		}
		flagName := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, s.prefix+"_")), "_", "-")
		if s.argsOnly[flagName] {
			hint = "; -" + flagName + " is for the command line alone"
		}
		s.warnings = append(s.warnings, fmt.Sprintf("%s in the environment is no variable of %s%s", clip(name), s.Name(), hint))
	}
	return errs
}

func (s *Set) env(name string) string {
	return s.prefix + "_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// links are the variables that Kubernetes puts into every container for every service of its
// namespace, and Docker did for links: EDGE_SERVICE_HOST and EDGE_PORT_8080_TCP for one called
// edge, EDGE_ADMIN_SERVICE_PORT_HTTP for edge-admin.
var links = regexp.MustCompile(`(^|_)(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)$`)

// isForeign reports whether a variable is none that an operator has set for the program: those
// of links, and the version that images carry.
func isForeign(name, value string) bool {
	return name == "VERSION" || links.MatchString(name) ||
		(name == "PORT" || strings.HasSuffix(name, "_PORT")) && strings.Contains(value, "://")
}
