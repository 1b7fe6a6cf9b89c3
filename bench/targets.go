// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"strconv"
	"strings"

	"tickedge/bench/internal/lab"
)

// target is a server that the lab can start.
type target struct {
	name string
	dir  string // Of its program, in the source tree.
	feed bool   // It takes its ticks from Redis. The others make rows inside.

	events bool // Its conns are streams of server-sent events.
}

// Names of targets with a part in the results.
const (
	edgeName    = "edge"
	eventsName  = "edge-sse" // The edge, with streams of server-sent events.
	floorName   = "floor"
	gnetName    = "gnet"
	gorillaName = "gorilla" // The usual design: goroutines per conn, a queue per conn.
	coderName   = "coder"
)

var edgeTarget = target{edgeName, "cmd/edge", true, false}

var targets = []target{
	edgeTarget,
	{floorName, "bench/floor", false, false},
	{gnetName, "bench/yard/gnet", false, false},
	{gorillaName, "bench/yard/gorilla", true, false},
	{coderName, "bench/yard/coder", true, false},
	{eventsName, edgeTarget.dir, true, true},
}

// findTargets reads a list of names with commas between them.
func findTargets(list string) ([]target, error) {
	var found []target
	for name := range strings.SplitSeq(list, ",") {
		before := len(found)
		for _, t := range targets {
			if t.name == name {
				found = append(found, t)
			}
		}
		if len(found) == before {
			return nil, fmt.Errorf("-servers %s: there is no server %q; want some of %s", list, name, strings.Join(targetNames(), ","))
		}
	}
	return found, nil
}

func targetNames() (names []string) {
	for _, t := range targets {
		names = append(names, t.name)
	}
	return names
}

// start starts a server. Each is told the same in its own flags.
func (t target) start(l *lab.Lab, s *labConfig) (*lab.Server, error) {
	window := []string{"-interval", s.window.String()}
	switch {
	case t.dir == edgeTarget.dir:
		server, err := l.Edge(s.source, 1, append(window, s.edgeArgs...)...)
		if err == nil {
			server.Events = t.events
		}
		return server, err
	case t.feed:
		return l.Yardstick(t.name, t.dir, append(window, "-redis", s.source)...)
	}
	args := append(window, "-rate", strconv.FormatFloat(s.rate, 'f', -1, 64),
		"-universe", strconv.Itoa(s.universe), "-topic-name", lab.TopicPattern)
	if t.name == floorName {
		args = append(args, "-topics", strconv.Itoa(s.topics)) // It reserves room for them.
	}
	return l.Yardstick(t.name, t.dir, args...)
}
