// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

var (
	versionForm = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$`)
	goForm      = regexp.MustCompile(`^go1\.\d+(\.\d+|rc\d+)?$`)
)

// certsSum is that of the bundle of ca-certificates 20230311+deb12u1. Who updates the package in the image that the Dockerfile
// builds in updates this.
const certsSum = "a3413a37a8e09cc21b2c11c9ffb23d92d2fc9d1933c9e7617f5c4fba4f72d37d"

// findSource finds out which commit is released. What is not in it would not be in a release of somebody else.
func (b *build) findSource(ctx context.Context) (err error) {
	if !versionForm.MatchString(b.version) {
		return fmt.Errorf("-version is %q, want v and a number by semantic versioning, such as v0.9.1 or v1.0.0-rc.1", b.version)
	}
	if !goForm.MatchString(b.toolchain) {
		return fmt.Errorf("-go is %q, want a toolchain such as go1.26.8", b.toolchain)
	}
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	changed, err := b.git(ctx, "status", "--porcelain")
	if err != nil {
		return err
	}
	if changed != "" {
		return fmt.Errorf("%s has changes that are in no commit: commit them, or release from a clone:\n%s", b.dir, changed)
	}
	if b.commit, err = b.git(ctx, "rev-parse", "HEAD"); err != nil {
		return err
	}
	at, err := b.git(ctx, "log", "-1", "--format=%ct")
	if err != nil {
		return err
	}
	if set := os.Getenv("SOURCE_DATE_EPOCH"); set != "" {
		at = set
	}
	if b.epoch, err = strconv.ParseInt(at, 10, 64); err != nil || b.epoch < 0 {
		return fmt.Errorf("SOURCE_DATE_EPOCH is %q, want seconds since 1970: unset it for the time of the commit", at)
	}
	return b.checkChangelog()
}

// checkChangelog demands that users can read what a release changes. One with a suffix, such as -rc.1, is of what is not told yet.
func (b *build) checkChangelog() error {
	text, err := os.ReadFile(filepath.Join(b.dir, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	number, _, rc := strings.Cut(strings.TrimPrefix(b.version, "v"), "-")
	if !rc && !bytes.Contains(text, []byte("\n## "+number+" (")) {
		return fmt.Errorf("CHANGELOG.md has no heading of %s: give one to what is under Unreleased, as CONTRIBUTING.md says", number)
	}
	return nil
}

func (b *build) git(ctx context.Context, args ...string) (string, error) {
	return output(exec.CommandContext(ctx, "git", append([]string{"-C", b.dir, "-c", "safe.directory=*"}, args...)...))
}

// output runs a command and returns what it writes, or an error with what it says.
func output(c *exec.Cmd) (string, error) {
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(c.Args, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}

// readCerts makes the bundle of certificates. It is made of the files of the package, not taken from /etc/ssl, as that has what
// this host trusts beside them, such as the proxy of a company.
func readCerts(dir string) ([]byte, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.crt"))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there are no certificates in %s: install Debian's ca-certificates, or name its folder by -certs", dir)
	}
	var bundle []byte
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		bundle = append(bundle, text...)
	}
	if sum := sumOf(bundle); sum != certsSum {
		return nil, fmt.Errorf("the certificates of %s are %s, want %s: take ca-certificates 20230311+deb12u1 of Debian 12 "+
			"(dpkg-deb -x, and -certs), or, for a newer package, change certsSum", dir, sum, certsSum)
	}
	return bundle, nil
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

var errNoGo = errors.New("no go command: install Go, and see that it is in PATH")
