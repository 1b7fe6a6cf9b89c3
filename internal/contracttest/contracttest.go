// SPDX-License-Identifier: Apache-2.0

// Package contracttest holds messages against the published schemas in docs/schemas. Tests
// import it, and nothing else does. All of it may be called from any goroutine.
package contracttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Server are the kinds of messages of the edge, by their files. pong-word is the word in quotes.
var Server = []string{
	"hello", "ack", "error", "topics", "snapshot", "update", "resume", "screen", "interval", "feed", "stale",
	"unsubscribed", "heartbeat", "pong", "announcement", "bye", "pong-word",
}

// Commands are the kinds of messages of clients.
var Commands = []string{
	"command-subscribe", "command-unsubscribe", "command-list", "command-interval", "command-auth", "command-screen", "command-unscreen",
	"command-ping", "command-ping-word",
}

// Answers are the kinds of JSON that plain HTTP answers with.
var Answers = []string{"price", "prices", "names", "history", "alert", "alerts", "alerts-fired", "alerts-price", "problem"}

// Form says how a message is read.
type Form int

const (
	// Promised is what the files say: what version 1 of the protocol promises, open for
	// what later edges add.
	Promised Form = iota
	// Strict has all objects closed, and what stands under x-today as well: what this edge
	// sends.
	Strict
)

// Root is the directory of the module, above the working directory of a test.
func Root() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("contracttest: no go.mod above the working directory")
		}
		dir = up
	}
	return "", err
}

// compiled has the schemas of both forms, by kind.
var compiled = sync.OnceValues(func() (all [2]map[string]*jsonschema.Schema, err error) {
	root, err := Root()
	if err != nil {
		return all, err
	}
	for _, form := range []Form{Promised, Strict} {
		if all[form], err = compile(filepath.Join(root, "docs", "schemas"), form); err != nil {
			return all, err
		}
	}
	return all, nil
})

func compile(dir string, form Form) (map[string]*jsonschema.Schema, error) {
	const base = "https://schemas.invalid/" // Nothing is ever fetched: all files are given.
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if form == Strict {
			closeObjects(doc)
		}
		if err := c.AddResource(base+filepath.Base(file), doc); err != nil {
			return nil, err
		}
	}
	of := make(map[string]*jsonschema.Schema)
	for _, file := range files {
		name := filepath.Base(file)
		if of[strings.TrimSuffix(name, ".json")], err = c.Compile(base + name); err != nil {
			return nil, err
		}
	}
	return of, nil
}

// closeObjects makes a schema strict, and those of its members, items and definitions. What
// stands in conditions is left as it is: it describes a part of an object.
func closeObjects(schema any) {
	s, ok := schema.(map[string]any)
	if !ok {
		return
	}
	for _, word := range []string{"properties", "$defs"} {
		members, _ := s[word].(map[string]any)
		for _, m := range members {
			closeObjects(m)
		}
	}
	closeObjects(s["items"])
	if s["properties"] != nil {
		s["unevaluatedProperties"] = false
	}
	if now, ok := s["x-today"]; ok {
		all, _ := s["allOf"].([]any)
		s["allOf"] = append(all, now)
	}
}

// Kind returns the schema that a payload is to be held against, by its t or its op; "" if it
// says neither.
func Kind(payload []byte) string {
	switch string(payload) {
	case `"pong"`:
		return "pong-word"
	case `"ping"`:
		return "command-ping-word"
	}
	var m struct{ T, Op string }
	switch err := json.Unmarshal(payload, &m); {
	case err != nil:
		return ""
	case m.T != "":
		return m.T
	case m.Op != "":
		return "command-" + m.Op
	}
	return ""
}

// Check returns what is wrong with a payload of that kind.
func Check(form Form, kind string, payload []byte) error {
	all, err := compiled()
	if err != nil {
		return err
	}
	s := all[form][kind]
	if s == nil {
		return fmt.Errorf("docs/schemas has no %q: %.300s", kind, payload)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(payload))
	if err == nil {
		err = s.Validate(doc)
	}
	if err != nil {
		return fmt.Errorf("%s: %w in %.300s", kind, err, payload)
	}
	return nil
}

// Received returns the kind of a payload that the edge has sent, and what is wrong with it. What is
// right in the strict form is as promised too: that only adds conditions. The bare word pong, which
// is no JSON, is right, and of no kind.
func Received(payload []byte) (kind string, err error) {
	if string(payload) == "pong" {
		return "", nil
	}
	if kind = Kind(payload); !slices.Contains(Server, kind) {
		return "", fmt.Errorf("no message of the edge that is published: %.300s", payload)
	}
	return kind, Check(Strict, kind, payload)
}

// Seen is which kinds of messages a test has received. The zero value has none.
type Seen struct {
	mu    sync.Mutex
	kinds []string
}

// Receive returns what is wrong with a payload that the edge has sent, see [Received], and counts its
// kind as seen.
func (s *Seen) Receive(payload []byte) error {
	kind, err := Received(payload)
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind != "" && !slices.Contains(s.kinds, kind) {
		s.kinds = append(s.kinds, kind)
	}
	return err
}

// Missing returns those of the kinds that were not seen.
func (s *Seen) Missing(kinds []string) (missing []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range kinds {
		if !slices.Contains(s.kinds, k) {
			missing = append(missing, k)
		}
	}
	return missing
}
