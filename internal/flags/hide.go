// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Conceal returns an error without the users and passwords of URLs that are in args, in the file,
// or in variables of the environment with the prefix. An error quotes the value of a flag that
// can't be right, and somebody may have given it a URL that was meant for another one. It goes before
// [Set.Locate], which takes out what is left by its looks.
func (s *Set) Conceal(err error, args []string) error {
	if err == nil {
		return nil
	}
	values := slices.Concat(args, s.fileValues)
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, s.prefix+"_") {
			values = append(values, value)
		}
	}
	text := err.Error()
	for _, value := range values {
		// The whole goes first: a piece may be a part of the password, and what is left of it not be found any more.
		pieces := strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r <= ' ' })
		for _, piece := range append([]string{value}, pieces...) {
			_, rest, ok := strings.Cut(piece, "://")
			at := strings.LastIndexByte(rest, '@')
			if !ok || at <= 0 {
				continue
			}
			quoted := strconv.Quote(rest[:at])
			text = strings.ReplaceAll(text, quoted[1:len(quoted)-1], "xxxxx")
			text = strings.ReplaceAll(text, rest[:at], "xxxxx")
		}
	}
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}

// Line returns a value without one line end behind it: programs that make a variable of a file
// leave it there.
func Line(value string) string {
	if line, ends := strings.CutSuffix(value, "\n"); ends {
		return strings.TrimSuffix(line, "\r")
	}
	return value
}
