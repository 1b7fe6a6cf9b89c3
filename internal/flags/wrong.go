// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"errors"
	"flag"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// octal is a number that package flag would read to the base of 8, and nobody means so.
var octal = regexp.MustCompile(`^[+-]?0[0-9_]`)

var errOctal = errors.New("a number begins with 0")

// set gives a flag a value. After an error the flag has the value that it had before.
func (s *Set) set(f *flag.Flag, value string, from Origin) error {
	before := f.Value.String()
	err := s.FlagSet.Set(f.Name, value)
	if getter, ok := f.Value.(flag.Getter); ok && octal.MatchString(value) {
		switch getter.Get().(type) {
		case int, uint64:
			err = errOctal
		}
	}
	from.failed = err != nil
	s.from[f.Name] = from
	if err == nil {
		return nil
	}
	_ = f.Value.Set(before) // Package flag sets numbers to 0 when it can't read them.
	label := "-" + f.Name
	switch from.Kind {
	case FromEnv:
		label = from.Where
	case FromFile:
		label = from.Where + ": " + f.Name
	}
	if value == "" {
		return s.missing(label, f)
	}
	return fmt.Errorf("%s is %s, want %s", label, Quote(value), right(f))
}

func (s *Set) missing(label string, f *flag.Flag) error {
	return fmt.Errorf("%s has no value, want %s", label, right(f))
}

// unknown says that there is no flag of a name. what stands before flags where they are
// written.
func (s *Set) unknown(what, name string) error {
	var all []string
	s.VisitAll(func(f *flag.Flag) { all = append(all, f.Name) })
	hint := ""
	if near := nearest(name, all); near != "" {
		hint = ": did you mean " + strings.TrimPrefix(what, "flag ") + near + "?"
	}
	for _, secret := range s.secrets {
		if s.env(name) == secret {
			hint = ": it is for the environment alone, as " + secret
		}
	}
	if !plainName.MatchString(name) {
		return errors.New("unknown flag (its name is not shown, it may hold a password)")
	}
	return fmt.Errorf("unknown %s%s%s", what, name, hint)
}

// plainName is what a mistyped flag looks like, and a URL does not.
var plainName = regexp.MustCompile(`^[\pL0-9_.-]{1,40}$`)

// right is the right form of a flag's value, and what it means.
func right(f *flag.Flag) string {
	kind, usage := flag.UnquoteUsage(f)
	form := kind
	if getter, ok := f.Value.(flag.Getter); ok {
		form = formOf(getter.Get(), f.DefValue, kind)
	}
	if form != kind || !strings.HasPrefix(usage, kind) {
		usage = form + ": " + usage
	}
	return usage
}

func formOf(value any, example, kind string) string {
	plain := example == "0" || example == "0s" || example == ""
	pick := func(other string) string {
		if plain {
			return other
		}
		return example
	}
	switch value.(type) {
	case bool:
		return "true or false"
	case int, int64:
		return "a whole number such as " + pick("100")
	case uint, uint64:
		return "a whole number such as " + pick("100") + ", 0 or more"
	case float64:
		return "a number such as " + pick("0.5")
	case time.Duration:
		return "a duration such as " + pick("10s") + " (units: ms, s, m, h)"
	}
	return kind
}

func isBool(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// userURL is what looks like a URL with a user.
var userURL = regexp.MustCompile(`[^\s"]*://[^\s"\[\]]*@[^\s"]*`)

// Hide takes out of a text what looks like a URL with a password, and is no example of one.
func Hide(text string) string {
	return userURL.ReplaceAllStringFunc(text, func(url string) string {
		if strings.Contains(url, "user:password@") {
			return url
		}
		return "(not shown, it may hold a password)"
	})
}

// Unshown returns what is wrong with a flag that has something like a URL with a user in it, and
// should have none, or nil. A list cuts such a URL into pieces, of which one may be a part of the
// password alone: none of them is to be repeated.
func (s *Set) Unshown(name string) error {
	f := s.Lookup(name)
	if !holdsUser(f.Value.String()) {
		return nil
	}
	return fmt.Errorf("-%s is a URL or the like (not shown, it may hold a password), want %s", name, right(f))
}

// HideValue is a flag's value as it is shown: not at all if something like a URL with a user is in
// it.
func HideValue(value string) string {
	if holdsUser(value) {
		return "(not shown, it may hold a password)"
	}
	return value
}

func holdsUser(value string) bool {
	_, rest, ok := strings.Cut(value, "://")
	return ok && strings.Contains(rest, "@")
}

// shownMax bounds what is repeated of a value, in bytes.
const shownMax = 64

// Quote returns a value that is wrong for an error: short, in one line, and not at all if it is
// a URL, which may hold a password that has come to the wrong flag.
func Quote(value string) string {
	if strings.Contains(value, "://") || strings.Contains(value, "@") && strings.Contains(value, ":") {
		return "a URL or the like (not shown, it may hold a password)"
	}
	return strconv.Quote(clip(value))
}

// clip cuts a text that is repeated, and takes what is not to be printed out of it.
func clip(s string) string {
	if len(s) > shownMax {
		s = strings.ToValidUTF8(s[:shownMax], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// Named puts the flag before each line of an error of a configuration that knows no flags. pairs
// are what such a line begins with, and the flag, in turn. The first that fits is taken.
func Named(err error, pairs ...string) error {
	if err == nil {
		return nil
	}
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		for p := 0; p < len(pairs); p += 2 {
			if strings.HasPrefix(line, pairs[p]) {
				lines[i] = pairs[p+1] + ": " + line
				break
			}
		}
	}
	return errors.New(strings.Join(lines, "\n"))
}
