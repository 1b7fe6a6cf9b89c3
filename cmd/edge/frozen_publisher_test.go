// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/broker/nats"
	"tickedge/internal/broker/redis"
	"tickedge/internal/broker/redis/redistest"
)

// publisherEnv holds the job of a publisher, in the process that a test has started for it.
const publisherEnv = "EDGE_TEST_PUBLISHER"

func init() { roles[publisherEnv] = runPublisher }

// job is what a publisher has to publish: batches of the next ticks of some topics, which are all made
// before the first is written.
type job struct {
	Redis     redis.Config
	NATS      nats.Config // In place of Redis, if it has a URL.
	First     int         // The number of the first topic.
	Seq       int         // Of the first batch.
	Batches   int
	Versioned bool
}

// burst is how many topics a batch has.
const burst = 50

// published is what a publisher says of each batch.
type published struct{ Seq, Taken int }

// config is how the publisher reaches the broker.
func (j job) config() broker.Config {
	if j.NATS.URL != "" {
		return j.NATS
	}
	return j.Redis
}

// runPublisher does the job of a publisher's process, and returns its exit code.
func runPublisher(text string) (code int) {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	p, err := j.config().Publisher(context.Background(), slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer p.Close()
	batches := make([][]broker.Tick, j.Batches)
	for i := range batches {
		for topic := range burst {
			t := broker.Tick{Topic: topicName(j.First + topic), Value: fmt.Appendf(nil, `{"seq":%d}`, j.Seq+i)}
			if j.Versioned {
				t.Ver = int64(j.Seq + i)
			}
			batches[i] = append(batches[i], t)
		}
	}
	for i, batch := range batches {
		time.Sleep(time.Millisecond) // So that it is frozen before it is through.
		p.Publish(context.Background(), batch)
		said := published{Seq: j.Seq + i}
		for _, tick := range batch {
			if tick.Fate == broker.Taken {
				said.Taken++
			}
		}
		line, _ := json.Marshal(said)
		fmt.Printf("%s\n", line)
	}
	return 0
}

// publisherProcess is a process that publishes.
type publisherProcess struct {
	t    *testing.T
	cmd  *exec.Cmd
	said chan published // Closed at its end.
}

func startPublisher(t *testing.T, j job) *publisherProcess {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	p := &publisherProcess{t: t, cmd: exec.Command(os.Args[0]), said: make(chan published, j.Batches)}
	p.cmd.Env = append(os.Environ(), publisherEnv+"="+string(text))
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(p.said)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var said published
			_ = json.Unmarshal(lines.Bytes(), &said)
			p.said <- said
		}
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-ended
	})
	return p
}

func (p *publisherProcess) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// next is what the publisher says of its next batch; false at its end.
func (p *publisherProcess) next() (said published, ok bool) {
	p.t.Helper()
	select {
	case said, ok = <-p.said:
	case <-time.After(patience):
		p.t.Fatal("a publisher says nothing")
	}
	return said, ok
}

// frozenRig is a broker for two publishers.
type frozenRig struct {
	up    *upstream
	job   job    // How publishers reach it.
	relay *relay // On the way of the first publisher, to which job leads. Nil: there is none.
	way   job    // How the second one reaches it.
}

var frozenRigs = []struct {
	name  string
	start func(t *testing.T) frozenRig
}{
	{"redis channels", func(t *testing.T) frozenRig { return frozenRedis(t, inChannels) }},
	{"redis stream", func(t *testing.T) frozenRig { return frozenRedis(t, inStream) }},
	{"nats jetstream", func(t *testing.T) frozenRig { return frozenNATS(t, natsJetStream) }},
	{"nats jetstream of Debian", func(t *testing.T) frozenRig { return frozenNATS(t, natsDebian) }},
	{"redis cluster", func(t *testing.T) frozenRig {
		_, up, _ := cluster(t)
		way := job{Redis: redis.Config{URL: up.url, Channel: "channel:prices:{{topic}}", Key: "price:{{topic}}"}}
		return frozenRig{up: up, job: way, way: way}
	}},
}

func frozenRedis(t *testing.T, m redisMode) frozenRig {
	s := redistest.Start(t)
	relay := newRelay(t, s.Addr())
	cfg := redis.Config{URL: s.URL()}
	if m.stream != "" {
		cfg.Mode, cfg.Stream = redis.ModeStream, m.stream
	}
	slow := cfg
	slow.URL = relay.url()
	return frozenRig{up: m.at(t, s, s.URL()), job: job{Redis: slow}, relay: relay, way: job{Redis: cfg}}
}

