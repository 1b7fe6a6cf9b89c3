// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

const (
	widthDefault = 80 // Of a terminal that does not tell, and of what is no terminal.
	widthMin     = 40
	// helpColumn is where the text of a flag begins, if there is room beside the flags.
	helpColumn = 29
	narrow     = 60 // Where there is not, texts stand below their flags.
)

// width is how many columns there are to write to: COLUMNS in the environment, or what a terminal
// says.
func width(w io.Writer) int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return max(n, widthMin)
	}
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			return max(n, widthMin)
		}
	}
	return widthDefault
}

// WriteHelp writes the intro and what each flag is for, no wider than what it is written to.
// Lines of the intro that are indented stay as they are.
func (s *Set) WriteHelp(w io.Writer, intro string) {
	wide := width(w)
	var b strings.Builder
	for line := range strings.Lines(intro) {
		line = strings.TrimRight(line, "\n")
		if !strings.HasPrefix(line, " ") {
			line = wrap(line, 0, wide)
		}
		b.WriteString(line + "\n")
	}
	for _, g := range s.groups {
		fmt.Fprintf(&b, "\n%s\n", g.title)
		for _, name := range g.names {
			s.writeFlag(&b, name, wide)
		}
	}
	_, _ = io.WriteString(w, b.String()) // A pager that was left has no use for the rest.
}

func (s *Set) writeFlag(b *strings.Builder, name string, wide int) {
	f := s.Lookup(name)
	kind, usage := flag.UnquoteUsage(f)
	head := "  -" + name + " " + kind
	if f.DefValue != "" && f.DefValue != "false" {
		usage += " (default " + f.DefValue + ")"
	}
	column := helpColumn
	if wide < narrow {
		column = 6
	}
	if pad := column - utf8.RuneCountInString(head); pad > 0 {
		head += strings.Repeat(" ", pad)
	} else {
		head += "\n" + strings.Repeat(" ", column)
	}
	fmt.Fprintf(b, "%s%s\n", head, wrap(usage, column, wide))
}

// wrap breaks a text at blanks, so that it fits between the columns indent and wide. What has no
// blanks, such as a URL, stays whole.
func wrap(text string, indent, wide int) string {
	var b strings.Builder
	at := indent
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case at == indent:
		case at+1+n > wide:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			b.WriteString(" ")
			at++
		}
		b.WriteString(word)
		at += n
	}
	return b.String()
}

// Shells are those for which WriteCompletion knows the form.
const Shells = "bash, zsh or fish"

// WriteCompletion writes what makes a shell complete flags and commands of the program. It
// reports whether it knows the shell.
func (s *Set) WriteCompletion(w io.Writer, shell string) bool {
	program := s.Name()
	words := strings.Join(s.commands, " ")
	for name := range s.Names {
		words += " -" + name
	}
	switch shell {
	case "bash":
		fmt.Fprintf(w, "complete -o default -W '%s' %s\n", words, program)
	case "zsh":
		fmt.Fprintf(w, "#compdef %s\nautoload -U +X bashcompinit && bashcompinit\ncomplete -o default -W '%s' %[1]s\n", program, words)
	case "fish":
		fmt.Fprintf(w, "complete -c %s -n __fish_use_subcommand -a '%s'\n", program, strings.Join(s.commands, " "))
		for name := range s.Names {
			f := s.Lookup(name)
			_, usage := flag.UnquoteUsage(f)
			usage, _, _ = strings.Cut(usage, ";")
			takes := "-r "
			if isBool(f) {
				takes = ""
			}
			fmt.Fprintf(w, "complete -c %s -o %s %s-d '%s'\n", program, name, takes, strings.ReplaceAll(strings.ReplaceAll(usage, "\n", " "), "'", `\'`))
		}
	default:
		return false
	}
	return true
}
