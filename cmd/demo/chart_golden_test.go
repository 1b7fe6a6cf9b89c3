// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"tickedge/internal/app"
)

// object is as much of a Kubernetes object as tests look at.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Type     string
		Selector any
		Ports    []port
		Template struct {
			Metadata meta
			Spec     pod
		}
		PodSelector struct{ MatchLabels map[string]string } `yaml:"podSelector"`
		Ingress     []struct{ Ports []struct{ Port int } }
	}
	StringData map[string]string `yaml:"stringData"`
}

type meta struct{ Labels map[string]string }

type port struct {
	Name          string
	Port          int
	ContainerPort int    `yaml:"containerPort"`
	TargetPort    string `yaml:"targetPort"`
}

type pod struct {
	Grace              int   `yaml:"terminationGracePeriodSeconds"`
	AutomountToken     *bool `yaml:"automountServiceAccountToken"`
	EnableServiceLinks *bool `yaml:"enableServiceLinks"`
	SecurityContext    struct {
		RunAsNonRoot   bool                  `yaml:"runAsNonRoot"`
		RunAsUser      int                   `yaml:"runAsUser"`
		SeccompProfile struct{ Type string } `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	Containers []container
	Volumes    []struct {
		Name   string
		Secret struct {
			Name string `yaml:"secretName"`
			Mode int    `yaml:"defaultMode"`
		}
	}
}

type container struct {
	Name, Image string
	Args        []string
	Env         []struct{ Name, Value string }
	Ports       []port
	Readiness   probe `yaml:"readinessProbe"`
	Liveness    probe `yaml:"livenessProbe"`
	Security    struct {
		Escalation   *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnly     bool  `yaml:"readOnlyRootFilesystem"`
		Capabilities struct{ Drop []string }
	} `yaml:"securityContext"`
	Resources struct{ Limits map[string]string }
	Mounts    []struct {
		Name string
		Path string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	HTTP struct{ Path, Port string } `yaml:"httpGet"`
}

// goldens returns the names of all that is checked in as rendered.
func goldens(t *testing.T) (names []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(chart, "golden", "*.yaml"))
	if err != nil || len(found) < 5 {
		t.Fatalf("rendered are %q: %v", found, err)
	}
	for _, path := range found {
		names = append(names, filepath.Base(path))
	}
	return names
}

func objects(t *testing.T, name string) (all []object) {
	t.Helper()
	from := yaml.NewDecoder(strings.NewReader(readChart(t, "golden", name)))
	for {
		var o object
		err := from.Decode(&o)
		switch {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatalf("%s: %v", name, err)
		case o.Kind != "":
			all = append(all, o)
		}
	}
}

// ours calls f for each pod of a program.
func ours(t *testing.T, f func(t *testing.T, name string, all []object, o object, c container)) {
	t.Helper()
	seen := 0
	for _, name := range goldens(t) {
		all := objects(t, name)
		for _, o := range all {
			for _, c := range o.Spec.Template.Spec.Containers {
				if _, is := programs[c.Name]; is {
					seen++
					f(t, name+": "+o.Metadata.Name, all, o, c)
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d pods were looked at", seen)
	}
}

func (c container) variable(name string) string {
	for _, v := range c.Env {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

// labelled reports whether labels have all that is selected.
func labelled(labels map[string]string, selected any) bool {
	of, is := selected.(map[string]any)
	if nested, has := of["matchLabels"].(map[string]any); has {
		of = nested
	}
	for name, value := range of {
		if labels[name] != value {
			return false
		}
	}
	return is && len(of) > 0
}

// Pods have no rights, and nothing that is secret in what can be seen of them.
func TestChartPodsHaveNoRights(t *testing.T) {
	t.Parallel()
	pods := 0
	for _, name := range goldens(t) {
		for _, o := range objects(t, name) {
			p := o.Spec.Template.Spec
			for _, c := range p.Containers {
				pods++
				no := func(b *bool) bool { return b != nil && !*b }
				user, limits := p.SecurityContext, c.Security
				if !user.RunAsNonRoot || user.RunAsUser == 0 || user.SeccompProfile.Type != "RuntimeDefault" ||
					!limits.ReadOnly || !no(limits.Escalation) || !slices.Equal(limits.Capabilities.Drop, []string{"ALL"}) ||
					!no(p.AutomountToken) || !no(p.EnableServiceLinks) || c.Resources.Limits["memory"] == "" {
					t.Errorf("%s: %s has rights that it does not need, or no limit of memory: %+v", name, o.Metadata.Name, c)
				}
			}
			for _, v := range p.Volumes {
				if v.Secret.Name != "" && v.Secret.Mode != 0o440 {
					t.Errorf("%s: %s: the secret %s has mode %o, want 440", name, o.Metadata.Name, v.Secret.Name, v.Secret.Mode)
				}
			}
		}
	}
	if pods < 10 {
		t.Errorf("only %d pods were looked at", pods)
	}
	secret := regexp.MustCompile(`://[^/]*@|SECRET$|PASSWORD`)
	ours(t, func(t *testing.T, name string, _ []object, _ object, c container) {
		if len(c.Args) > 0 {
			t.Errorf("%s has arguments, which everybody on its node can see: %q", name, c.Args)
		}
		for _, v := range c.Env {
			if secret.MatchString(v.Name) || secret.MatchString(v.Value) {
				t.Errorf("%s: %s is not in a file", name, v.Name)
			}
		}
	})
}

// An edge has the time that it takes to end, and Kubernetes asks the programs themselves whether they are ready.
func TestChartPodsEndAndAreAsked(t *testing.T) {
	t.Parallel()
	const rest = 15 * time.Second // docs/OPERATIONS.md, "Give it time to stop".
	ours(t, func(t *testing.T, name string, _ []object, o object, c container) {
		ready, live := c.Readiness.HTTP, c.Liveness.HTTP
		if ready.Path != "/readyz" || live.Path != "/healthz" || ready.Port != "admin" || live.Port != "admin" {
			t.Errorf("%s is asked otherwise: %+v %+v", name, c.Readiness, c.Liveness)
		}
		least := 20 * time.Second
		if c.Name == "edge" {
			least = rest
			for _, flag := range []string{"EDGE_DRAIN", "EDGE_DRAIN_DELAY"} {
				d, err := time.ParseDuration(c.variable(flag))
				if least += d; err != nil || d < 5*time.Second {
					t.Errorf("%s: %s is %v, %v", name, flag, d, err)
				}
			}
		}
		if is := time.Duration(o.Spec.Template.Spec.Grace) * time.Second; is < least {
			t.Errorf("%s has %v to end, and may need %v", name, is, least)
		}
	})
}

// Ports are those of the programs, services lead to ports that there are, and no policy opens another.
func TestChartPortsAgree(t *testing.T) {
	t.Parallel()
	want := map[string]map[string]int{
		"edge":       {"clients": 8080, "admin": 8081, "back-office": 8082, "grpc": 8083},
		"marketdata": {"history": 8090, "admin": 8091},
		"alerts":     {"rest": 8100, "admin": 8101, "grpc": 8102},
	}
	flags := map[string]string{
		"clients": "LISTEN", "history": "LISTEN", "rest": "LISTEN", "admin": "ADMIN", "back-office": "API", "grpc": "GRPC",
	}
	seen := make(map[string]bool)
	ours(t, func(t *testing.T, name string, all []object, o object, c container) {
		open := make(map[string]int)
		for _, p := range c.Ports {
			open[p.Name] = p.ContainerPort
			seen[c.Name+p.Name] = true
			if want[c.Name][p.Name] != p.ContainerPort {
				t.Errorf("%s: port %s is %d", name, p.Name, p.ContainerPort)
			}
			if listens := c.variable(strings.ToUpper(c.Name) + "_" + flags[p.Name]); listens != ":"+strconv.Itoa(p.ContainerPort) {
				t.Errorf("%s: port %s is %d, and it listens on %q", name, p.Name, p.ContainerPort, listens)
			}
		}
		services, policies, closed := 0, 0, maps.Clone(open)
		for _, other := range all {
			switch labels := o.Spec.Template.Metadata.Labels; {
			case other.Kind == "Service" && labelled(labels, other.Spec.Selector):
				services++
				for _, p := range other.Spec.Ports {
					if open[p.TargetPort] == 0 {
						t.Errorf("%s: service %s leads to a port %s that is not there", name, other.Metadata.Name, p.TargetPort)
					}
					if (p.TargetPort == "admin" || p.TargetPort == "back-office") != strings.HasSuffix(other.Metadata.Name, "-internal") {
						t.Errorf("%s: service %s has port %s", name, other.Metadata.Name, p.TargetPort)
					}
				}
			case other.Kind == "NetworkPolicy" && other.Metadata.Name == o.Metadata.Name:
				policies++
				for _, rule := range other.Spec.Ingress {
					for _, p := range rule.Ports {
						for name, number := range closed {
							if number == p.Port {
								delete(closed, name)
							}
						}
					}
				}
			}
		}
		if delete(closed, "back-office"); services != 2 || policies != 1 || len(closed) > 0 {
			t.Errorf("%s has %d services, want 2, %d policies, want 1, which leave out %v", name, services, policies, closed)
		}
	})
	for program, ports := range want {
		for name := range ports {
			if !seen[program+name] {
				t.Errorf("no example opens port %s of %s", name, program)
			}
		}
	}
}

// certificate returns a certificate, and its key, in PEM.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, &of, &of, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, bytes []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", raw)
}

