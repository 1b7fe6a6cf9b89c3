// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"tickedge/internal/app"
)

// What docker-compose.yml gives a program is what it takes: -check reads every file, in the place of what is mounted.
func TestComposeIsTakenByThePrograms(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Image       string
			Command     any
			Entrypoint  []string
			Environment map[string]string
			Volumes     []string
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	images := map[string]string{"tickedge:compose": "edge", "tickedge-marketdata:compose": "marketdata", "tickedge-alerts:compose": "alerts"}
	seen := 0
	for name, s := range file.Services {
		program := images[s.Image]
		if program == "" || len(s.Entrypoint) > 0 {
			continue
		}
		seen++
		t.Run(name, func(t *testing.T) {
			known := flagsOf(t, program)
			for key, value := range s.Environment {
				flag, is := strings.CutPrefix(key, strings.ToUpper(program)+"_")
				if flag = strings.ToLower(strings.ReplaceAll(flag, "_", "-")); !is || !slices.Contains(known, flag) {
					t.Errorf("%s is no variable of %s", key, program)
				}
				for _, mounted := range s.Volumes {
					if from, at, _ := strings.Cut(strings.TrimSuffix(mounted, ":ro"), ":"); at == value {
						value = filepath.Join(root, from)
					}
				}
				t.Setenv(key, strings.Replace(value, "/data/", t.TempDir()+"/", 1))
			}
			args := []string{"-check"}
			if command, is := s.Command.([]any); is {
				for _, arg := range command {
					args = append(args, arg.(string))
				}
			}
			var out, errs bytes.Buffer
			if code := programs[program].main(t.Context(), args, &out, &errs); code != app.OK || errs.Len() > 0 {
				t.Errorf("code %d\n%s%s", code, &errs, &out)
			}
		})
	}
	if seen != 6 {
		t.Errorf("%d services are programs of ours", seen)
	}
}
