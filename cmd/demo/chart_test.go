// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"tickedge/internal/app"
	"tickedge/internal/app/alerts"
	"tickedge/internal/app/edge"
	"tickedge/internal/app/marketdata"
)

// chart is where the Helm chart is. Its programs are all linked here, which is why its tests are.
var chart = filepath.Join("..", "..", "deploy", "kubernetes")

// programs are those of the chart, with the flags that are no values of their own or of "flags": those that the command line alone
// has, and those that may be secret or that the chart decides, which stand in no template.
var programs = map[string]struct {
	main     func(context.Context, []string, *bytes.Buffer, *bytes.Buffer) int
	withheld string
}{
	"edge": {func(ctx context.Context, args []string, out, errs *bytes.Buffer) int {
		return edge.Main(ctx, args, nil, out, errs)
	}, "check version source redis demo demo-symbols demo-rate demo-volatility demo-seed"},
	"marketdata": {func(ctx context.Context, args []string, out, errs *bytes.Buffer) int {
		return marketdata.Main(ctx, args, nil, out, errs)
	}, "check version broker kafka checkpoints probe"},
	"alerts": {func(ctx context.Context, args []string, out, errs *bytes.Buffer) int {
		return alerts.Main(ctx, args, nil, out, errs)
	}, "check version source open"},
}

// flagsOf returns the names of all flags of a program.
func flagsOf(t *testing.T, program string) (names []string) {
	t.Helper()
	var help, errs bytes.Buffer
	if code := programs[program].main(t.Context(), []string{"-h"}, &help, &errs); code != app.OK {
		t.Fatalf("%s -h: code %d, %s", program, code, &errs)
	}
	for _, m := range regexp.MustCompile(`(?m)^  -([a-z0-9-]+)(?: |$)`).FindAllStringSubmatch(help.String(), -1) {
		names = append(names, m[1])
	}
	if len(names) < 25 {
		t.Fatalf("%s has only the flags %q", program, names)
	}
	return names
}

