// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// trials are flags with which programs need nothing but themselves.
var trials = map[string][]string{
	"/edge":       {"-demo", "-page"},
	"/marketdata": {"-in=sim", "-symbols=AAPL", "-broker=memory"},
	"/alerts":     {"-source=memory", "-open"},
}

// runTime bounds a program, from its start to its end.
const runTime = time.Minute

// runAll starts the programs of the images of layouts for this host, each with the files of its image and nothing else, as the
// user of the image.
func runAll(ctx context.Context, images []*inspected, stdout io.Writer) error {
	if os.Geteuid() != 0 || host.os != "linux" {
		return errors.New("-run needs root on Linux: it changes the root folder and the user of programs")
	}
	ran := 0
	for _, i := range images {
		if i.platform != host || !strings.HasSuffix(i.name, ".oci.tar") {
			continue
		}
		if err := i.run(ctx, stdout); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(i.name), err)
		}
		ran++
	}
	if ran == 0 {
		return fmt.Errorf("there is no image for %s", host)
	}
	return nil
}

// unpack writes the files of an image, with their owners.
func (i *inspected) unpack(root string) error {
	for _, layer := range i.layers {
		err := eachFile(bytes.NewReader(layer), func(h *tar.Header, data []byte) error {
			name := filepath.Join(root, filepath.FromSlash(path.Clean("/"+h.Name)))
			mode := os.FileMode(h.Mode).Perm()
			var err error
			if h.Typeflag == tar.TypeReg {
				err = os.WriteFile(name, data, mode)
			} else {
				err = os.MkdirAll(name, mode)
			}
			if err == nil {
				err = os.Chown(name, h.Uid, h.Gid)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (i *inspected) run(ctx context.Context, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	root, err := os.MkdirTemp("", "tickedge-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	if err := errors.Join(os.Chmod(root, 0o755), i.unpack(root)); err != nil {
		return err
	}
	admin, err := freeAddr()
	if err != nil {
		return err
	}
	program := i.config.Entrypoint[0]
	flags := append([]string{"-listen=127.0.0.1:0", "-admin=" + admin}, trials[program]...)
	c := i.command(ctx, root, append([]string{program}, flags...))
	var said bytes.Buffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		return err
	}
	ended, failed := make(chan struct{}), error(nil)
	go func() {
		defer close(ended)
		failed = c.Wait()
	}()
	answer, err := await(ctx, "http://"+admin+"/healthz", ended)
	if err == nil && i.config.Healthcheck != nil {
		test := i.config.Healthcheck.Test[1:]
		err = awaitOK(ctx, func() *exec.Cmd { return i.command(ctx, root, append(test, "-admin="+admin)) })
	}
	if err != nil {
		cancel() // Which kills it.
		<-ended
		return fmt.Errorf("%w: it said:\n%s", err, said.Bytes())
	}
	_ = c.Process.Signal(syscall.SIGTERM)
	if <-ended; failed != nil {
		return fmt.Errorf("%s did not end well: %w:\n%s", program, failed, said.Bytes())
	}
	fmt.Fprintf(stdout, "%s of %s ran as %s: /healthz said %s, its healthcheck was well, and it ended when told to\n",
		program, filepath.Base(i.name), i.config.User, answer)
	return nil
}

// command is one with the files of the image alone.
func (i *inspected) command(ctx context.Context, root string, args []string) *exec.Cmd {
	uid, gid, _ := strings.Cut(i.config.User, ":")
	u, _ := strconv.ParseUint(uid, 10, 32) // They are numbers: check has demanded that.
	g, _ := strconv.ParseUint(gid, 10, 32)
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Env, c.Dir = i.config.Env, "/"
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: uint32(u), Gid: uint32(g)}}
	return c
}

// freeAddr is one of the loopback on which nobody listens now.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// tryEvery is between two looks at what starts.
const tryEvery = 50 * time.Millisecond

// await asks for a URL until it answers, or the program has ended.
func await(ctx context.Context, url string, ended <-chan struct{}) (answer string, err error) {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		resp, err := client.Get(url)
		if err == nil {
			text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return strings.TrimSpace(string(text)), nil
			}
		}
		select {
		case <-ended:
			return "", fmt.Errorf("it has ended before %s answered", url)
		case <-ctx.Done():
			return "", fmt.Errorf("%s does not answer: %w", url, ctx.Err())
		case <-time.After(tryEvery):
		}
	}
}

// awaitOK runs a command until it ends well.
func awaitOK(ctx context.Context, command func() *exec.Cmd) error {
	for {
		_, err := output(command())
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(tryEvery):
		}
	}
}
