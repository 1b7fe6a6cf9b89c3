// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package yardtest checks a yardstick as bench hold would: it starts the program, opens
// conns to it and looks for violations of docs/PROTOCOL.md.
package yardtest

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tickedge/bench/internal/swarm"
	"tickedge/bench/internal/wire"
	"tickedge/bench/yard/bare"
	"tickedge/internal/broker/redis/redistest"
)

const asProgram = "YARDTEST_PROGRAM"

// Main is what TestMain of a yardstick calls, so that its test's binary can be the
// yardstick.
func Main(m *testing.M, program func()) {
	if os.Getenv(asProgram) != "" {
		program()
		os.Exit(1) // A yardstick ends with a signal.
	}
	os.Exit(m.Run())
}

const (
	window = 100 * time.Millisecond
	held   = 2 * time.Second
	enough = 10          // Updates per conn that are waited for, if the time does not suffice.
	wait   = time.Minute // For all that has to happen.
)

// Check starts the program with more flags, holds conns to it for two seconds or more,
// and ends it with SIGTERM.
func Check(t *testing.T, args ...string) {
	t.Helper()
	addr, _ := Start(t, args...)
	Hold(t, addr, 50)
}

// Hold holds conns for two seconds, or more on a busy machine. Each has to get all that it wants.
func Hold(t *testing.T, addr netip.AddrPort, conns int) {
	t.Helper()
	sum := hold(t, addr, conns)
	if len(sum.Violations)+len(sum.Lost)+len(sum.Refused) > 0 {
		t.Errorf("violations %s, lost %s, refused %s", kinds(sum.Violations), kinds(sum.Lost), kinds(sum.Refused))
	}
	if sum.Open != conns || sum.Acked != conns || sum.WindowMin != uint64(window.Milliseconds()) || sum.Undated > 0 {
		t.Errorf("%+v, %+v; want %d conns", sum.Gauges, sum.Counts, conns)
	}
	// A frame per window, in thousandths a second. If the machine is busy they are fewer,
	// but for all.
	if least, most := sum.Rates.Min(), sum.Rates.Max(); least < most/3 || most > 12000 {
		t.Errorf("between %d and %d frames per conn in 1,000 s, want 10,000", least, most)
	}
	if n := sum.Types[wire.Update]; n < uint64(conns*enough) {
		t.Errorf("%d updates in %v, want %d for each of %d conns", n, wait, enough, conns)
	}
	if p50 := time.Duration(sum.Update.Quantile(0.5)) * time.Microsecond; sum.Types[wire.Update] == 0 || p50 > 100*window { // A busy machine is late, and another unit is a thousand times off.
		t.Errorf("staleness %v, %d updates", p50, sum.Types[wire.Update])
	}
}

// CheckRedis is Check with ticks from a Redis.
func CheckRedis(t *testing.T) {
	server := redistest.Start(t)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		client := server.Client()
		defer client.Close()
		market := bare.NewMarket(1000, 10000, time.Now())
		for {
			select {
			case <-stop:
				return
			case now := <-time.After(bare.Turn):
				pipe := client.Pipeline()
				for range market.Due(now) {
					topic := market.Topic()
					pipe.Publish(t.Context(), fmt.Sprintf("channel:prices:SYM%04d", topic), string(market.Tick(topic, now.UnixMilli())))
				}
				if _, err := pipe.Exec(t.Context()); err != nil {
					t.Errorf("publish: %v", err)
					return
				}
			}
		}
	}()
	Check(t, "-redis", server.URL())
	close(stop)
	<-ended
}

// freeAddr is an address that nobody listens on.
func freeAddr(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// Start starts the program and waits until it says that it listens. The test's end
// ends it.
func Start(t *testing.T, args ...string) (addr netip.AddrPort, pid int) {
	t.Helper()
	addr = freeAddr(t)
	args = append([]string{"-listen", addr.String(), "-interval", window.String()}, args...)
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(stderr); in.Scan(); {
			lines <- in.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(wait, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		for line := range lines {
			t.Log("on stderr:", line)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("end after SIGTERM: %v", err)
		}
	})
	select {
	case line := <-lines:
		if !strings.Contains(line, "listening on") {
			t.Fatalf("first line on stderr: %q", line)
		}
	case <-time.After(wait):
		t.Fatal("the program does not listen")
	}
	return addr, cmd.Process.Pid
}

// hold opens the conns, keeps them and returns the sum of what they saw.
func hold(t *testing.T, addr netip.AddrPort, conns int) *swarm.Report {
	t.Helper()
	s, err := swarm.New(swarm.Config{
		Addr: addr, Host: addr.String(), Target: "/ws",
		Conns: conns, Rate: 500, Topics: 10, Universe: 1000, Pattern: "SYM%04d", Seed: 1,
		Every: 20 * time.Millisecond, HandshakeTimeout: wait, AckTimeout: wait,
	})
	if err != nil {
		t.Fatal(err)
	}
	orders := make(chan swarm.Order, 2)
	sum := swarm.NewReport(swarm.Connecting)
	var since time.Time // Holding began.
	deadline := time.Now().Add(wait)
	stopped := false
	err = s.Run(orders, func(r *swarm.Report) {
		sum.Merge(r)
		sum.Gauges = r.Gauges
		now := time.Now()
		if r.Ready && since.IsZero() {
			since = now
			orders <- swarm.Hold
		}
		over := !since.IsZero() && now.Sub(since) > held && sum.Types[wire.Update] >= uint64(conns*enough)
		if !stopped && (over || now.After(deadline)) {
			stopped = true
			orders <- swarm.Stop
		}
	})
	if err != nil || since.IsZero() {
		t.Fatalf("not all conns were ready: %+v, refused %s, %v", sum.Gauges, kinds(sum.Refused), err)
	}
	return sum
}

func kinds(of swarm.Tallies) string {
	var out []string
	for kind, tally := range of {
		out = append(out, fmt.Sprintf("%s × %d (%s)", kind, tally.Count, tally.Example))
	}
	return fmt.Sprint(out)
}
