// SPDX-License-Identifier: Apache-2.0

// Command release makes a release and verifies one. All that it writes is the same byte for byte wherever it is made: it depends on
// the commit, the version, the Go toolchain and the certificates, and on nothing else. docs/RELEASES.md says how it is used.
//
//	main.go        the flags, and the order of a release
//	source.go      the commit, and whether the tree is that
//	gobuild.go     programs from it
//	archive.go     tar and gzip without times and owners
//	sbom.go        what is in a program, in SPDX
//	licenses.go    under which licenses that is
//	dockerfile.go  what images are, from the Dockerfile
//	image.go       images in OCI layouts, without an engine
//	sums.go        SHA256SUMS
//	verify.go      whether a release is whole, and what it says it is; inspect.go: whether an image is
//	run.go         whether the programs run from the files of their images alone
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

const usage = `usage:
  release build -version v1.2.3 -go go1.26.8 [-dir ..] [-out DIR]   make a release of the commit that is checked out
  release verify [-run] DIR                                       verify one; -run starts its programs (root, Linux)`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "release: %v\n", err)
		stop()
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) == 0 {
		return errors.New("want a command\n" + usage)
	}
	f := flag.NewFlagSet("release "+args[0], flag.ContinueOnError)
	f.SetOutput(stdout)
	f.Usage = func() { fmt.Fprintln(stdout, usage); f.PrintDefaults() }
	switch args[0] {
	case "build":
		b := &build{log: stdout, programs: allPrograms}
		f.StringVar(&b.version, "version", "", "v and a number by semantic versioning")
		f.StringVar(&b.toolchain, "go", "", "the toolchain, such as go1.26.8: another one makes other bytes")
		f.StringVar(&b.dir, "dir", "..", "the source tree, a clone whose commit is released")
		f.StringVar(&b.out, "out", "", "a folder that is new or empty; by default dist/ and the version, in the source tree")
		f.StringVar(&b.certs, "certs", "/usr/share/ca-certificates/mozilla", "the folder of certificates of Debian's package ca-certificates")
		f.StringVar(&b.source, "source", "unknown", "where the sources are, for the label of images")
		list := f.String("platforms", "", "for a trial: some platforms, such as linux-amd64,linux-arm64; by default all")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		platforms, err := parsePlatforms(*list)
		if err != nil {
			return err
		}
		return b.release(ctx, platforms)
	case "verify":
		run := f.Bool("run", false, "start the programs of images from their files alone, as their user")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		if f.NArg() != 1 {
			return errors.New("want the folder of a release\n" + usage)
		}
		return verify(ctx, f.Arg(0), *run, stdout)
	}
	return fmt.Errorf("%q is no command\n%s", args[0], usage)
}

// build is a release in the making.
type build struct {
	version, toolchain, dir, out, certs, source string

	programs []string

	log         io.Writer
	commit      string
	epoch       int64  // The time of the commit: all times of the release are that.
	work        string // A folder that is gone at the end.
	cache, root string // The module cache, and the folder of the toolchain.
}

// platform is a system that programs are built for.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "-" + p.arch }

var allPlatforms = []platform{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}}

// parsePlatforms reads a list of platforms. An empty one is all.
func parsePlatforms(list string) (some []platform, err error) {
	if list == "" {
		return allPlatforms, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(allPlatforms, func(p platform) bool { return p.String() == name })
		if i < 0 {
			return nil, fmt.Errorf("-platforms: %q is none of %v", name, allPlatforms)
		}
		some = append(some, allPlatforms[i])
	}
	return some, nil
}

// allPrograms are those that users get. bench is for who has the sources: it builds an edge from them.
var allPrograms = []string{"alerts", "demo", "edge", "marketdata", "tickgen"}

// release makes all files of a release.
func (b *build) release(ctx context.Context, platforms []platform) error {
	if is := runtime.Version(); is != b.toolchain {
		return fmt.Errorf("this is %s, whose gzip may make other bytes than that of %q: use make release, or set GOTOOLCHAIN", is, b.toolchain)
	}
	roots, err := readCerts(b.certs)
	if err != nil {
		return err
	}
	defer func() { os.RemoveAll(b.work) }()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	for _, p := range platforms {
		b.say("%s: programs", p)
		if err := b.compile(ctx, p); err != nil {
			return err
		}
	}
	b.say("archives")
	if err := b.archives(ctx, platforms); err != nil {
		return err
	}
	b.say("images")
	if err := b.images(roots, platforms); err != nil {
		return err
	}
	if err := writeSums(b.out); err != nil {
		return err
	}
	b.say("%s is %s of %s, in %s", b.version, b.commit, b.toolchain, b.out)
	return nil
}

// prepare finds out what is released, and makes the folders for it. That of work is there also after an error, perhaps.
func (b *build) prepare(ctx context.Context) (err error) {
	if err := b.findSource(ctx); err != nil {
		return err
	}
	if b.out == "" {
		b.out = filepath.Join(b.dir, "dist", b.version)
	}
	if err := makeEmpty(b.out); err != nil {
		return err
	}
	if b.work, err = os.MkdirTemp("", "tickedge-release-"); err != nil {
		return err
	}
	if b.cache, err = b.goValue(ctx, "GOMODCACHE"); err != nil {
		return err
	}
	b.root, err = b.goValue(ctx, "GOROOT")
	return err
}

// archives writes those of all programs.
func (b *build) archives(ctx context.Context, platforms []platform) error {
	if !slices.Contains(platforms, host) {
		if err := b.compile(ctx, host); err != nil {
			return err
		}
	}
	extra, err := b.extras(ctx)
	if err != nil {
		return err
	}
	more, err := b.completions(ctx)
	if err != nil {
		return err
	}
	var jobs []func() error
	for _, p := range platforms {
		for _, name := range b.programs {
			jobs = append(jobs, func() error { return b.pack(name, p, slices.Concat(extra, more[name])) })
		}
	}
	return parallel(jobs)
}

func (b *build) say(format string, args ...any) { fmt.Fprintf(b.log, format+"\n", args...) }

// binary is where a program is while the release is made.
func (b *build) binary(p platform, name string) string {
	return filepath.Join(b.work, p.String(), name)
}

// title is what the files of a program are called.
func (b *build) title(name string, p platform) string {
	return strings.Join([]string{name, b.version, p.String()}, "-")
}

// makeEmpty makes a folder, and refuses one that has files: they would be taken for those of the release.
func makeEmpty(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	has, err := os.ReadDir(dir)
	if err == nil && len(has) > 0 {
		err = fmt.Errorf("%s is not empty: delete it, or name another folder by -out", dir)
	}
	return err
}

// parallel does jobs, as many at a time as there are processors.
func parallel(jobs []func() error) error {
	room, errs := make(chan struct{}, runtime.GOMAXPROCS(0)), make(chan error, len(jobs))
	for _, job := range jobs {
		go func() {
			room <- struct{}{}
			defer func() { <-room }()
			errs <- job()
		}()
	}
	var all []error
	for range jobs {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}