func frozenNATS(t *testing.T, m natsMode) frozenRig {
	s := startNATS(t, m.natsConfig)
	relay := newRelay(t, s.addr)
	at := func(addr string) job {
		return job{NATS: nats.Config{URL: fmt.Sprintf("nats://%s:%s@%s%s", natsPublisher, natsSecret, addr, m.query())}}
	}
	return frozenRig{up: m.at(t, s, s.addr), job: at(relay.addr()), relay: relay, way: at(s.addr)}
}

// A publisher stops in the middle of a burst, with ticks in flight, in its sockets and in its memory.
// Another one takes over, and then the first goes on. No edge shows what it had to say, be it one that
// has shown the topics all the time or one that comes to them afterwards, and the broker does not hold
// it. Without versions all of that happens.
func TestFrozenPublisher(t *testing.T) {
	t.Parallel()
	for _, rig := range frozenRigs {
		t.Run(rig.name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("the seed is %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			r := rig.start(t)
			flags := append([]string{"-source", r.up.url}, r.up.flags...)
			watching, late := start(t, flags...), start(t, flags...)
			rounds := 1 // Each with another burst, and so another place to stop in.
			if *longFaults {
				rounds = 20
			}
			for round := range rounds {
				r.round(t, random, round*burst, true, watching, late)
			}
			r.round(t, random, rounds*burst, true, watching, start(t, flags...))
			r.round(t, random, (rounds+1)*burst, false, watching, late)
		})
	}
}

// takeover is the number of what the second publisher says.
const takeover = 1_000_000

// round freezes a publisher of the topics from first on once. One edge shows them all the time, another
// is asked for them at the end.
func (r frozenRig) round(t *testing.T, random *rand.Rand, first int, versioned bool, watching, late *edge) {
	t.Helper()
	const batches, before = 300, 20
	topics := make([]int, burst)
	for i := range topics {
		topics[i] = first + i
	}
	old, heir := r.job, r.way
	old.First, old.Seq, old.Batches, old.Versioned = first, 1, batches, versioned
	heir.First, heir.Seq, heir.Batches, heir.Versioned = first, takeover, 1, versioned
	watched := watching.listen(topics)

	one := startPublisher(t, old)
	for range 1 + random.IntN(before) {
		one.next()
	}
	if r.relay != nil {
		r.relay.hold()
	}
	one.signal(syscall.SIGSTOP)
	if said, _ := startPublisher(t, heir).next(); said.Taken != burst {
		t.Fatalf("the second publisher could write %d ticks, want %d", said.Taken, burst)
	}
	redistest.Eventually(t, "the second publisher's values are shown", func() bool { return watched.holds(topics, takeover) })
	if r.relay != nil {
		r.relay.release()
	}
	one.signal(syscall.SIGCONT)
	said, refused := published{}, 0
	for next, ok := one.next(); ok; next, ok = one.next() {
		if said = next; said.Taken == 0 {
			refused++
		}
	}
	if said.Seq != batches || versioned && refused == 0 {
		t.Fatalf("the first publisher ended with batch %d, want %d; %d were refused", said.Seq, batches, refused)
	}
	back := r.older(t, topics)
	came := late.listen(topics)
	redistest.Eventually(t, "the other client has all topics", func() bool { return came.holds(topics, 0) })
	if versioned {
		if back > 0 || !came.holds(topics, takeover) {
			t.Errorf("the broker holds older values of %d topics; and what an edge shows that comes to them is new: %t", back, came.holds(topics, takeover))
		}
	} else {
		if back == 0 || came.holds(topics, takeover) {
			t.Errorf("without versions the broker holds older values of %d topics; what an edge shows that comes to them is new: %t", back, came.holds(topics, takeover))
		}
		redistest.Eventually(t, "without versions a client is shown older values", func() bool { return watched.older() > 0 })
	}
	// What was told before this has come when it has.
	heir.Seq++
	startPublisher(t, heir).next()
	for _, c := range []*listener{watched, came} {
		redistest.Eventually(t, "the last values are shown", func() bool { return c.holds(topics, takeover+1) })
		if versioned && c.older() > 0 {
			t.Errorf("a client was shown older values: %q", c.back)
		}
	}
}

// older is of how many topics the broker holds what is older than what the second publisher said.
func (r frozenRig) older(t *testing.T, topics []int) (n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, topic := range topics {
		seq, held, err := r.up.stored(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		if held && seq != takeover {
			n++
		}
	}
	return n
}

// holds reports whether a client has such values, or newer ones, of all topics.
func (l *listener) holds(topics []int, least uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, topic := range topics {
		if held, ok := l.held[topic]; !ok || held < least {
			return false
		}
	}
	return true
}

// older is how many values a client was shown that were older than the ones before.
func (l *listener) older() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.back)
}
