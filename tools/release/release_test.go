// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// program is the one that is released here: the smallest one that users get.
const program = "tickgen"

// released is a release of one program, with images whose programs are stand-ins.
func released(t *testing.T, clone string) *build {
	t.Helper()
	if out, err := exec.Command("git", "clone", "-q", "--shared", filepath.Join("..", ".."), clone).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b := &build{
		version: "v9.8.7-test", toolchain: runtime.Version(), dir: clone, out: filepath.Join(t.TempDir(), "out"), source: "https://example.com/",
		programs: []string{program}, log: io.Discard,
	}
	if err := b.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(b.work) })
	if err := b.compile(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	if err := b.archives(t.Context(), []platform{host}); err != nil {
		t.Fatal(err)
	}
	standIns(t, b)
	if err := b.images([]byte("certificates"), allPlatforms); err != nil {
		t.Fatal(err)
	}
	if err := writeSums(b.out); err != nil {
		t.Fatal(err)
	}
	return b
}

// standIns puts a small program in the place of those of images, for each processor: only its head says which.
func standIns(t *testing.T, b *build) {
	t.Helper()
	small := filepath.Join(b.work, "small")
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", small, "./testdata/small")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if _, err := output(c); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(small)
	if err != nil {
		t.Fatal(err)
	}
	for arch, machine := range map[string]uint16{"amd64": 62, "arm64": 183} {
		binary.LittleEndian.PutUint16(text[18:], machine)
		dir := filepath.Join(b.work, "images", "linux-"+arch)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"edge", "tickgen", "marketdata", "alerts"} {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.work = filepath.Join(b.work, "images")
	t.Cleanup(func() { os.RemoveAll(filepath.Dir(b.work)) })
}

// Two clones in different folders make the same files, and these verify.
func TestTwoClonesMakeTheSameBytes(t *testing.T) {
	if _, err := os.Stat(filepath.Join("..", "..", ".git")); err != nil {
		t.Skip("there is no git here, and so no commit to release")
	}
	a := released(t, filepath.Join(t.TempDir(), "a"))
	b := released(t, filepath.Join(t.TempDir(), "another", "folder", "with a longer name"))
	names := folder(t, a.out)
	if want := 2 + 3*3 + 1; len(names) != want || !slices.Equal(names, folder(t, b.out)) {
		t.Fatalf("%q and %q, want %d files", names, folder(t, b.out), want)
	}
	for _, name := range names {
		if !bytes.Equal(read(t, filepath.Join(a.out, name)), read(t, filepath.Join(b.out, name))) {
			t.Errorf("%s is not the same", name)
		}
	}
	if err := verify(t.Context(), a.out, false, io.Discard); err != nil {
		t.Error(err)
	}
	t.Run("version", func(t *testing.T) { saysItsVersion(t, a) })
	t.Run("image", func(t *testing.T) { looksLikeTheDockerfile(t, a) })
	t.Run("unpacks", func(t *testing.T) { unpacks(t, a) })
	t.Run("tampered", func(t *testing.T) { tampered(t, a) })
}

// saysItsVersion runs what is in the archive.
func saysItsVersion(t *testing.T, b *build) {
	out, err := exec.Command("tar", "-xzf", filepath.Join(b.out, b.title(program, host)+".tar.gz"), "-C", b.work).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	said, err := output(exec.Command(filepath.Join(b.work, b.title(program, host), program), "-version"))
	if want := program + " 9.8.7-test, commit " + b.commit + ", " + runtime.Version() + " "; err != nil || !strings.HasPrefix(said, want) {
		t.Errorf("it says %q, %v, want %q", said, err, want)
	}
}

func looksLikeTheDockerfile(t *testing.T, b *build) {
	images, err := inspectFile(filepath.Join(b.out, "tickedge-alerts-v9.8.7-test.oci.tar"))
	if err != nil || len(images) != 2 {
		t.Fatalf("%d images: %v", len(images), err)
	}
	for n, arch := range []string{"amd64", "arm64"} {
		c := images[n].config
		_, volume := c.Volumes["/data"]
		_, port := c.Ports["8100/tcp"]
		if images[n].platform != (platform{"linux", arch}) || c.User != "65532:65532" || !volume || !port ||
			!slices.Equal(c.Entrypoint, []string{"/alerts"}) ||
			!slices.Equal(c.Healthcheck.Test, []string{"CMD", "/alerts", "healthcheck"}) || c.Healthcheck.Retries != 3 ||
			!slices.Contains(c.Env, "ALERTS_STORE=/data/alerts") || len(images[n].layers) != 3 {
			t.Errorf("%+v", c)
		}
		for name, want := range map[string]string{
			"title": "Tickedge alerts", "version": "9.8.7-test", "revision": b.commit, "source": "https://example.com/",
		} {
			if is := c.Labels["org.opencontainers.image."+name]; is != want {
				t.Errorf("%s is %q, want %q", name, is, want)
			}
		}
	}
}

// unpacks writes the files of an image, as root, as owners are set.
func unpacks(t *testing.T, b *build) {
	images, err := inspectFile(filepath.Join(b.out, "tickedge-alerts-v9.8.7-test.oci.tar"))
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("it takes root")
	}
	root := t.TempDir()
	if err := images[0].unpack(root); err != nil {
		t.Fatal(err)
	}
	if text := read(t, filepath.Join(root, "etc", "ssl", "certs", "ca-certificates.crt")); string(text) != "certificates" {
		t.Errorf("the certificates are %q", text)
	}
	for name, want := range map[string]os.FileMode{"alerts": 0o755, "data": 0o700 | os.ModeDir} {
		if is, err := os.Stat(filepath.Join(root, name)); err != nil || is.Mode() != want {
			t.Errorf("%s: %v, %v", name, is, err)
		}
	}
}

// tampered changes one byte of each file, in turn: the sums notice, and where they were made anew, what they are about does.
func tampered(t *testing.T, b *build) {
	for _, name := range folder(t, b.out) {
		file := filepath.Join(b.out, name)
		good := read(t, file)
		bad := slices.Clone(good)
		bad[len(bad)/2] ^= 0x40
		write(t, file, bad)
		if err := verify(context.Background(), b.out, false, io.Discard); err == nil {
			t.Errorf("a change of %s is not noticed", name)
		}
		if name != sumsName {
			if err := writeSums(b.out); err != nil {
				t.Fatal(err)
			}
			// In the blanks and times of a tar, or the name of a package, there is nothing to notice.
			if err := verify(context.Background(), b.out, false, io.Discard); err == nil && strings.HasSuffix(name, ".tar") {
				t.Errorf("a change of %s with new sums is not noticed", name)
			}
		}
		write(t, file, good)
		if err := writeSums(b.out); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(b.out, "extra.tar.gz"), []byte("more"))
	if err := verify(context.Background(), b.out, false, io.Discard); err == nil {
		t.Error("a file that is in no line is not noticed")
	}
}

func folder(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func write(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
}
