// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"
)

// process is a server in a process of its own, or in this one, which has pid 0.
type process struct {
	addr string
	pid  int
}

// startDebian starts Debian's server, which is older than batches, with JetStream, in a process of its own.
// It has the users of startServer.
func startDebian(t testing.TB) (s process) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf")
	text := fmt.Sprintf("listen: \"127.0.0.1:-1\"\nports_file_dir: %q\njetstream { store_dir: %q }\n"+
		"authorization { users: [ { user: edge, password: %s }, { user: publisher, password: %s } ] }\n", dir, dir, secret, secret)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, said := exec.Command("/usr/sbin/nats-server", "-c", conf), new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal("install nats-server (make deps): ", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said)
		}
	})
	await(t, "nats-server answers", func() bool {
		var ports struct {
			Nats []string `json:"nats"`
		}
		files, _ := filepath.Glob(filepath.Join(dir, "*.ports"))
		if len(files) == 0 {
			return false
		}
		data, _ := os.ReadFile(files[0])
		if json.Unmarshal(data, &ports) != nil || len(ports.Nats) == 0 {
			return false
		}
		s.addr = strings.TrimPrefix(ports.Nats[0], "nats://")
		nc, err := natsgo.Connect(s.addr, natsgo.UserInfo("publisher", secret))
		if err != nil {
			return false
		}
		defer nc.Close()
		js, _ := nc.JetStream()
		_, err = js.AccountInfo()
		return err == nil
	})
	s.pid = cmd.Process.Pid
	return s
}
