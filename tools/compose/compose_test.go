// SPDX-License-Identifier: Apache-2.0

// Package compose holds docker-compose.yml against the schema of the Compose specification, and its services against each other.
// No container engine is needed. That the programs take what they are given is a test of cmd/demo.
package compose

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

var root, _ = filepath.Abs(filepath.Join("..", ".."))

// load reads docker-compose.yml as docker compose does: what the schema does not have is an error.
func load(t *testing.T, environment types.Mapping) *types.Project {
	t.Helper()
	p, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: root, ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(root, "docker-compose.yml")}}, Environment: environment,
	}, func(o *loader.Options) { o.SetProjectName("tickedge", true) })
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Services) < 14 {
		t.Fatalf("only %d services: %v", len(p.Services), p.ServiceNames())
	}
	return p
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// once reports whether a service does something and ends.
func once(s types.ServiceConfig) bool { return s.Name == "prepare" }

// Services have no rights, bounds for what they take, and somebody who asks them whether they are well.
func TestRights(t *testing.T) {
	t.Parallel()
	own := regexp.MustCompile(`^tickedge(-[a-z]+)?:compose$`)
	pinned := regexp.MustCompile(`^[a-z/]+:v?[0-9]+(\.[0-9]+){1,2}(-[a-z]+)?$`)
	for name, s := range load(t, nil).Services {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.Privileged {
			t.Errorf("%s has rights that it does not need", name)
		}
		if len(s.CapAdd) > 0 && !(once(s) && slices.Equal(s.CapAdd, []string{"CHOWN"})) {
			t.Errorf("%s gets %v", name, s.CapAdd)
		}
		// Images of our own have a user: Dockerfile.
		if ours := own.MatchString(s.Image) && s.Build != nil; !ours && (!pinned.MatchString(s.Image) || s.User == "") ||
			strings.HasPrefix(s.User, "0") != once(s) {
			t.Errorf("%s: image %s, user %q: want one version, and a user without rights", name, s.Image, s.User)
		}
		if s.MemLimit < 32<<20 || s.PidsLimit == 0 || s.Logging == nil || s.Logging.Options["max-size"] == "" {
			t.Errorf("%s has no limit of memory (%d), of processes (%d) or of its log", name, s.MemLimit, s.PidsLimit)
		}
		if want := map[bool]string{false: types.RestartPolicyUnlessStopped, true: types.RestartPolicyNo}[once(s)]; s.Restart != want {
			t.Errorf("%s has restart %q, want %q", name, s.Restart, want)
		}
		if h := s.HealthCheck; !once(s) && (h == nil || h.Disable != (name == "fx") || !h.Disable && (len(h.Test) < 2 || h.Interval == nil)) {
			t.Errorf("%s is not asked whether it is well: %+v", name, h)
		}
		if asks := slices.Equal(tail(s), []string{"healthcheck"}); asks != (own.MatchString(s.Image) && name != "fx") {
			t.Errorf("%s is asked by %q", name, tail(s))
		}
	}
}

// tail is what a healthcheck runs, behind the program.
func tail(s types.ServiceConfig) []string {
	if s.HealthCheck == nil || len(s.HealthCheck.Test) < 2 {
		return nil
	}
	return s.HealthCheck.Test[2:]
}

// What is mounted is there, each volume has who uses it, and what is given to read can't be written.
func TestMounts(t *testing.T) {
	t.Parallel()
	p := load(t, nil)
	used := make(map[string]int)
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			switch v.Type {
			case types.VolumeTypeBind:
				if _, err := os.Stat(v.Source); err != nil || !strings.HasPrefix(v.Source, root+"/") {
					t.Errorf("%s: %v", name, err)
				}
				if !v.ReadOnly {
					t.Errorf("%s may write to %s", name, v.Source)
				}
			default:
				used[v.Source]++
				if key := strings.HasSuffix(v.Source, "-key") || v.Source == "certificate"; key && v.ReadOnly == once(s) {
					t.Errorf("%s: %s is read-only: %v", name, v.Source, v.ReadOnly)
				}
			}
		}
	}
	for name := range p.Volumes {
		if used[name] == 0 {
			t.Errorf("nobody uses the volume %s", name)
		}
	}
	// Who may read a password.
	for volume, readers := range map[string]int{"postgres-key": 2, "marketdata-key": 3, "alerts-key": 3, "certificate": 2} {
		if used[volume] != readers {
			t.Errorf("%d services have the volume %s, want %d", used[volume], volume, readers)
		}
	}
	// A certificate of one's own is a folder.
	for _, name := range []string{"prepare", "proxy"} {
		found := false
		for _, v := range load(t, types.Mapping{"TICKEDGE_CERTIFICATE": "/etc/prices"}).Services[name].Volumes {
			found = found || v.Type == types.VolumeTypeBind && v.Source == "/etc/prices"
		}
		if !found {
			t.Errorf("%s does not have the certificate of TICKEDGE_CERTIFICATE", name)
		}
	}
}

