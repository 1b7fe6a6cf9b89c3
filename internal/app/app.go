// Package app has what all programs have alike beside their flags and their admin port: exit
// codes, signals and the log. The wiring of each program is a package below it.
package app

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	OK     = 0
	Failed = 1 // Something failed; the log says what.
	Usage  = 2 // A flag or an environment variable is wrong.
)

// Main is what the main function of a program calls. ctx ends with the first signal to stop; a
// second one ends the process at once. It does not return.
func Main(run func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int)) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals)
		cancel()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
