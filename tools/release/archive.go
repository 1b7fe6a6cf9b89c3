// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// host is the system that this runs on.
var host = platform{runtime.GOOS, runtime.GOARCH}

// entry is a file or a folder of an archive.
type entry struct {
	name   string // Without a slash at its begin; with one at the end it is a folder.
	mode   int64
	uid    int // And the group.
	data   []byte
	opened string // In place of data: a file that is too large to be held for each archive.
}

// writeTar writes entries in the order of their names, without what depends on a host: owners by name, and times.
func writeTar(w io.Writer, entries []entry, epoch int64) error {
	entries = slices.SortedFunc(slices.Values(entries), func(a, b entry) int { return strings.Compare(a.name, b.name) })
	tw := tar.NewWriter(w)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Uid: e.uid, Gid: e.uid, Size: int64(len(e.data)), ModTime: time.Unix(epoch, 0),
			Format: tar.FormatPAX, Typeflag: tar.TypeReg}
		if strings.HasSuffix(e.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		data := io.Reader(bytes.NewReader(e.data))
		if e.opened != "" {
			f, err := os.Open(e.opened)
			if err != nil {
				return err
			}
			defer f.Close()
			is, err := f.Stat()
			if err != nil {
				return err
			}
			h.Size, data = is.Size(), f
		}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		if _, err := io.Copy(tw, data); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return tw.Close()
}

// writeTarGz is writeTar behind gzip, whose head has neither a name nor a time.
func writeTarGz(w io.Writer, entries []entry, epoch int64) error {
	zw := gzip.NewWriter(w)
	if err := writeTar(zw, entries, epoch); err != nil {
		return err
	}
	return zw.Close()
}

// create writes a file by a function.
func create(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err = write(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// extras are what every archive has beside its program: the documents, and examples of how it is run.
func (b *build) extras(ctx context.Context) (all []entry, err error) {
	listed, err := b.git(ctx, "ls-tree", "-r", "--name-only", "HEAD", "--", "LICENSE", "README.md", "CHANGELOG.md", "docs", "deploy")
	if err != nil {
		return nil, err
	}
	for name := range strings.Lines(listed) {
		name = strings.TrimSpace(name)
		data, err := os.ReadFile(filepath.Join(b.dir, filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		mode := int64(0o644)
		if bytes.HasPrefix(data, []byte("#!")) {
			mode = 0o755
		}
		all = append(all, entry{name: name, mode: mode, data: data})
	}
	return all, nil
}

// completions are what programs write for shells. It is the same for all systems, so those of this one are asked.
func (b *build) completions(ctx context.Context) (of map[string][]entry, err error) {
	of = make(map[string][]entry)
	for _, name := range b.programs {
		for _, shell := range []string{"bash", "fish", "zsh"} {
			c := exec.CommandContext(ctx, b.binary(host, name), "completion", shell)
			c.Env = []string{}
			text, err := output(c)
			if err != nil {
				return nil, err
			}
			of[name] = append(of[name], entry{name: path.Join("completions", name+"."+shell), mode: 0o644, data: []byte(text + "\n")})
		}
	}
	return of, nil
}

// pack writes the archive of a program, and its bill of materials beside it.
func (b *build) pack(name string, p platform, extra []entry) error {
	sbom, modules, err := b.sbom(name, p)
	if err != nil {
		return err
	}
	licenses, err := b.licenses(modules)
	if err != nil {
		return err
	}
	title := b.title(name, p)
	files := append(slices.Clone(extra), entry{name: name, mode: 0o755, opened: b.binary(p, name)},
		entry{name: "sbom.spdx.json", mode: 0o644, data: sbom}, entry{name: "THIRD-PARTY-LICENSES.txt", mode: 0o644, data: licenses})
	for i := range files {
		files[i].name = title + "/" + files[i].name
	}
	if err := os.WriteFile(filepath.Join(b.out, title+".spdx.json"), sbom, 0o644); err != nil {
		return err
	}
	return create(filepath.Join(b.out, title+".tar.gz"), func(w io.Writer) error { return writeTarGz(w, files, b.epoch) })
}
