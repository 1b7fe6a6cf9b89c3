// SPDX-License-Identifier: Apache-2.0

package contracttest_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"tickedge/internal/contracttest"
)

func read(t *testing.T, path ...string) string {
	t.Helper()
	root, err := contracttest.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func kinds() []string { return slices.Concat(contracttest.Server, contracttest.Commands) }

// examples returns those of a schema.
func examples(t *testing.T, kind string) (all []json.RawMessage) {
	t.Helper()
	var schema struct{ Examples []json.RawMessage }
	if err := json.Unmarshal([]byte(read(t, "docs", "schemas", kind+".json")), &schema); err != nil {
		t.Fatal(err)
	}
	if len(schema.Examples) == 0 {
		t.Errorf("%s has no examples", kind)
	}
	return schema.Examples
}

func TestExamplesOfSchemas(t *testing.T) {
	for _, kind := range kinds() {
		for _, example := range examples(t, kind) {
			for _, form := range []contracttest.Form{contracttest.Promised, contracttest.Strict} {
				if err := contracttest.Check(form, kind, example); err != nil {
					t.Error(err)
				}
			}
			if got := contracttest.Kind(example); got != kind {
				t.Errorf("%s is taken for %q", example, got)
			}
		}
	}
}

func TestExamplesOfAnswers(t *testing.T) {
	for _, kind := range contracttest.Answers {
		for _, example := range examples(t, kind) {
			for _, form := range []contracttest.Form{contracttest.Promised, contracttest.Strict} {
				if err := contracttest.Check(form, kind, example); err != nil {
					t.Error(err)
				}
			}
			more := []byte(`{"new":1,` + string(example[1:]))
			if err := contracttest.Check(contracttest.Promised, kind, more); err != nil {
				t.Errorf("a new member: %v", err)
			}
			if contracttest.Check(contracttest.Strict, kind, more) == nil || contracttest.Check(contracttest.Promised, kind, []byte(`{}`)) == nil {
				t.Errorf("%s takes anything", kind)
			}
		}
	}
}

// Each file is a kind that is tested, or common to them.
func TestFilesAreKinds(t *testing.T) {
	root, err := contracttest.Root()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "docs", "schemas", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, file := range files {
		got = append(got, strings.TrimSuffix(filepath.Base(file), ".json"))
	}
	want := append(slices.Concat(kinds(), contracttest.Answers), "common")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("there are %q, want %q", got, want)
	}
}

// Every line of the fenced JSON of the protocol document is a message, and every kind but
// the words has one.
func TestExamplesOfProtocol(t *testing.T) {
	var seen []string
	for _, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(read(t, "docs", "PROTOCOL.md"), -1) {
		for line := range strings.Lines(block[1]) {
			kind := contracttest.Kind([]byte(line))
			seen = append(seen, kind)
			if err := contracttest.Check(contracttest.Strict, kind, []byte(line)); err != nil {
				t.Error(err)
			}
		}
	}
	for _, kind := range kinds() {
		if !strings.HasSuffix(kind, "-word") && !slices.Contains(seen, kind) {
			t.Errorf("PROTOCOL.md has no example of %s", kind)
		}
	}
}

// A member of another type, none where one is promised, and another t are never right. One
// that is new is right for readers, and not for this edge.
func TestMutants(t *testing.T) {
	for _, kind := range kinds() {
		for _, example := range examples(t, kind) {
			var m map[string]any
			if json.Unmarshal(example, &m) != nil { // A word.
				if contracttest.Check(contracttest.Promised, kind, []byte(`"other"`)) == nil {
					t.Errorf("%s may be another word", kind)
				}
				continue
			}
			check := func(what string, form contracttest.Form, right bool, change func(m map[string]any)) {
				t.Helper()
				mutant := maps.Clone(m)
				change(mutant)
				b, err := json.Marshal(mutant)
				if err != nil {
					t.Fatal(err)
				}
				if err := contracttest.Check(form, kind, b); (err == nil) != right {
					t.Errorf("%s, %s: %s: %v", kind, what, b, err)
				}
			}
			for name := range m {
				check("another type", contracttest.Promised, false, func(m map[string]any) { m[name] = []any{map[string]any{}} })
			}
			for _, name := range required(t, kind) {
				check("without "+name, contracttest.Promised, false, func(m map[string]any) { delete(m, name) })
			}
			later := func(m map[string]any) { m["later"] = 1 }
			check("a new member", contracttest.Promised, true, later)
			check("a new member", contracttest.Strict, false, later)
		}
	}
}

func required(t *testing.T, kind string) []string {
	t.Helper()
	var schema struct{ Required []string }
	if err := json.Unmarshal([]byte(read(t, "docs", "schemas", kind+".json")), &schema); err != nil {
		t.Fatal(err)
	}
	return schema.Required
}