func readChart(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{chart}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// property is a part of values.schema.json.
type property struct {
	Description          string
	Type                 any
	Properties           map[string]*property
	AdditionalProperties any
	PropertyNames        struct{ Enum []string }
	Items                *property
}

func schema(t *testing.T) *property {
	t.Helper()
	var p property
	if err := json.Unmarshal([]byte(readChart(t, "tickedge", "values.schema.json")), &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

// compare holds a part of values.yaml against that of its schema.
func compare(t *testing.T, path string, value any, p *property) {
	kinds := map[string]string{
		"map[string]interface {}": "object", "[]interface {}": "array", "string": "string", "bool": "boolean", "int": "integer",
	}
	types, several := p.Type.([]any)
	if !several {
		types = []any{p.Type}
	}
	if kind := kinds[fmt.Sprintf("%T", value)]; !slices.Contains(types, any(kind)) {
		t.Errorf("values.yaml: %s is %v, and the schema wants %v", path, value, p.Type)
	}
	values, isMap := value.(map[string]any)
	if !isMap || p.Properties == nil {
		return
	}
	for name := range values {
		if p.Properties[name] == nil {
			t.Errorf("values.schema.json does not know %s.%s", path, name)
		}
	}
	for name, of := range p.Properties {
		value, set := values[name]
		switch {
		case path+"."+name == ".global": // Helm adds it.
		case !set && strings.HasSuffix(path, ".resources"):
		case !set:
			t.Errorf("values.yaml has no %s.%s", path, name)
		default:
			compare(t, path+"."+name, value, of)
		}
	}
}

// described holds that helm refuses what the schema does not know, and that it says what the rest is.
func described(t *testing.T, path string, p *property) {
	if p.Properties != nil && p.AdditionalProperties != false {
		t.Errorf("values.schema.json: %s takes anything", path)
	}
	for name, of := range p.Properties {
		if of.Description == "" && !strings.HasSuffix(path, ".resources") {
			t.Errorf("values.schema.json: %s.%s has no description", path, name)
		}
		described(t, path+"."+name, of)
	}
	if p.Items != nil {
		described(t, path+"[]", p.Items)
	}
}

// Every value of the chart has its default in values.yaml and its description in values.schema.json, and helm refuses others.
func TestChartValuesAreDescribed(t *testing.T) {
	t.Parallel()
	var values map[string]any
	if err := yaml.Unmarshal([]byte(readChart(t, "tickedge", "values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	if len(values) < 15 {
		t.Errorf("only %d values", len(values))
	}
	compare(t, "", values, schema(t))
	described(t, "", schema(t))
}

// templates returns the text of all templates.
func templates(t *testing.T) (text string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(chart, "tickedge", "templates", "*"))
	if err != nil || len(found) < 10 {
		t.Fatalf("templates are %q: %v", found, err)
	}
	for _, path := range found {
		text += readChart(t, "tickedge", "templates", filepath.Base(path))
	}
	return text
}

// The chart sets no variable that a program does not have, and takes all other flags below "flags" of that program: none is left
// out, but for those that may be secret.
func TestChartKnowsTheFlags(t *testing.T) {
	t.Parallel()
	text := templates(t)
	common := regexp.MustCompile(`\$prefix \}\}_([A-Z_]+)`).FindAllStringSubmatch(text, -1)
	if len(common) != 5 {
		t.Errorf("%d variables of tokens, want 5", len(common))
	}
	for program, p := range programs {
		flags := flagsOf(t, program)
		set := common
		set = append(set, regexp.MustCompile(`\b`+strings.ToUpper(program)+`_([A-Z_]+)`).FindAllStringSubmatch(text, -1)...)
		known := strings.Fields(p.withheld)
		for _, m := range set {
			name := strings.ToLower(strings.ReplaceAll(m[1], "_", "-"))
			if known = append(known, name); !slices.Contains(flags, name) {
				t.Errorf("a template sets %s of %s, which has no flag -%s", m[0], program, name)
			}
		}
		taken := schema(t).Properties[program].Properties["flags"].PropertyNames.Enum
		for _, name := range taken {
			if !slices.Contains(flags, name) {
				t.Errorf("values.schema.json: %s.flags takes %s, and there is no such flag", program, name)
			}
			if slices.Contains(known, name) {
				t.Errorf("values.schema.json: %s.flags takes %s, which is a value of its own, or may be secret", program, name)
			}
		}
		for _, name := range flags {
			if !slices.Contains(taken, name) && !slices.Contains(known, name) {
				t.Errorf("%s has a flag -%s, which the chart does not take: add %q to the names of %s.flags in values.schema.json, "+
					"and run scripts/kube update (without helm, write the new sum into deploy/kubernetes/golden/SUMS)", program, name, name, program)
			}
		}
		if !slices.IsSorted(taken) {
			t.Errorf("values.schema.json: the names of %s.flags are not in order", program)
		}
	}
}

// What is checked in as rendered is of the chart and the examples as they are.
func TestChartIsAsItWasRendered(t *testing.T) {
	t.Parallel()
	want := make(map[string]string)
	for line := range strings.Lines(readChart(t, "golden", "SUMS")) {
		sum, path, _ := strings.Cut(strings.TrimSpace(line), "  ")
		want[path] = sum
	}
	for _, dir := range []string{"tickedge", "examples"} {
		err := filepath.WalkDir(filepath.Join(chart, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			name, _ := filepath.Rel(chart, path)
			if is := fmt.Sprintf("%x", sha256.Sum256(text)); err == nil && is != want[name] {
				t.Errorf("deploy/kubernetes/%s has changed (its sum is %s): run scripts/kube update, and look at the difference in golden/", name, is)
			}
			delete(want, name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range want {
		t.Errorf("deploy/kubernetes/%s is not there: run scripts/kube update", name)
	}
}

// The examples are the manifests that are tested, and each kind of object is in one of them.
func TestChartRendersEveryKind(t *testing.T) {
	t.Parallel()
	kinds := make(map[string]int)
	for _, name := range goldens(t) {
		for _, m := range objects(t, name) {
			kinds[m.Kind]++
		}
	}
	for _, kind := range []string{
		"ConfigMap", "Deployment", "HTTPRoute", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy", "PodDisruptionBudget",
		"PrometheusRule", "Secret", "Service", "ServiceAccount", "ServiceMonitor", "StatefulSet",
	} {
		if kinds[kind] == 0 {
			t.Errorf("no example has a %s", kind)
		}
		delete(kinds, kind)
	}
	if len(kinds) > 0 {
		t.Errorf("there are %v too, which no test looks at", slices.Collect(maps.Keys(kinds)))
	}
}
