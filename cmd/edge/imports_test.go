// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The core has no sockets, no clock, no log and no goroutines of its own: time is passed in.
var (
	notInTheCore = regexp.MustCompile(`^(net|net/http.*|os|os/.*|syscall|log|log/slog|context)$`)
	ofTheClock   = []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"}
	ofTheEnv     = []string{"Getenv", "LookupEnv", "Environ", "ExpandEnv"}
)

// rule says what the files of a package may do.
type rule struct {
	core               bool
	imports, libraries []string
}

// tables returns the cells of the tables in a section of ARCHITECTURE.md, without the heads.
func tables(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n"+heading+"\n")
	level, _, _ := strings.Cut(heading, " ")
	if end := regexp.MustCompile(`(?m)^#{1,` + strconv.Itoa(len(level)) + `} `).FindStringIndex(section); end != nil {
		section = section[:end[0]]
	}
	head := true
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			head = true
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "`")
		}
		switch {
		case head:
			head = false
		case !strings.HasPrefix(cells[0], "---"):
			rows = append(rows, cells)
		}
	}
	if len(rows) < 10 {
		t.Fatalf("%q of ARCHITECTURE.md has %d rows", heading, len(rows))
	}
	return rows
}

// rules reads who may import whom.
func rules(t *testing.T) map[string]rule {
	list := func(cell string) (all []string) {
		for _, name := range strings.Split(cell, ",") {
			if name = strings.Trim(strings.TrimSpace(name), "`"); name != "" {
				all = append(all, name)
			}
		}
		return all
	}
	of := make(map[string]rule)
	for _, row := range tables(t, "### Who may import whom") {
		if len(row) != 4 {
			t.Fatalf("the row %q has %d cells, want 4", row, len(row))
		}
		if _, twice := of[row[0]]; twice {
			t.Errorf("%s is there twice", row[0])
		}
		of[row[0]] = rule{row[1] == "yes", list(row[2]), list(row[3])}
	}
	return of
}

// TestImports reads the files itself: a test that asked the go command would pass from
// the cache after a violation. What it holds them to is what ARCHITECTURE.md says.
func TestImports(t *testing.T) {
	of := rules(t)
	var seen []string
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, file)
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && rel != "." || d.Name() == "testdata" || rel == "bench" || rel == "clients" || rel == "tools" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		pkg := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(rel)), "internal/")
		rule, known := of[pkg]
		if !known {
			t.Errorf("package %s is not in the table of ARCHITECTURE.md", pkg)
		}
		seen = append(seen, pkg)
		positions := token.NewFileSet()
		parsed, err := parser.ParseFile(positions, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		checkFile(parsed, pkg, rule, func(at token.Pos, what string) {
			t.Errorf("%s: %s must not %s", positions.Position(at), pkg, what)
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range of {
		if !slices.Contains(seen, pkg) {
			t.Errorf("the table of ARCHITECTURE.md has %s, and there are no files of it", pkg)
		}
	}
	for _, row := range tables(t, "## The packages, in the order to read them") {
		name := strings.TrimPrefix(row[0], "internal/")
		if _, rule := of[name]; !rule && len(row) == 3 && name != "bench" && !strings.HasPrefix(name, "clients/") {
			t.Errorf("%s has no rule in ARCHITECTURE.md", name)
		}
		delete(of, name)
	}
	for name := range of {
		t.Errorf("%s has a rule in ARCHITECTURE.md, and is not among the packages there", name)
	}
}

// checkFile reports what a file must not do.
func checkFile(file *ast.File, pkg string, rule rule, bad func(at token.Pos, what string)) {
	names := make(map[string]string) // What the file calls its imports.
	for _, spec := range file.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		if names[path.Base(name)] = name; spec.Name != nil {
			names[spec.Name.Name] = name
		}
		own, ours := strings.CutPrefix(name, "tickedge/")
		allowed := func(library string) bool { return name == library || strings.HasPrefix(name, library+"/") }
		switch foreign := strings.Contains(strings.SplitN(name, "/", 2)[0], "."); {
		case ours && !slices.Contains(rule.imports, strings.TrimPrefix(own, "internal/")),
			foreign && !slices.ContainsFunc(rule.libraries, allowed),
			rule.core && notInTheCore.MatchString(name):
			bad(spec.Pos(), "import "+name)
		}
		if spec.Name != nil && spec.Name.Name == "." {
			bad(spec.Pos(), "import "+name+" without its name")
		}
	}
	readsEnv := pkg == "flags" || pkg == "app" || strings.HasPrefix(pkg, "app/") || strings.HasPrefix(pkg, "cmd/")
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			if rule.core {
				bad(n.Pos(), "start a goroutine")
			}
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			switch {
			case !ok:
			case rule.core && names[x.Name] == "time" && slices.Contains(ofTheClock, n.Sel.Name):
				bad(n.Pos(), "use time."+n.Sel.Name)
			case !readsEnv && names[x.Name] == "os" && slices.Contains(ofTheEnv, n.Sel.Name):
				bad(n.Pos(), "read the environment")
			}
		}
		return true
	})
}

// TestWords holds that no word of the glossary is explained twice, and that CONTRIBUTING.md
// knows no others.
func TestWords(t *testing.T) {
	explained := make(map[string]bool)
	for _, row := range tables(t, "## The words") {
		if explained[row[0]] {
			t.Errorf("%s is explained twice", row[0])
		}
		explained[row[0]] = true
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "One word per thing: ")
	list, _, _ = strings.Cut(list, ".")
	for _, word := range strings.Split(list, ",") {
		if word = strings.Join(strings.Fields(word), " "); !explained[word] {
			t.Errorf("ARCHITECTURE.md does not explain %q", word)
		}
	}
}
