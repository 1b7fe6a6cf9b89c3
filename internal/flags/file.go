// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fileMax bounds a configuration file. All flags with what they are for have less than 16 KiB;
// what is longer is another file.
const fileMax = 256 << 10

// parseFile sets flags that are set by nothing else. A file is one mapping of names to values;
// a list stands for a flag that is given several times, or for a value with commas.
func (s *Set) parseFile(name string) []error {
	text, err := readFile(name)
	if err != nil {
		return []error{fmt.Errorf("-config: %w", err)}
	}
	keys, err := mapping(text)
	if err != nil {
		return []error{fmt.Errorf("%s%w", name, err)}
	}
	var errs []error
	seen := make(map[string]int)
	for i := 0; i+1 < len(keys); i += 2 {
		key, value := keys[i], keys[i+1]
		where := fmt.Sprintf("%s:%d", name, key.Line)
		f := s.Lookup(key.Value)
		switch first, twice := seen[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			errs = append(errs, fmt.Errorf("%s: want the name of a flag, such as max-conns: 1000", where))
		case f == nil && s.Lookup(strings.TrimLeft(key.Value, "-")) != nil:
			errs = append(errs, fmt.Errorf("%s: want the name of a flag without its dash: %s", where, strings.TrimLeft(key.Value, "-")))
		case f == nil:
			errs = append(errs, fmt.Errorf("%s: %w", where, s.unknown("flag ", key.Value)))
		case s.argsOnly[key.Value] || key.Value == "config":
			errs = append(errs, fmt.Errorf("%s: %s can't be set in a file", where, key.Value))
		case twice:
			errs = append(errs, fmt.Errorf("%s: %s is there already, in line %d: want it once, as a list if it has several values", where, key.Value, first))
		default:
			seen[key.Value] = key.Line
			if s.from[f.Name].Kind != FromDefault {
				continue
			}
			values, err := scalars(value)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %s %w, want %s", where, f.Name, err, right(f)))
				continue
			}
			s.fileValues = append(s.fileValues, values...)
			if _, ok := f.Value.(several); !ok {
				values = []string{strings.Join(values, ",")}
			}
			for _, v := range values {
				if err := s.set(f, v, Origin{Kind: FromFile, Where: where}); err != nil {
					errs = append(errs, err)
					break
				}
			}
		}
	}
	return errs
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, fileMax+1))
	if err == nil && len(text) > fileMax {
		err = fmt.Errorf("%s is longer than %d KiB", name, fileMax>>10)
	}
	return text, err
}

// mapping returns the keys and values of a YAML text, in turn. The error goes on behind the name
// of the file.
func mapping(text []byte) (keys []*yaml.Node, err error) {
	d := yaml.NewDecoder(strings.NewReader(string(text)))
	var doc, more yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil // Nothing but comments.
	case err != nil:
		return nil, syntax(err)
	}
	switch err := d.Decode(&more); {
	case err == nil:
		return nil, fmt.Errorf(":%d: there is a second document, want one", more.Line)
	case !errors.Is(err, io.EOF):
		return nil, syntax(err)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf(":%d: want a flag in each line, such as max-conns: 1000", root.Line)
	}
	return root.Content, nil
}

// yamlLine is where an error of the library is.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// syntax is an error of the library. Names of anchors are taken out of it: what looks like one
// may be the beginning of a password.
func syntax(err error) error {
	m := yamlLine.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
	if m == nil {
		return errors.New(": it is not valid YAML")
	}
	line, text := m[1], m[2]
	if strings.Contains(text, "anchor") {
		text = "there is a reference to an anchor"
	}
	if line != "" {
		line = ":" + line
	}
	return fmt.Errorf("%s: it is not valid YAML: %s; put values that have blanks in them, or begin with * & ! { [ or %%, in quotes", line, text)
}

// scalars returns a value, or the values of a list. The error goes on behind the flag.
func scalars(n *yaml.Node) (values []string, err error) {
	if n.Kind == yaml.SequenceNode {
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return nil, errors.New("is a list of more than plain values")
			}
			v, err := scalars(item)
			if err != nil {
				return nil, err
			}
			values = append(values, v...)
		}
		if len(values) == 0 {
			return nil, errors.New(`is an empty list (write "" for nothing)`)
		}
		return values, nil
	}
	switch {
	case n.Kind != yaml.ScalarNode:
		return nil, errors.New("is no plain value")
	case n.Anchor != "" || strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!"):
		return nil, errors.New("begins with & or ! (put the value in quotes)")
	case n.Tag == "!!null":
		return nil, errors.New(`has no value (write "" for nothing)`)
	}
	return []string{n.Value}, nil
}
