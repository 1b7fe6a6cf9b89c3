// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tickedge/internal/app"
	program "tickedge/internal/app/alerts"
	"tickedge/internal/logtest"
	"tickedge/internal/nettest"
)

// asProgram makes this test binary the program itself, so that it can be killed.
const asProgram = "TICKEDGE_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		app.Main(program.Main)
	}
	os.Exit(m.Run())
}

const patience = 2 * time.Minute

// process is an alerts, which can be started again and again.
type process struct {
	t     *testing.T
	args  []string
	addr  string // Of REST.
	cmd   *exec.Cmd
	log   logtest.Log
	ended chan error
}

func newProcess(t *testing.T, args ...string) *process {
	p := &process{t: t, addr: nettest.FreeAddr(t)}
	p.args = append([]string{"-admin=", "-open", "-listen=" + p.addr}, args...)
	t.Cleanup(func() {
		if t.Failed() && p.cmd != nil { // Where its goroutines are.
			p.signal(syscall.SIGQUIT)
			<-p.ended
			p.cmd = nil
		}
		p.kill()
		if t.Failed() {
			text := p.log.String()
			t.Logf("log:\n%s", text[max(0, len(text)-12000):])
		}
	})
	return p
}

func (p *process) start() {
	p.t.Helper()
	p.cmd, p.ended = exec.Command(os.Args[0], p.args...), make(chan error, 1)
	p.cmd.Env = append(os.Environ(), asProgram+"=1")
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	cmd, ended := p.cmd, p.ended
	go func() { ended <- cmd.Wait() }()
}

// kill kills it, if it runs.
func (p *process) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		<-p.ended
		p.cmd = nil
	}
}

func (p *process) signal(s syscall.Signal) {
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s)
	}
}

// end ends it in order.
func (p *process) end() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	select {
	case err := <-p.ended:
		if err != nil {
			p.t.Errorf("after SIGTERM it ends with %v", err)
		}
		p.cmd = nil
	case <-time.After(patience):
		p.t.Fatal("it did not end")
	}
}

func (p *process) eventually(what string, is func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("not so in %v: %s", patience, what)
		}
	}
}

var client = &http.Client{Timeout: 5 * time.Second}

// call asks and reads an answer. Status 0 is none.
func (p *process) call(method, path, body string, to any, header ...string) (status int, text string) {
	r, err := http.NewRequest(method, "http://"+p.addr+path, strings.NewReader(body))
	if err != nil {
		p.t.Error(err)
		return 0, ""
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	if to != nil && res.StatusCode < 300 {
		if err := json.NewDecoder(bytes.NewReader(answer)).Decode(to); err != nil {
			p.t.Errorf("%s %s: %v in %s", method, path, err, answer)
		}
	}
	return res.StatusCode, fmt.Sprintf("%d %s", res.StatusCode, answer)
}

// asked is an alert of an answer.
type asked struct {
	ID        int64
	User      int64 `json:"user_id"`
	Symbol    string
	Condition string
	Target    json.Number `json:"target_price"`
	State     string
	Created   int64
	Arm       int64
	Armed     int64
	Fired     *firing
}

type firing struct {
	N, Alert, Arm, At int64
	Price             json.Number
	By                string
}