// What the common mutants don't reach.
func TestWrongMessages(t *testing.T) {
	tests := []struct {
		payload string
		later   bool // A later edge may send it.
	}{
		{`{"t":"update","ts":1,"d":[]}`, false},
		{`{"t":"update","ts":1,"d":[{"s":"A","n":-1,"v":1}]}`, false},
		{`{"t":"update","ts":1,"d":[{"s":"A b","n":1,"v":1}]}`, false},
		{`{"t":"update","ts":1,"d":[{"s":"A","n":1}]}`, false},
		{`{"t":"update","ts":1,"d":[{"s":"A","n":1,"v":1,"x":1}]}`, true},
		{`{"t":"ack","op":"interval","topics":1}`, false},
		{`{"t":"ack","op":"later","topics":1}`, true},
		{`{"t":"ack","op":"subscribe","topics":1,"rejected":[{"code":422,"reason":"x"}]}`, false},
		{`{"t":"ack","op":"subscribe","topics":1,"rejected":[{"topic":"a","index":1,"code":422,"reason":"x"}]}`, false},
		{`{"t":"ack","op":"subscribe","topics":1,"rejected":[{"topic":"a","code":418,"reason":"x"}]}`, true},
		{`{"t":"hello","v":2,"conn":"7f3a91c2","interval":500,"heartbeat":20000,"max_topics":256}`, false},
		{`{"t":"hello","v":1,"conn":"xyz","interval":500,"heartbeat":20000,"max_topics":256}`, true},
		{`{"t":"feed","state":"so-so","since":1}`, false},
		{`{"t":"stale","ts":1,"code":403,"topics":["A"]}`, false},
		{`{"t":"stale","ts":1,"topics":[]}`, false},
		{`{"t":"bye","code":1013,"reason":"x"}`, true},
		{`{"t":"announcement","text":""}`, false},
		{`{"t":"error","code":200,"reason":"x"}`, false},
	}
	for _, tt := range tests {
		kind := contracttest.Kind([]byte(tt.payload))
		if err := contracttest.Check(contracttest.Promised, kind, []byte(tt.payload)); (err == nil) != tt.later {
			t.Errorf("as promised: %s: %v", tt.payload, err)
		}
		if contracttest.Check(contracttest.Strict, kind, []byte(tt.payload)) == nil {
			t.Errorf("as of today right: %s", tt.payload)
		}
	}
	var seen contracttest.Seen
	for _, payload := range []string{`{"t":"later"}`, `{"op":"ping"}`, `"pinG"`, `{`, ``} {
		if seen.Receive([]byte(payload)) == nil {
			t.Errorf("received: %s", payload)
		}
	}
}

// Each $ref of the documents and of the schemas leads to something, and the documents name
// every kind.
func TestReferences(t *testing.T) {
	root, err := contracttest.Root()
	if err != nil {
		t.Fatal(err)
	}
	docs := filepath.Join(root, "docs")
	files, err := filepath.Glob(filepath.Join(docs, "schemas", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, file := range append(files, filepath.Join(docs, "asyncapi.yaml"), filepath.Join(docs, "openapi.yaml")) {
		refs := references(parse(t, file))
		if len(refs) == 0 && strings.HasSuffix(file, ".yaml") {
			t.Errorf("%s has no $ref", file)
		}
		for _, ref := range refs {
			path, fragment, _ := strings.Cut(ref, "#")
			target := file
			if path != "" {
				target = filepath.Join(filepath.Dir(file), path)
			}
			if resolve(parse(t, target), fragment) == nil {
				t.Errorf("%s: %s leads to nothing", file, ref)
			}
			if strings.HasSuffix(file, "asyncapi.yaml") && path != "" {
				named = append(named, strings.TrimSuffix(filepath.Base(path), ".json"))
			}
		}
	}
	for _, kind := range kinds() {
		if !slices.Contains(named, kind) {
			t.Errorf("asyncapi.yaml does not name %s", kind)
		}
	}
}

// parse reads YAML, of which JSON is a part.
func parse(t *testing.T, file string) (doc any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal(text, &doc)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return doc
}

func references(node any) (refs []string) {
	switch node := node.(type) {
	case map[string]any:
		if ref, ok := node["$ref"].(string); ok {
			refs = append(refs, ref)
		}
		for _, child := range node {
			refs = append(refs, references(child)...)
		}
	case []any:
		for _, child := range node {
			refs = append(refs, references(child)...)
		}
	}
	return refs
}

// resolve follows a JSON pointer (RFC 6901) through objects.
func resolve(node any, pointer string) any {
	for _, part := range strings.Split(strings.TrimPrefix(pointer, "/"), "/") {
		if part == "" {
			continue
		}
		m, ok := node.(map[string]any)
		if !ok {
			return nil
		}
		node = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	return node
}
