// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// goEnv is the environment of the go command: what it may find modules with is the user's, and what changes the bytes is not.
func (b *build) goEnv(p platform) []string {
	keep := []string{"PATH", "HOME", "TMPDIR", "GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE",
		"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"}
	var env []string
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); slices.Contains(keep, name) {
			env = append(env, v)
		}
	}
	return append(env, "GOENV=off", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off", "GOTOOLCHAIN="+b.toolchain, "CGO_ENABLED=0",
		"GOAMD64=v1", "GOARM64=v8.0", "GOFIPS140=off", "GOOS="+p.os, "GOARCH="+p.arch)
}

// compile builds programs as the Dockerfile does, but without tables for a debugger. What Go would note of git by itself depends
// on the tags of a clone, so it is said.
func (b *build) compile(ctx context.Context, p platform) error {
	tool, err := exec.LookPath("go")
	if err != nil {
		return errNoGo
	}
	dir := filepath.Join(b.work, p.String())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-tags", "grpcnotrace", "-o", dir + string(filepath.Separator),
		"-ldflags", fmt.Sprintf("-s -w -buildid= -X tickedge/internal/app.version=%s -X tickedge/internal/app.commit=%s", b.version, b.commit)}
	for _, name := range b.programs {
		args = append(args, "./cmd/"+name)
	}
	c := exec.CommandContext(ctx, tool, args...)
	c.Dir, c.Env = b.dir, b.goEnv(p)
	_, err = output(c)
	return err
}

// goValue is a setting of the go command, such as GOMODCACHE.
func (b *build) goValue(ctx context.Context, name string) (string, error) {
	c := exec.CommandContext(ctx, "go", "env", name)
	c.Dir, c.Env = b.dir, b.goEnv(host)
	return output(c)
}