// variable is a variable of a program, without the name of the program.
func variable(s types.ServiceConfig, name string) string {
	for key, value := range s.Environment {
		if strings.HasSuffix(key, "_"+name) && strings.Count(key, "_") == strings.Count(name, "_")+1 && value != nil {
			return *value
		}
	}
	return ""
}

// listening is where each service listens.
func listening(t *testing.T, p *types.Project) map[string][]string {
	t.Helper()
	ports := map[string][]string{"redis": {"6379"}, "nats": {"4222"}, "postgres": {"5432"}, "prometheus": {"9090"}, "grafana": {"3000"}}
	kafka := read(t, "deploy", "compose", "kafka.properties")
	for _, m := range regexp.MustCompile(`(?m)^listeners=.*PLAINTEXT://:(\d+)`).FindAllStringSubmatch(kafka, -1) {
		ports["kafka"] = append(ports["kafka"], m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^\tbind :(\d+)`).FindAllStringSubmatch(read(t, "deploy", "haproxy", "compose.cfg"), -1) {
		ports["proxy"] = append(ports["proxy"], m[1])
	}
	usual := map[string]string{"tickedge:compose": "8080", "tickedge-marketdata:compose": "8090", "tickedge-alerts:compose": "8100"}
	for name, s := range p.Services {
		if at := slices.Index(s.Command, "-m"); name == "nats" && at >= 0 {
			ports[name] = append(ports[name], s.Command[at+1])
		}
		if port := usual[s.Image]; port != "" && len(s.Entrypoint) == 0 {
			ports[name] = []string{port}
			for _, flag := range []string{"ADMIN", "GRPC"} {
				if at, ok := strings.CutPrefix(variable(s, flag), ":"); ok {
					ports[name] = append(ports[name], at)
				}
			}
		}
	}
	return ports
}

// meet reports whether two services have a network in common.
func meet(a, b types.ServiceConfig) bool {
	for name := range a.Networks {
		if _, is := b.Networks[name]; is {
			return true
		}
	}
	return false
}

// Where one service looks for another, that listens, and there is a network that both have.
func TestPorts(t *testing.T) {
	t.Parallel()
	p := load(t, nil)
	ports := listening(t, p)
	// What each says of others, beside its own files.
	says := map[string]string{
		"proxy": read(t, "deploy", "haproxy", "compose.cfg"), "prometheus": read(t, "deploy", "prometheus", "targets.yml"),
		"grafana": read(t, "deploy", "grafana", "datasource.yml"), "kafka": read(t, "deploy", "compose", "kafka.properties"),
		"alerts": read(t, "deploy", "compose", "prepare"), // Which says where its database is.
	}
	for name, s := range p.Services {
		for _, value := range s.Environment {
			if value != nil {
				says[name] += "\n" + *value
			}
		}
		for _, port := range s.Ports {
			if !slices.Contains(ports[name], fmt.Sprint(port.Target)) {
				t.Errorf("%s publishes %d, and listens on %v", name, port.Target, ports[name])
			}
			if public := port.HostIP == ""; public != (name == "proxy" && port.Target != 8080) {
				t.Errorf("%s publishes %d for %q", name, port.Target, port.HostIP)
			}
		}
		if s.HealthCheck != nil {
			for _, m := range regexp.MustCompile(`127\.0\.0\.1[:/](\d+)`).FindAllStringSubmatch(strings.Join(s.HealthCheck.Test, " "), -1) {
				if !slices.Contains(ports[name], m[1]) {
					t.Errorf("%s is asked on %s, and listens on %v", name, m[1], ports[name])
				}
			}
		}
	}
	seen := 0
	named := regexp.MustCompile(`\b([a-z]+[0-9]?):(\d{4,5})\b`)
	for name, text := range says {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			other, known := p.Services[m[1]]
			if !known {
				if m[1] != "localhost" {
					t.Errorf("%s speaks of %s, and there is no such service", name, m[0])
				}
				continue
			}
			seen++
			if !slices.Contains(ports[m[1]], m[2]) {
				t.Errorf("%s looks for %s, which listens on %v", name, m[0], ports[m[1]])
			}
			if m[1] != name && !meet(p.Services[name], other) {
				t.Errorf("%s can't reach %s", name, m[1])
			}
		}
	}
	if seen < 25 {
		t.Errorf("only %d ports were compared", seen)
	}
	if !bool(p.Networks["brokers"].Internal) {
		t.Error("brokers have a way out")
	}
	for name, want := range map[string]string{
		"redis": "brokers", "nats": "brokers", "kafka": "brokers", "postgres": "brokers", "fx": "brokers", "proxy": "clients",
		"prometheus": "metrics", "grafana": "metrics",
	} {
		if is := slices.Collect(maps.Keys(p.Services[name].Networks)); !slices.Equal(is, []string{want}) {
			t.Errorf("%s is in %v, want %s alone", name, is, want)
		}
	}
}

// Each symbol that is made bars of has trades.
func TestSymbols(t *testing.T) {
	t.Parallel()
	inlets := strings.Split(variable(load(t, nil).Services["ingest"], "IN"), ",")
	all := regexp.MustCompile(`(?m)^  - .*source: (\w+)`).FindAllStringSubmatch(read(t, "deploy", "compose", "symbols.yaml"), -1)
	if len(all) < 10 {
		t.Errorf("%d symbols", len(all))
	}
	for _, m := range all {
		if !slices.Contains(inlets, m[1]) {
			t.Errorf("nobody brings the trades of %s", m[0])
		}
	}
}

// checked is a server of a backend of HAProxy, and how it is asked whether it is well.
type checked struct{ host, port, asked string }

// checks reads a configuration of HAProxy.
func checks(text string) (all []checked) {
	var port, asked string
	for line := range strings.Lines(text) {
		switch words := strings.Fields(line); {
		case len(words) == 0:
		case line[0] != '\t':
			port, asked = "", ""
		case words[0] == "default-server":
			port = after(words, "port")
		case strings.HasPrefix(line, "\thttp-check send"):
			asked = after(words, "Host")
		case words[0] == "server":
			host, _, _ := strings.Cut(words[2], ":")
			s := checked{host, port, asked}
			if own := after(words, "port"); own != "" {
				s.port = own
			}
			all = append(all, s)
		}
	}
	return all
}

func after(words []string, name string) string {
	if at := slices.Index(words, name); at >= 0 && at+1 < len(words) {
		return words[at+1]
	}
	return ""
}

// Whoever asks an admin port calls it by a name that it knows, and finds it; what is proxied believes the proxy.
func TestAdminPorts(t *testing.T) {
	t.Parallel()
	p := load(t, nil)
	all := checks(read(t, "deploy", "haproxy", "compose.cfg"))
	for _, m := range regexp.MustCompile(`"([a-z0-9]+):(\d+)"`).FindAllStringSubmatch(read(t, "deploy", "prometheus", "targets.yml"), -1) {
		all = append(all, checked{m[1], m[2], m[1]})
	}
	if len(all) != 9+6 {
		t.Errorf("%d servers and targets", len(all))
	}
	for _, c := range all {
		s := p.Services[c.host]
		if is := variable(s, "ADMIN"); is != ":"+c.port {
			t.Errorf("%s is asked on %q, and its admin port is %q", c.host, c.port, is)
		}
		if !slices.Contains(strings.Split(variable(s, "ADMIN_HOST"), ","), c.asked) {
			t.Errorf("%s is asked as %q, and calls itself %q", c.host, c.asked, variable(s, "ADMIN_HOST"))
		}
	}
	for name, s := range p.Services {
		_, beside := s.Networks["clients"]
		if name != "proxy" && beside != strings.HasPrefix(variable(s, "TRUST_PROXY"), "172.16.0.0/12") {
			t.Errorf("%s is beside the proxy: %v, and believes %q", name, beside, variable(s, "TRUST_PROXY"))
		}
	}
}

// Who is stopped has the time to end, and who needs another waits for it.
func TestStartsAndEnds(t *testing.T) {
	t.Parallel()
	p := load(t, nil)
	const drain, rest = 10 * time.Second, 15 * time.Second // docs/OPERATIONS.md, "Give it time to stop".
	least := map[string]time.Duration{
		"ingest": 20 * time.Second, "processor": 20 * time.Second, "alerts": 15 * time.Second, "kafka": time.Minute, "postgres": time.Minute,
	}
	for _, name := range []string{"edge1", "edge2", "edge3"} {
		delay, err := time.ParseDuration(variable(p.Services[name], "DRAIN_DELAY"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		least[name] = delay + drain + rest
	}
	cut := regexp.MustCompile(`hard-stop-after (\w+)`).FindStringSubmatch(read(t, "deploy", "haproxy", "compose.cfg"))
	if cut == nil {
		t.Fatal("HAProxy never ends, as streams do not")
	}
	hard, err := time.ParseDuration(cut[1])
	if err != nil {
		t.Fatal(err)
	}
	least["proxy"] = hard + time.Second
	for name, want := range least {
		if is := p.Services[name].StopGracePeriod; is == nil || time.Duration(*is) < want {
			t.Errorf("%s has %v to end, and may need %v", name, is, want)
		}
	}
	for name, of := range map[string][]string{
		"edge1": {"redis", "nats"}, "edge3": {"redis", "nats"}, "ingest": {"kafka"}, "processor": {"kafka", "postgres", "redis"},
		"alerts": {"postgres", "redis"}, "fx": {"nats"}, "postgres": {"prepare"}, "proxy": {"prepare", "edge1"}, "nats": {"prepare"},
	} {
		for _, other := range of {
			want := map[bool]string{false: types.ServiceConditionHealthy, true: types.ServiceConditionCompletedSuccessfully}[other == "prepare"]
			if is := p.Services[name].DependsOn[other].Condition; is != want {
				t.Errorf("%s waits for %s until it is %q, want %q", name, other, is, want)
			}
		}
	}
}
