// SPDX-License-Identifier: Apache-2.0

package bare

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Config is what both yardsticks are told by the same flags.
type Config struct {
	Addr   string        // host:port to listen on.
	Window time.Duration // Between two frames of a conn; at least Turn.
	Rate   float64       // Ticks per second, above 0.
	Names  []string      // Of all topics.
}

// Main is a whole program: it reads the flags that both yardsticks have, and those that
// the caller has declared, and runs until that fails or a signal ends the process, with
// exit code 0. With wrong flags that is 2.
func Main(name string, run func(c *Config) error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		os.Exit(0)
	}()
	c, err := readFlags()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(2)
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, run(c))
	os.Exit(1)
}

func readFlags() (*Config, error) {
	c := &Config{}
	flag.StringVar(&c.Addr, "listen", "127.0.0.1:8080", "`host:port` to listen on")
	flag.DurationVar(&c.Window, "interval", 500*time.Millisecond, "time between two frames of a conn")
	flag.Float64Var(&c.Rate, "rate", 20000, "ticks per second, of all topics together")
	universe := flag.Int("universe", 1000, "topics there are")
	pattern := flag.String("topic-name", "SYM%04d", "`pattern` of topic names, filled with numbers from 0")
	flag.Parse()
	var err error
	if c.Names, err = Names(*pattern, *universe); err != nil {
		return nil, err
	}
	if c.Window < Turn {
		return nil, fmt.Errorf("-interval %v: want at least %v, such as -interval 500ms", c.Window, Turn)
	}
	if !(c.Rate > 0) {
		return nil, fmt.Errorf("-rate %v: want ticks per second above 0, such as -rate 20000", c.Rate)
	}
	return c, nil
}
