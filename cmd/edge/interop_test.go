// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Clients of other languages, by libraries that know nothing of us, get along with the
// edge: from the handshake to a close that both sides call clean.
func TestOtherClients(t *testing.T) {
	t.Parallel()
	e := start(t, "-demo", "-demo-symbols", "AAPL", "-interval", "100ms")
	for _, c := range []struct {
		name string
		args []string
	}{
		{"node", []string{"node", "testdata/client.js"}},
		{"python", []string{"/usr/bin/python3", "testdata/client.py"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(c.args[0]); err != nil {
				t.Fatalf("%s is missing: make deps", c.args[0])
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, c.args[0], append(c.args[1:], "ws://"+e.addr+"/ws")...)
			cmd.WaitDelay = time.Second
			// Where Debian puts the modules of its node- packages.
			cmd.Env = append(os.Environ(), "NODE_PATH=/usr/share/nodejs")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s%s", err, out, &stderr)
			}
			var types []string
			lines := bufio.NewScanner(bytes.NewReader(out))
			for lines.Scan() {
				var m struct {
					T    string
					Code int
				}
				if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
					t.Fatalf("%q: %v", lines.Text(), err)
				}
				types = append(types, m.T)
				if m.T == "(close)" && m.Code != 1000 {
					t.Errorf("closed with %d", m.Code)
				}
			}
			if len(types) < 4 || types[0] != "hello" || types[1] != "ack" || types[len(types)-1] != "(close)" {
				t.Errorf("got %v", types)
			}
		})
	}
}
