package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport says which of our packages a package may know, and which of its imports
// from outside are its alone. It is the design: the middle (topics, wsproto, fanout)
// has no sockets, and each library has one door.
var mayImport = map[string][]string{
	"internal/topics":                 {},
	"internal/panics":                 {},
	"internal/httphead":               {},
	"internal/wsproto":                {"internal/httphead"},
	"internal/auth":                   {"internal/topics"},
	"internal/flags":                  {},
	"internal/doctor":                 {},
	"internal/guard":                  {},
	"internal/proxyproto":             {},
	"internal/fanout":                 {"internal/guard", "internal/topics", "internal/wsproto"},
	"internal/loop":                   {"internal/auth", "internal/fanout", "internal/panics", "internal/guard", "internal/httphead", "internal/proxyproto", "internal/topics", "internal/wsproto"},
	"internal/resp":                   {},
	"internal/broker":                 {"internal/topics"},
	"internal/broker/redis":           {"internal/broker", "internal/panics", "internal/resp", "internal/topics"},
	"internal/broker/redis/redistest": {},
	"internal/feed":                   {"internal/broker", "internal/topics"},
	"internal/market":                 {"internal/broker", "internal/topics"},
	"internal/logtest":                {},
	"internal/admin":                  {"internal/panics"},
	"internal/app":                    {},
	"internal/app/edge":               {"internal/app", "internal/admin", "internal/auth", "internal/doctor", "internal/fanout", "internal/broker", "internal/broker/redis", "internal/panics", "internal/feed", "internal/flags", "internal/guard", "internal/httphead", "internal/loop", "internal/market", "internal/topics", "internal/wsproto"},
	"cmd/edge":                        {"internal/app", "internal/app/edge"},
	"cmd/tickgen":                     {"internal/app", "internal/broker/redis", "internal/flags", "internal/market"},
}

var doors = map[string][]string{
	"github.com/panjf2000/gnet":     {"internal/loop"},
	"github.com/gobwas/ws":          {"internal/wsproto"},
	"github.com/redis/go-redis":     {"internal/broker/redis", "internal/broker/redis/redistest"},
	"github.com/alicebob":           {"internal/broker/redis"},
	"github.com/prometheus":         {"internal/admin", "internal/app/edge"},
	"github.com/peterbourgon/ff":    {"internal/flags"},
	"golang.org/x/sys":              {"internal/loop"},
	"github.com/go-json-experiment": {"internal/auth", "internal/wsproto"},
	"github.com/tidwall":            {"internal/broker"},
	"github.com/golang-jwt":         {"internal/auth"},
}

// pure packages have no sockets, no clock and no goroutines of their own.
var pure = []string{"internal/topics", "internal/httphead", "internal/httphead", "internal/wsproto", "internal/fanout", "internal/guard", "internal/proxyproto", "internal/resp"}

var notPure = []string{"net", "os", "syscall", "net/http", "log/slog", "context"}

// TestImports reads the files itself: a test that asked the go command would pass from
// the cache after a violation.
func TestImports(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && rel != "." || d.Name() == "testdata" || rel == "bench" || rel == "tools" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		seen++
		checkImports(t, filepath.ToSlash(filepath.Dir(rel)), path, file.Imports)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 30 {
		t.Errorf("only %d files were read", seen)
	}
}

func checkImports(t *testing.T, pkg, path string, imports []*ast.ImportSpec) {
	allowed, known := mayImport[pkg]
	if !known {
		t.Errorf("%s: package %s is not in mayImport", path, pkg)
	}
	for _, spec := range imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		if own, ok := strings.CutPrefix(name, "tickedge/"); ok && !slices.Contains(allowed, own) {
			t.Errorf("%s: %s must not import %s", path, pkg, own)
		}
		for prefix, packages := range doors {
			if strings.HasPrefix(name, prefix) && !slices.Contains(packages, pkg) {
				t.Errorf("%s: %s must not import %s", path, pkg, name)
			}
		}
		if slices.Contains(pure, pkg) && slices.Contains(notPure, name) {
			t.Errorf("%s: %s must not import %s: it has no sockets, no clock and no log", path, pkg, name)
		}
	}
}
