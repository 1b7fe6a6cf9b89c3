// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// licenseFile are the files whose text goes along with what is made of a library.
var licenseFile = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|notice|copyright|patents)`)

// licenses is the texts under which libraries are in a program: most ask that they come with it.
func (b *build) licenses(modules []module) ([]byte, error) {
	var out bytes.Buffer
	if err := addLicenses(&out, "The Go standard library", b.root); err != nil {
		return nil, err
	}
	for _, m := range modules {
		if err := addLicenses(&out, m.path+" "+m.version, filepath.Join(b.cache, escape(m.path)+"@"+escape(m.version))); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

func addLicenses(out *bytes.Buffer, of, dir string) error {
	files, err := os.ReadDir(dir) // In the order of names.
	if err != nil {
		return err
	}
	found := false
	for _, f := range files {
		if !f.Type().IsRegular() || !licenseFile.MatchString(f.Name()) || filepath.Ext(f.Name()) == ".go" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return err
		}
		found = true
		fmt.Fprintf(out, "==== %s: %s ====\n\n%s\n\n", of, f.Name(), bytes.TrimSpace(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))))
	}
	if !found {
		return fmt.Errorf("%s has no file with its license in %s", of, dir)
	}
	return nil
}
