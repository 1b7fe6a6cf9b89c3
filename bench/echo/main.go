// SPDX-License-Identifier: Apache-2.0

// Command echo sends back every message that it gets, on any path. It is for
// conformance suites such as Autobahn's, and built on the code that serves the
// edge's clients. It takes messages of up to 16 MiB in up to 65,536 fragments (and an empty
// last one), text or binary, answers each ping, negotiates no extension, and says nothing by
// itself.
//
// A client that sends without reading is reset when 64 MiB of echoes wait for it, or when
// they have waited for a minute.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"tickedge/internal/loop"
)

const (
	exitGood   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	os.Exit(code)
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("echo", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	listen := flags.String("listen", ":9001", "`host:port` to listen on; port 0 takes a free one")
	if err := flags.Parse(args); err != nil {
		if err == flag.ErrHelp {
			fmt.Fprintln(stdout, "usage: echo [flags]")
			flags.SetOutput(stdout)
			flags.PrintDefaults()
			return exitGood
		}
		fmt.Fprintf(stderr, "echo: %v; the form is: echo -listen host:port\n", err)
		return exitUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "echo: unexpected %q; the form is: echo -listen host:port\n", flags.Arg(0))
		return exitUsage
	}
	if _, _, err := net.SplitHostPort(*listen); err != nil {
		fmt.Fprintf(stderr, "echo: -listen %q: %v; the form is: -listen :9001 or -listen 127.0.0.1:9001\n", *listen, err)
		return exitUsage
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	server, err := loop.StartEcho(*listen, log)
	if err != nil {
		fmt.Fprintf(stderr, "echo: %v\n", err)
		return exitFailed
	}
	fmt.Fprintf(stdout, "echo: listening on %v\n", server.Addr())
	code := exitGood
	select {
	case <-ctx.Done():
	case err := <-server.Failed():
		fmt.Fprintf(stderr, "echo: %v\n", err)
		code = exitFailed
	}
	server.Shutdown(context.Background(), 0)
	return code
}
