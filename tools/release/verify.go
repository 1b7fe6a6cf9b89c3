// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"debug/macho"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// fileMost is the most that a file of an archive or an image may have: what is verified may be somebody else's.
const fileMost = 1 << 30

// verify checks a release: that its files are those of its sums, its archives and images whole, and its programs what their names
// and their bills of materials say.
func verify(ctx context.Context, dir string, run bool, stdout io.Writer) error {
	names, err := checkSums(dir)
	if err != nil {
		return err
	}
	count := make(map[string]int)
	var inspected []*inspected
	for _, name := range names {
		file := filepath.Join(dir, name)
		kind := ""
		switch {
		case strings.HasSuffix(name, ".tar.gz"):
			kind, err = "archives", verifyArchive(file)
		case strings.HasSuffix(name, ".spdx.json"):
			kind, err = "bills of materials", verifySBOM(file)
		case strings.HasSuffix(name, ".oci.tar"), strings.HasSuffix(name, ".docker.tar"):
			kind = "image files"
			images, failed := inspectFile(file)
			inspected, err = append(inspected, images...), failed
		default:
			err = errors.New("a release has no such file")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		count[kind]++
	}
	for _, kind := range []string{"archives", "bills of materials", "image files"} {
		if count[kind] == 0 {
			return fmt.Errorf("%s has no %s", dir, kind)
		}
		fmt.Fprintf(stdout, "%d %s are whole\n", count[kind], kind)
	}
	if run {
		return runAll(ctx, inspected, stdout)
	}
	return nil
}

// verifyArchive checks the archive of a program.
func verifyArchive(file string) error {
	title := strings.TrimSuffix(filepath.Base(file), ".tar.gz")
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	program, p, err := splitTitle(title)
	if err != nil {
		return err
	}
	want := map[string]bool{program: true, "LICENSE": true, "README.md": true, "sbom.spdx.json": true, "THIRD-PARTY-LICENSES.txt": true,
		"docs/OPERATIONS.md": true, "completions/" + program + ".bash": true}
	var binary, sbom []byte
	err = eachFile(zr, func(h *tar.Header, data []byte) error {
		name, ok := strings.CutPrefix(h.Name, title+"/")
		if !ok {
			return fmt.Errorf("%s is not in the folder %s", h.Name, title)
		}
		delete(want, name)
		switch name {
		case program:
			binary = data
			if h.Mode != 0o755 {
				return fmt.Errorf("%s has mode %o, want 755", name, h.Mode)
			}
		case "sbom.spdx.json":
			sbom = data
		}
		return nil
	})
	if err != nil {
		return err
	}
	for name := range want {
		return fmt.Errorf("it has no %s", name)
	}
	if err := checkProgram(binary, p); err != nil {
		return err
	}
	beside, err := os.ReadFile(strings.TrimSuffix(file, ".tar.gz") + ".spdx.json")
	if err != nil {
		return err
	}
	if !bytes.Equal(beside, sbom) {
		return errors.New("its bill of materials is not the one beside it")
	}
	return checkSBOM(sbom, binary)
}

// splitTitle returns the program and the platform of a name such as edge-v1.2.3-rc.1-linux-amd64.
func splitTitle(title string) (program string, p platform, err error) {
	parts := strings.Split(title, "-")
	if len(parts) < 4 {
		return "", p, fmt.Errorf("its name is not PROGRAM-VERSION-SYSTEM-PROCESSOR")
	}
	return parts[0], platform{parts[len(parts)-2], parts[len(parts)-1]}, nil
}

// eachFile calls f for each file of a tar, in its order.
func eachFile(r io.Reader, f func(h *tar.Header, data []byte) error) error {
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if clean := path.Clean(h.Name); path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") {
			return fmt.Errorf("%q leads out of where it is unpacked", h.Name)
		}
		if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir {
			return fmt.Errorf("%s is neither a file nor a folder", h.Name)
		}
		if h.Size > fileMost {
			return fmt.Errorf("%s has %d bytes, more than the %d that are read", h.Name, h.Size, fileMost)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			return err
		}
		if err := f(h, data); err != nil {
			return err
		}
	}
}

// checkProgram demands a static program of Go for a platform.
func checkProgram(binary []byte, p platform) error {
	if _, err := buildinfo.Read(bytes.NewReader(binary)); err != nil {
		return err
	}
	if p.os == "darwin" {
		m, err := macho.NewFile(bytes.NewReader(binary))
		if err != nil {
			return err
		}
		if want := map[string]macho.Cpu{"amd64": macho.CpuAmd64, "arm64": macho.CpuArm64}[p.arch]; m.Cpu != want {
			return fmt.Errorf("it is for %v, want %v", m.Cpu, want)
		}
		return nil
	}
	e, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		return err
	}
	if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[p.arch]; e.Machine != want {
		return fmt.Errorf("it is for %v, want %v", e.Machine, want)
	}
	for _, part := range e.Progs {
		if part.Type == elf.PT_INTERP {
			return errors.New("it is linked to libraries of the system, which an image does not have")
		}
	}
	return nil
}

func verifySBOM(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return checkSBOM(text, nil)
}

// checkSBOM demands what SPDX 2.3 demands, and, where the program is there, that it is about that and has all of its libraries.
func checkSBOM(text, binary []byte) error {
	var d spdxDocument
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&d); err != nil {
		return err
	}
	if _, err := time.Parse(time.RFC3339, d.Creation.Created); err != nil {
		return err
	}
	if d.Version != "SPDX-2.3" || d.License != "CC0-1.0" || d.ID != documentID ||
		d.Name == "" || d.Namespace == "" || len(d.Creation.Creators) == 0 {
		return errors.New("it lacks what a document of SPDX 2.3 has to have")
	}
	ids, named := map[string]bool{documentID: true}, make(map[string]string)
	for _, p := range d.Packages {
		if ids[p.ID] || notInID.MatchString(strings.TrimPrefix(p.ID, "SPDXRef-")) || !strings.HasPrefix(p.ID, "SPDXRef-") {
			return fmt.Errorf("the id %q is there twice, or is none", p.ID)
		}
		if p.Name == "" || p.Version == "" || p.Download == "" {
			return fmt.Errorf("%s lacks its name, its version or where it is from", p.ID)
		}
		ids[p.ID], named[p.Name] = true, p.Version+" "+strings.TrimPrefix(p.Source, "hash in go.sum: ")
	}
	for _, r := range d.Relationships {
		if !ids[r.Element] || !ids[r.Related] {
			return fmt.Errorf("%s %s %s is about what is not there", r.Element, r.Type, r.Related)
		}
	}
	if len(d.Relationships) != len(d.Packages) {
		return fmt.Errorf("%d relations of %d packages", len(d.Relationships), len(d.Packages))
	}
	if binary == nil {
		return nil
	}
	if c := d.Packages[0].Checksums; len(c) != 1 || c[0].Value != sumOf(binary) {
		return errors.New("its bill of materials is about another program")
	}
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		return err
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		if named[m.Path] != m.Version+" "+m.Sum {
			return fmt.Errorf("its bill of materials has %q of %s, and the program %s %s", named[m.Path], m.Path, m.Version, m.Sum)
		}
	}
	return nil
}
