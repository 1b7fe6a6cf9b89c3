// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// NginxFile is the file in the run's directory that an nginx of Nginx serves as its only one.
const NginxFile = "static.json"

// nginxConfig serves one file, on all processors, and logs nothing. The rest is as nginx has it.
const nginxConfig = `%sdaemon off; worker_processes auto; pid %[2]s/nginx.pid; error_log stderr;
events { worker_connections 1024; }
http { access_log off; default_type application/json;
server { listen %[3]s; root %[2]s; location = /%[4]s {} location / { return 404; } } }
`

// HasTools reports whether programs are in PATH.
func HasTools(names ...string) bool {
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			return false
		}
	}
	return true
}

// Nginx starts an nginx from PATH.
func (l *Lab) Nginx() (*Server, error) {
	path, err := exec.LookPath("nginx")
	if err != nil {
		return nil, errors.New("lab: there is no nginx in PATH")
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	user := "" // Who can't change the user is warned of the word.
	if os.Getuid() == 0 {
		user = "user root; "
	}
	if err := l.WriteFile("nginx.conf", fmt.Appendf(nil, nginxConfig, user, l.Dir, addr, NginxFile)); err != nil {
		return nil, err
	}
	p, err := l.Start(Spec{
		Name: "nginx", Path: path, Args: []string{"-c", l.Path("nginx.conf"), "-e", "stderr", "-p", l.Dir},
		Ready: dials(addr),
	})
	if err != nil {
		return nil, err
	}
	return &Server{Addr: addr, Procs: []*Proc{p}}, nil
}

// Wrk has a wrk from PATH ask for one URL over conns that are kept, again and again without a
// pause, for some seconds, and returns the answers per second. An answer that is not 2xx, or
// none, is an error.
func (l *Lab) Wrk(url string, conns, seconds int) (perSecond float64, err error) {
	out, err := exec.CommandContext(l.ctx, "wrk", "-t1", "-c"+strconv.Itoa(conns), "-d"+strconv.Itoa(seconds), url).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("lab: wrk: %w\n%s", err, out)
	}
	return wrkRate(out)
}

// wrkRate reads what wrk says.
func wrkRate(out []byte) (perSecond float64, err error) {
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		switch name {
		case "Socket errors", "Non-2xx or 3xx responses":
			return 0, fmt.Errorf("lab: wrk: %s: %s", name, strings.TrimSpace(value))
		case "Requests/sec":
			perSecond, err = strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	if err != nil || perSecond == 0 {
		return 0, fmt.Errorf("lab: wrk says no rate: %.500s", out)
	}
	return perSecond, nil
}
