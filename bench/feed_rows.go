// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"tickedge/bench/internal/lab"
	"tickedge/bench/internal/swarm"
)

// lastFile is what was published last, in the run's directory: a line for each topic, its name, a tab
// and the value.
const lastFile = "last-values"

// wrongRows counts the topics of a file, such as lastFile, whose row at the edge is another one, or none,
// and shows one.
func wrongRows(ctx context.Context, server *lab.Server, file string) (wrong int, example string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, "", err
	}
	client := http.Client{Timeout: plainPatience}
	defer client.CloseIdleConnections()
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for len(lines) > 0 {
		n := min(len(lines), swarm.TopicsMax)
		var names []string
		want := map[string]string{}
		for _, line := range lines[:n] {
			name, value, ok := strings.Cut(line, "\t")
			if !ok {
				return 0, "", fmt.Errorf("%s: no value in %.100q", file, line)
			}
			names, want[name] = append(names, name), value
		}
		rows, err := rowsOf(ctx, &client, server.Addr, names)
		if err != nil {
			return 0, "", err
		}
		for _, name := range names {
			if rows[name] != want[name] {
				wrong++
				example = fmt.Sprintf("%s is %q, and was published as %q", name, rows[name], want[name])
			}
		}
		lines = lines[n:]
	}
	return wrong, example, nil
}

// rowsOf asks an edge for the values of topics.
func rowsOf(ctx context.Context, client *http.Client, addr string, names []string) (map[string]string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/prices?topics="+strings.Join(names, ","), nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, swarm.TopicsMax*8<<10))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	var of struct {
		D []struct {
			S string
			V json.RawMessage
		}
	}
	if err == nil {
		err = json.Unmarshal(body, &of)
	}
	if err != nil {
		return nil, fmt.Errorf("rows of the edge: %w: %.200s", err, body)
	}
	rows := map[string]string{}
	for _, row := range of.D {
		rows[row.S] = string(row.V)
	}
	return rows, nil
}
