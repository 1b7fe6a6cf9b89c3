// SPDX-License-Identifier: Apache-2.0

// Command typecheck tells whether packages and their tests are Go for another system, from source alone. "go vet" would
// compile every library that they import for that system first, which takes many times as long.
package main

import (
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	system := flag.String("system", "darwin", "the GOOS that packages are for")
	dir := flag.String("dir", ".", "a directory of the module")
	flag.Parse()
	if err := check(*system, *dir, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// check returns the errors of the packages that the patterns name in the module of dir.
func check(system, dir string, patterns []string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	loaded, err := packages.Load(&packages.Config{
		Mode:  packages.LoadAllSyntax | packages.NeedModule,
		Dir:   dir,
		Env:   append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0"),
		Tests: true,
		ParseFile: func(set *token.FileSet, path string, src []byte) (*ast.File, error) {
			return parse(set, dir, path, src)
		},
	}, patterns...)
	if err != nil {
		return err
	}
	if len(loaded) == 0 {
		return fmt.Errorf("no packages: %q", patterns)
	}
	var found []error
	told := make(map[string]bool) // A package and its form for tests have the same errors.
	for _, p := range loaded {
		if strings.HasSuffix(p.ID, ".test") {
			continue // A main that the go command has written, outside of dir.
		}
		for _, e := range p.Errors {
			if text := e.Error(); !told[text] {
				told[text] = true
				found = append(found, errors.New(text))
			}
		}
	}
	return errors.Join(found...)
}

// parse leaves out what functions do in files outside of dir: only what libraries declare matters. Errors that come of
// that are those of libraries, which check does not look at.
func parse(set *token.FileSet, dir, path string, src []byte) (*ast.File, error) {
	file, err := parser.ParseFile(set, path, src, parser.SkipObjectResolution)
	if file == nil || strings.HasPrefix(path, dir+string(filepath.Separator)) {
		return file, err
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			f.Body.List = nil
		}
	}
	return file, err
}
