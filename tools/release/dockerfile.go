// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// stage is an image as the Dockerfile has it.
type stage struct {
	name   string // Empty for the last one.
	copies []copied
	config imageConfig
}

// copied is one COPY: some files into a folder, or one in the place of to.
type copied struct {
	from []string
	to   string
	uid  int
}

// imageConfig is what engines read of an image. Healthcheck is of Docker; others leave it alone.
type imageConfig struct {
	User        string              `json:"User,omitempty"`
	Ports       map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env         []string            `json:"Env,omitempty"`
	Entrypoint  []string            `json:"Entrypoint,omitempty"`
	Volumes     map[string]struct{} `json:"Volumes,omitempty"`
	Labels      map[string]string   `json:"Labels,omitempty"`
	Healthcheck *healthcheck        `json:"Healthcheck,omitempty"`
}

type healthcheck struct {
	Test                           []string
	Interval, Timeout, StartPeriod time.Duration
	Retries                        int
}

// usualPath is what an engine puts into an image that is made from scratch.
const usualPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// readDockerfile reads the images that are made from scratch, with the values of arguments. It knows what our file has, and
// fails at anything else: an image that lacks a line of it would be another one.
func readDockerfile(name string, args map[string]string) (stages []stage, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	inImage := false
	for _, line := range dockerLines(string(text)) {
		word, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		if word == "FROM" {
			words := strings.Fields(rest)
			if inImage = words[0] == "scratch"; inImage {
				s := stage{config: imageConfig{Env: []string{usualPath}}}
				if len(words) == 3 {
					s.name = words[2]
				}
				stages = append(stages, s)
			}
			continue
		}
		if !inImage {
			continue
		}
		if err := stages[len(stages)-1].read(word, rest, args); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", name, line, err)
		}
	}
	if len(stages) == 0 {
		err = fmt.Errorf("%s has no image that is made from scratch", name)
	}
	return stages, err
}

// dockerLines are the instructions of a Dockerfile, each as one line.
func dockerLines(text string) (lines []string) {
	going := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		part, more := strings.CutSuffix(line, "\\")
		if going {
			lines[len(lines)-1] += " " + strings.TrimSpace(part)
		} else {
			lines = append(lines, strings.TrimSpace(part))
		}
		going = more
	}
	return lines
}

var (
	argument = regexp.MustCompile(`\$(\w+)`)
	label    = regexp.MustCompile(`([\w.]+)="([^"]*)"`)
)

func (s *stage) read(word, rest string, args map[string]string) (err error) {
	switch word {
	case "ARG": // Its value is given, or the build has failed before.
		if name, _, _ := strings.Cut(rest, "="); args[name] == "" {
			err = fmt.Errorf("there is no value for %s", name)
		}
	case "LABEL":
		s.config.Labels = make(map[string]string)
		for _, m := range label.FindAllStringSubmatch(rest, -1) {
			s.config.Labels[m[1]] = argument.ReplaceAllStringFunc(m[2], func(a string) string { return args[a[1:]] })
		}
	case "COPY":
		err = s.readCopy(strings.Fields(rest))
	case "ENV":
		s.config.Env = append(s.config.Env, rest)
	case "VOLUME":
		s.config.Volumes = map[string]struct{}{rest: {}}
	case "USER":
		s.config.User = rest
	case "EXPOSE":
		s.config.Ports = make(map[string]struct{})
		for _, port := range strings.Fields(rest) {
			s.config.Ports[port+"/tcp"] = struct{}{}
		}
	case "HEALTHCHECK":
		s.config.Healthcheck, err = readHealthcheck(rest)
	case "ENTRYPOINT":
		err = json.Unmarshal([]byte(rest), &s.config.Entrypoint)
	default:
		err = fmt.Errorf("images of a release can't have %s: teach it to tools/release", word)
	}
	return err
}

func (s *stage) readCopy(words []string) error {
	var c copied
	for len(words) > 0 && strings.HasPrefix(words[0], "--") {
		name, value, _ := strings.Cut(words[0], "=")
		switch name {
		case "--from":
			if value != "build" {
				return fmt.Errorf("files come from build, and not from %s", value)
			}
		case "--chown":
			uid, gid, _ := strings.Cut(value, ":")
			n, err := strconv.Atoi(uid)
			if err != nil || gid != uid {
				return fmt.Errorf("the owner is %q, want a number, and the same group", value)
			}
			c.uid = n
		default:
			return fmt.Errorf("COPY %s is not known", name)
		}
		words = words[1:]
	}
	if len(words) < 2 {
		return fmt.Errorf("want what is copied, and where to")
	}
	c.from, c.to = words[:len(words)-1], words[len(words)-1]
	s.copies = append(s.copies, c)
	return nil
}

func readHealthcheck(rest string) (*healthcheck, error) {
	h := new(healthcheck)
	options, command, ok := strings.Cut(rest, "CMD ")
	if !ok {
		return nil, fmt.Errorf("want CMD")
	}
	for _, o := range strings.Fields(options) {
		name, value, _ := strings.Cut(o, "=")
		var err error
		switch name {
		case "--interval":
			h.Interval, err = time.ParseDuration(value)
		case "--timeout":
			h.Timeout, err = time.ParseDuration(value)
		case "--start-period":
			h.StartPeriod, err = time.ParseDuration(value)
		case "--retries":
			h.Retries, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("%s is not known", name)
		}
		if err != nil {
			return nil, err
		}
	}
	var args []string
	err := json.Unmarshal([]byte(command), &args)
	h.Test = append([]string{"CMD"}, args...)
	return h, err
}