// What the chart gives a program is what it takes: -check reads every file, in the place of the Secrets, and finds no mistake.
func TestChartIsTakenByThePrograms(t *testing.T) {
	cert, key := certificate(t)
	// What is in Secrets that operators make, by the name of the file.
	given := map[string]string{
		"keys": "desk:" + strings.Repeat("k", 32) + "\n", "tls.crt": cert, "tls.key": key, "keys.pem": cert, "token": "a.b.c",
		"marketdata.yaml": "broker: nats://u:hunter2@nats:4222?subject=md.{topic}\n" +
			"kafka: kafka://u:hunter2@kafka:9092\nhistory: postgres://u:hunter2@db/bars\n",
	}
	ours(t, func(t *testing.T, name string, all []object, o object, c container) {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for _, v := range c.Env {
				path := strings.Replace(v.Value, "/etc/tickedge", root, 1)
				t.Setenv(v.Name, strings.Replace(path, "/data", root, 1))
				if path == v.Value {
					continue
				}
				text := given[filepath.Base(path)]
				for _, secret := range all {
					if secret.Kind == "Secret" && secret.Metadata.Name == o.Metadata.Name && strings.HasSuffix(v.Name, "_CONFIG") {
						text = secret.StringData[filepath.Base(path)]
					}
				}
				if strings.HasSuffix(v.Name, "_SYMBOLS_FILE") {
					text = "symbols: [{symbol: \"COINBASE:BTC-USD\", source: coinbase, vendor: BTC-USD}]\n"
				}
				if text == "" {
					t.Fatalf("nobody says what is in %s", v.Value)
				}
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var out, errs bytes.Buffer
			code := programs[c.Name].main(t.Context(), []string{"-check"}, &out, &errs)
			if code != app.OK || errs.Len() > 0 || strings.Contains(out.String(), "hunter2") {
				t.Errorf("code %d\n%s%s", code, &errs, &out)
			}
		})
	})
}
