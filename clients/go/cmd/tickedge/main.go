// SPDX-License-Identifier: Apache-2.0

// Command tickedge shows the newest values of an edge's topics, in terminals and to scripts. See tickedge -h.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	exitOK      = 0
	exitMissing = 1 // A value, or the edge, could not be had.
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // The second one ends it at once.
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program: it returns its exit code.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	c, err := parse(args, getenv)
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "tickedge: %s\nSee tickedge -h.\n", wrap(err.Error(), 0))
		return exitUsage
	case c.help:
		fmt.Fprint(stdout, usage())
		return exitOK
	}
	switch c.command {
	case "get":
		return get(ctx, c, stdout, stderr)
	case "prices":
		return prices(ctx, c, stdout, stderr)
	case "screen":
		return screen(ctx, c, stdout, stderr)
	}
	return watch(ctx, c, stdout, stderr)
}
