// SPDX-License-Identifier: Apache-2.0

// Command tickgen publishes market ticks to a broker, simulated or recorded ones, for
// demonstrations and load. See tickgen -h.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"tickedge/internal/app"
	"tickedge/internal/broker/redis"
	"tickedge/internal/flags"
	"tickedge/internal/market"
)

// statusEvery is the time between two status lines.
const statusEvery = 5 * time.Second

func main() { app.Main(run) }

// run is main with its surroundings passed in. stderr takes lines of several goroutines. It returns
// the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	switch {
	case len(args) > 0 && args[0] == "completion":
		return complete(args[1:], stdout, stderr)
	case len(args) == 1 && (args[0] == "help" || args[0] == "version"):
		args = []string{"-" + args[0]}
	}
	c, err := parse(args)
	if flags.Asked(err) {
		if errors.Is(err, flags.ErrVersion) {
			fmt.Fprintln(stdout, "tickgen", app.BuildVersion())
		} else {
			c.flags.WriteHelp(stdout, usageHead)
		}
		return app.OK
	}
	for _, warning := range c.flags.Warnings() {
		fmt.Fprintf(stderr, "tickgen: warning: %s\n", warning)
	}
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "tickgen: %s\nsee tickgen -h\n", strings.ReplaceAll(err.Error(), "\n", "\ntickgen: "))
		return app.Usage
	case c.check:
		c.print(stdout)
		return app.OK
	}
	if err := publish(ctx, c, stdin, stderr); err != nil {
		fmt.Fprintf(stderr, "tickgen: %v\n", c.flags.Conceal(err, args))
		return app.Failed
	}
	return app.OK
}

// complete is the sub-command completion.
func complete(args []string, stdout, stderr io.Writer) (code int) {
	if len(args) != 1 || !newConfig().flags.WriteCompletion(stdout, args[0]) {
		fmt.Fprintf(stderr, "tickgen completion: want a shell: tickgen completion %s\n", flags.Shells)
		return app.Usage
	}
	return app.OK
}

// publish publishes until ctx ends, the time is over, the ticks are, or somebody says
// quit.
func publish(ctx context.Context, c *config, stdin io.Reader, stderr io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	ticks, rate, closeTicks, err := open(c)
	if err != nil {
		return err
	}
	defer closeTicks()
	log := app.LogConfig{Level: c.logLevel.String(), Format: "text"}.Logger(stderr)
	slog.SetDefault(log)
	v := app.BuildVersion()
	log.Info("starting", "version", v.Version, "commit", v.Commit, "go", v.Go)
	redis.RouteLog(log)
	publisher, err := c.broker().Publisher(ctx, log)
	if err != nil {
		return err
	}
	defer publisher.Close()
	player := market.NewPlayer(publisher)
	if c.versions {
		player.PutVersions()
	}
	if err := player.SetSpeed(c.speed); err != nil {
		return err
	}
	meter := &meter{player: player, rate: rate, at: time.Now()}
	fmt.Fprintf(stderr, "tickgen: commands on standard input: %s\n", commandForms)

	// Not waited for: nothing ends a read of standard input.
	go func() {
		if commands(stdin, stderr, player, meter.line) {
			cancel()
		}
	}()
	if c.duration > 0 {
		defer time.AfterFunc(c.duration, cancel).Stop()
	}
	defer app.FindSupervisor(log).Watch(ctx, ready(player), nil)()
	var wg sync.WaitGroup
	wg.Go(func() {
		report(ctx, stderr, meter)
	})
	err = player.Run(ctx, ticks)
	cancel()
	wg.Wait()
	fmt.Fprintln(stderr, meter.line())
	return err
}

// ready returns an error until the broker has taken a tick.
func ready(player *market.Player) func() (warning string, err error) {
	return func() (warning string, err error) {
		switch s := player.State(); {
		case s.Published == 0:
			return "", errors.New("nothing was published yet")
		case !s.Connected:
			return "the broker is away", nil
		}
		return "", nil
	}
}

// open returns the ticks and their rate, 0 if they have their own times.
func open(c *config) (ticks market.Ticks, rate float64, closeTicks func() error, err error) {
	if c.replay == "" {
		m, err := market.New(c.market)
		return m, c.market.Rate, func() error { return nil }, err
	}
	f, err := os.Open(c.replay)
	if err != nil {
		return nil, 0, nil, fmt.Errorf("replay: %w", err)
	}
	if c.loop {
		return market.NewReplayLoop(c.replay, f), 0, f.Close, nil
	}
	return market.NewReplay(c.replay, f), 0, f.Close, nil
}

func report(ctx context.Context, stderr io.Writer, m *meter) {
	t := time.NewTicker(statusEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			fmt.Fprintln(stderr, m.line())
		}
	}
}

// meter measures the rate reached between two status lines.
type meter struct {
	player *market.Player
	rate   float64 // Asked for at speed 1; 0 for a recording.

	mu        sync.Mutex
	at        time.Time
	published uint64
}

// line is a status line. It may be called from any goroutine.
func (m *meter) line() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, s := time.Now(), m.player.State()
	reached := float64(s.Published-m.published) / max(now.Sub(m.at).Seconds(), 1e-3)
	m.at, m.published = now, s.Published

	asked := "as recorded"
	if m.rate > 0 {
		asked = fmt.Sprintf("%.0f/s", m.rate*s.Speed)
	}
	state := "publishing"
	switch {
	case !s.Connected && s.Published == 0:
		state = "connecting"
	case !s.Connected:
		state = "broker down"
	case s.Paused:
		state = "paused"
	}
	return fmt.Sprintf("tickgen: %s, speed %g, asked %s, reached %.0f/s, %d ticks in all",
		state, s.Speed, asked, reached, s.Published)
}
