// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

const sumsName = "SHA256SUMS"

// writeSums writes the hashes of all other files of a folder, in the form of sha256sum.
func writeSums(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var out strings.Builder
	for _, f := range files {
		if f.Name() == sumsName {
			continue
		}
		sum, err := sumOfFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "%s  %s\n", sum, f.Name())
	}
	return os.WriteFile(filepath.Join(dir, sumsName), []byte(out.String()), 0o644)
}

func sumOfFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// checkSums demands that a folder has the files of its sums and no others, as they were.
func checkSums(dir string) (names []string, err error) {
	f, err := os.Open(filepath.Join(dir, sumsName))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	listed := make(map[string]bool)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		want, name, ok := strings.Cut(lines.Text(), "  ")
		if !ok || name != filepath.Base(name) {
			return nil, fmt.Errorf("%s has the line %q, want a hash, two blanks and a name", sumsName, lines.Text())
		}
		is, err := sumOfFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if is != want {
			return nil, fmt.Errorf("%s is not the file that was released: get it again", name)
		}
		listed[name] = true
		names = append(names, name)
	}
	files, err := os.ReadDir(dir)
	for _, f := range files {
		if name := f.Name(); name != sumsName && !listed[name] {
			return nil, fmt.Errorf("%s is in no line of %s", name, sumsName)
		}
	}
	return names, err
}
