// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tickedge/internal/broker/redis/redistest"
)

var (
	brokenLong  = flag.Bool("broken-long", false, "play all that a Redis may send, not a part that -broken-seed draws")
	brokenSeed  = flag.Uint64("broken-seed", 0, "draws what is played; 0 is another seed each time, which is logged")
	brokenOnly  = flag.String("broken-only", "", "play only what has this in its point and name, such as 'fetch: nil bulk'")
	brokenAlone = flag.Bool("broken-alone", false, "an edge for each that is played, which shows which one it is that ends an edge")
)

const (
	// brokenTimeout is -feed-timeout. Replies that never come are waited for that long.
	brokenTimeout = 2 * time.Second
	// brokenSlots is how many stand-ins are sources of one edge. Each plays its part, so
	// that the pauses between attempts, which grow with each failure, stay short.
	brokenSlots = 60
	// brokenShare is of how many breakages one is played without -broken-long, and ownShare
	// the same for those that belong to one point.
	brokenShare = 8
	ownShare    = 2
	// brokenPlays is how often a breakage may cost the link that is to survive it: on a
	// machine that stands still a link may be lost without any.
	brokenPlays = 10
	// claimMax is how much address space an edge may take beyond what it has at first. What
	// a reply claims and never sends shows there and not in its memory.
	claimMax = 1 << 30
	// logLineMax bounds a line of the log: who sends errors must not fill a disk with them.
	// The longest have the stack of a panic.
	logLineMax = 16 << 10
)

// brokenPoint is a point at which replies are broken.
type brokenPoint struct {
	at redistest.Point
	by provocation
}

// provocation is what has the edge ask.
type provocation uint8

const (
	itself   provocation = iota // It asks again and again.
	newTopic                    // A client wants another topic.
	dropped                     // Its connections are closed, so that it dials anew.
	pushed                      // It does not ask.
)

// brokenGroup is points of one edge.
type brokenGroup struct {
	name   string
	url    func(addr string) string
	flags  []string
	points []brokenPoint
}

// Each of them has a user and a database, so that every greeting has several commands.
func plainURL(addr string) string { return "redis://edge:secret@" + addr + "/3" }

var brokenGroups = []brokenGroup{
	{name: "greeting", url: plainURL, points: []brokenPoint{{redistest.Greeting, dropped}, {redistest.GreetingPing, dropped}}},
	{name: "confirmation", url: plainURL, points: []brokenPoint{{redistest.Confirmation, newTopic}}},
	{name: "message", url: plainURL, points: []brokenPoint{{redistest.Message, pushed}}},
	{name: "pong", url: plainURL, points: []brokenPoint{{redistest.Pong, itself}}},
	{name: "fetch", url: plainURL, points: []brokenPoint{{redistest.Fetch, newTopic}}},
	{name: "pattern", url: plainURL, flags: []string{"-redis-mode", "pattern"},
		points: []brokenPoint{{redistest.PatternConfirmation, dropped}, {redistest.PatternMessage, pushed}, {redistest.Fetch, newTopic}}},
	{name: "stream", url: plainURL, flags: []string{"-redis-mode", "stream", "-redis-stream", "ticks"},
		points: []brokenPoint{{redistest.StreamRead, itself}, {redistest.StreamAwait, itself}, {redistest.StreamQueue, itself},
			{redistest.Fetch, newTopic}}},
	{name: "sentinel", url: func(addr string) string { return "redis-sentinel://edge:secret@" + addr + "/prices/3" },
		points: []brokenPoint{{redistest.SentinelState, dropped}, {redistest.SentinelAddress, dropped}, {redistest.Role, dropped},
			{redistest.SentinelAddress, itself}}},
	{name: "cluster", url: func(addr string) string { return "redis-cluster://edge:secret@" + addr },
		flags:  []string{"-redis-channel", "channel:prices:{{topic}}", "-redis-key", "price:{{topic}}"},
		points: []brokenPoint{{redistest.ClusterSlots, dropped}, {redistest.ClusterInfo, dropped}, {redistest.ShardConfirmation, newTopic}}},
}

// A Redis that sends anything at all costs nobody but the topics that it has, and these for
// as long as it takes to dial it anew: the process lives, its memory is bounded, clients
// are told when values stop and when they are current again, and have the newest then.
func TestBrokenRedis(t *testing.T) {
	t.Parallel()
	seed := *brokenSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-broken-seed %d", seed)
	for i := range brokenGroups {
		g := &brokenGroups[i]
		plays := g.plays(seed)
		if len(plays) == 0 {
			continue
		}
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			if *brokenAlone {
				g.alone(t, plays)
			} else {
				g.run(t, plays, brokenSlots)
			}
		})
	}
}

// brokenPlay is a breakage at a point.
type brokenPlay struct {
	brokenPoint
	redistest.Breakage
}

func (p *brokenPlay) name() string {
	if p.by == itself {
		return fmt.Sprintf("%s, asked for by itself: %s", p.at, p.Name)
	}
	return fmt.Sprintf("%s: %s", p.at, p.Name)
}

// outcome is what it has to lead to. Where the link was dropped there is none to be lost.
func (p *brokenPlay) outcome() redistest.Outcome {
	switch o := p.Outcome(p.at); {
	case p.by == dropped && o == redistest.Lost:
		return redistest.Redialled
	case p.by == dropped && o == redistest.Kept:
		return redistest.Survived
	default:
		return o
	}
}

// plays are those of a group that are to be played.
func (g *brokenGroup) plays(seed uint64) (plays []brokenPlay) {
	all := make(map[string]bool) // Those that can be played anywhere.
	for _, b := range redistest.Breakages(redistest.Fetch) {
		all[b.Name] = true
	}
	for i, at := range g.points {
		draw := rand.New(rand.NewPCG(seed, uint64(i)))
		for _, b := range redistest.Breakages(at.at) {
			share := brokenShare
			if !all[b.Name] {
				share = ownShare
			}
			drawn := draw.IntN(share) == 0 || *brokenLong
			p := brokenPlay{at, b}
			if *brokenOnly != "" {
				drawn = strings.Contains(p.name(), *brokenOnly)
			}
			if drawn {
				plays = append(plays, p)
			}
		}
	}
	return plays
}

// alone plays each on an edge of its own.
func (g *brokenGroup) alone(t *testing.T, plays []brokenPlay) {
	for _, p := range plays {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			g.run(t, []brokenPlay{p}, 1)
		})
	}
}

// brokenRun is one edge, its sources, and one client of each. The last source behaves.
type brokenRun struct {
	*edge
	group *brokenGroup
	slots []*brokenSlot
	pid   int
	rss   int // Of the edge before anything was broken, in bytes.
}

// run plays all on one edge, divided among slots.
func (g *brokenGroup) run(t *testing.T, plays []brokenPlay, slots int) {
	r := &brokenRun{group: g}
	slots = min(slots, len(plays))
	flags := []string{"-feed-timeout", brokenTimeout.String(), "-interval", "100ms", "-command-rate", "0", "-subscribe-rate",
		"0", "-max-topics", "4096", "-stale-floor", "0", "-heartbeat", "5s", "-log-level", "debug"}
	for i := range slots + 1 {
		s := &brokenSlot{r: r, t: t, name: fmt.Sprintf("k%d", i), standin: redistest.StartStandin(t)}
		url := g.url(s.standin.Addr())
		if i < slots {
			url = s.scope() + "=" + url
		}
		flags = append(flags, "-redis", url)
		r.slots = append(r.slots, s)
	}
	r.edge = startBinary(t, plainBinary(t), append(flags, g.flags...)...)
	r.pid = r.cmd.Process.Pid
	for _, s := range r.slots {
		if err := s.open(); err != nil {
			t.Fatal(err)
		}
	}
	r.rss = status(t, r.pid, "VmRSS")
	most := uint64(status(t, r.pid, "VmSize")) + claimMax
	if err := unix.Prlimit(r.pid, unix.RLIMIT_AS, &unix.Rlimit{Cur: most, Max: most}, nil); err != nil {
		t.Fatal(err)
	}
	var playing sync.WaitGroup
	for i, s := range r.slots[:slots] {
		playing.Go(func() {
			for k := i; k < len(plays); k += slots {
				began := time.Now()
				if err := s.plays(&plays[k]); err != nil {
					t.Errorf("%s: %v", plays[k].name(), err)
				}
				s.took(began, plays[k].name())
				if r.ended() {
					return
				}
			}
		})
	}
	playing.Wait()
	if r.ended() {
		return
	}
	good := r.slots[slots]
	if err := good.ticks(patience); err != nil {
		t.Errorf("the source that behaves: %v", err)
	}
	// A machine that stands still may cost it a link or two, and what others send may not.
	if n := good.standin.Links(); n > 1+len(plays)/slots {
		t.Errorf("the source that behaves was dialled %d times", n)
	}
	for line := range strings.Lines(r.stderr.String()) {
		if len(line) > logLineMax {
			t.Errorf("a line of %d bytes in the log: %.500s", len(line), line)
		}
	}
	peak := status(t, r.pid, "VmHWM")
	t.Logf("%d breakages of %s; memory %d MiB at first, %d MiB at most; longest: %s", len(plays), g.name, r.rss>>20, peak>>20, r.longest())
}

func (r *brokenRun) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (r *brokenRun) longest() string {
	var most *brokenSlot
	for _, s := range r.slots {
		if most == nil || s.slowest > most.slowest {
			most = s
		}
	}
	return fmt.Sprintf("%v, %s", most.slowest.Round(time.Millisecond), most.slow)
}

// healthy says what is wrong with the edge itself.
func (r *brokenRun) healthy() error {
	if r.ended() {
		return fmt.Errorf("the edge has ended with code %d: %s", r.code, r.lastWords())
	}
	if now := status(r.t, r.pid, "VmHWM"); now > r.rss+redistest.GrowthMax {
		return fmt.Errorf("the edge's memory was %d MiB, and %d MiB at first", now>>20, r.rss>>20)
	}
	return nil
}

// lastWords is why an edge has ended, as far as the Go runtime says it.
func (r *brokenRun) lastWords() string {
	for line := range strings.Lines(r.stderr.String()) {
		for _, prefix := range []string{"fatal error: ", "panic: ", "runtime: "} {
			if strings.HasPrefix(line, prefix) {
				return strings.TrimSpace(line)
			}
		}
	}
	return "it does not say why"
}

// brokenSlot is a source of an edge, and a client of its topics. Owned by one goroutine.
type brokenSlot struct {
	r       *brokenRun
	t       *testing.T
	name    string
	standin *redistest.Standin
	client  *client
	value   int
	topics  int
	wants   map[string]string // What the client is to have of each topic.
	slowest time.Duration
	slow    string

	mu     sync.Mutex
	rows   map[string]string
	down   bool
	downs  int
	failed error
}

func (s *brokenSlot) took(began time.Time, name string) {
	if d := time.Since(began); d > s.slowest {
		s.slowest, s.slow = d, name
	}
}

func (s *brokenSlot) scope() string            { return s.name + ":*" }
func (s *brokenSlot) topic(name string) string { return s.name + ":" + name }

// inName is a topic in the name of its channel and key.
func (s *brokenSlot) inName(topic string) string {
	if s.r.group.name == "cluster" {
		return "{" + topic + "}"
	}
	return topic
}

func (s *brokenSlot) key(topic string) string     { return "price:" + s.inName(topic) }
func (s *brokenSlot) channel(topic string) string { return "channel:prices:" + s.inName(topic) }

// next is a value that no topic has had.
func (s *brokenSlot) next() string {
	s.value++
	return strconv.Itoa(s.value)
}

// open has the client subscribe, and waits until it has what there is.
func (s *brokenSlot) open() error {
	s.rows, s.wants = make(map[string]string), make(map[string]string)
	s.client = s.r.dial("")
	go s.listen()
	for _, name := range []string{"A", "B"} {
		s.sets(s.topic(name))
		s.subscribes(s.topic(name))
	}
	return s.until("the first values", patience, s.current)
}

// listen reads what the client is sent until the connection ends.
func (s *brokenSlot) listen() {
	for {
		m, err := s.client.read()
		s.mu.Lock()
		switch {
		case err != nil:
			s.failed = err
		case m.T == "feed" && string(m.Topics) == strconv.Quote(s.scope()):
			if s.down = m.State == "down"; s.down {
				s.downs++
			}
		}
		for _, row := range m.D {
			s.rows[row.S] = string(row.V)
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *brokenSlot) subscribes(topic string) {
	s.client.send(fmt.Sprintf(`{"op":"subscribe","topics":[%q]}`, topic))
}

// sets has the value of a topic change without anybody being told.
func (s *brokenSlot) sets(topic string) {
	s.wants[topic] = s.next()
	s.standin.Set(s.key(topic), s.wants[topic])
}

// current reports whether the client has what it is to have, and knows that it is up.
func (s *brokenSlot) current() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, want := range s.wants {
		if s.rows[topic] != want {
			return false
		}
	}
	return !s.down
}

func (s *brokenSlot) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

func (s *brokenSlot) timesDown() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.downs
}

// until waits for something, and says what is the matter if it does not come about.
func (s *brokenSlot) until(what string, within time.Duration, ok func() bool) error {
	for deadline := time.Now().Add(within); !ok(); time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		failed := s.failed
		s.mu.Unlock()
		switch {
		case s.r.ended():
			return s.r.healthy()
		case failed != nil:
			select {
			case <-s.r.done:
				return s.r.healthy()
			case <-time.After(time.Second): // An edge that has ended is not known to have at once.
				return fmt.Errorf("the client has lost its connection: %w", failed)
			}
		case time.Now().After(deadline):
			s.mu.Lock()
			defer s.mu.Unlock()
			return fmt.Errorf("not within %v: %s; the feed is down: %v, was %d times; the client has %v and is to have %v", within,
				what, s.down, s.downs, s.rows, s.wants)
		}
	}
	return nil
}

// ticks has all topics tick, and waits for the client to have it.
func (s *brokenSlot) ticks(within time.Duration) error {
	for topic := range s.wants {
		s.wants[topic] = s.next()
		s.standin.Tick(s.key(topic), s.channel(topic), topic, s.wants[topic])
	}
	return s.until("newest values after a tick", within, s.current)
}

// errLinkLost is that of a link that was to go on.
var errLinkLost = errors.New("the link was lost")

// plays plays a breakage and looks at all that it has to lead to, and may not.
func (s *brokenSlot) plays(p *brokenPlay) (err error) {
	for range brokenPlays {
		if err = s.once(p); !errors.Is(err, errLinkLost) {
			break
		}
	}
	return err
}

func (s *brokenSlot) once(p *brokenPlay) error {
	defer s.standin.Release()
	patience := patience
	if p.Lasts {
		patience *= 2
	}
	outcome, links, downs := p.outcome(), s.standin.Links(), s.timesDown()
	lost := outcome == redistest.Lost || p.by == dropped
	var play *redistest.Play
	missed, value := s.topic("B"), s.next()
	begin := func() {
		if !lost {
			return
		}
		s.standin.Hold() // So that the outage is long enough to be told.
		if s.r.group.name == "stream" {
			s.standin.Tick(s.key(missed), s.channel(missed), missed, value)
		} else {
			s.standin.Set(s.key(missed), value)
		}
	}
	switch p.by {
	case dropped:
		begin()
		s.standin.Drop()
		if err := s.until("clients are told that the feed is down", patience, s.isDown); err != nil {
			return err
		}
		play = s.standin.Break(p.at, p.Breakage, nil)
		s.standin.Release()
	case pushed:
		play = s.standin.Push(p.Breakage, s.channel(s.topic("A")), s.next(), begin)
	case newTopic:
		play = s.standin.Break(p.at, p.Breakage, begin)
		s.another()
	case itself:
		play = s.standin.Break(p.at, p.Breakage, begin)
	}
	if err := s.until("the edge asks for what is to be broken", patience, play.Began); err != nil {
		return err
	}
	if lost {
		s.wants[missed] = value
	}
	if outcome == redistest.Lost {
		if err := s.until("clients are told that the feed is down", patience, s.isDown); err != nil {
			return err
		}
		s.standin.Release()
	}
	if outcome >= redistest.Redialled {
		asked := time.Now()
		err := s.until("the edge dials anew", patience, func() bool {
			if p.at == redistest.Fetch && time.Since(asked) > time.Second { // A connection that is no good is not missed before it is used.
				asked = time.Now()
				s.another()
			}
			return play.Redialled()
		})
		if err != nil {
			return err
		}
	}
	if lost {
		if err := s.until("what was missed is there", patience, func() bool { return s.has(missed) }); err != nil {
			return err
		}
	}
	if err := s.ticks(patience); err != nil {
		return err
	}
	s.forgets()
	if outcome == redistest.Lost && s.standin.Links() == links {
		return errors.New("there is no new link")
	}
	if outcome == redistest.Kept && (s.standin.Links() != links || s.timesDown() != downs) {
		return errLinkLost
	}
	return s.r.healthy()
}

// another has the client subscribe to a topic that it has not had.
func (s *brokenSlot) another() {
	s.topics++
	topic := s.topic("new" + strconv.Itoa(s.topics))
	s.sets(topic)
	s.subscribes(topic)
}

func (s *brokenSlot) has(topic string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows[topic] == s.wants[topic]
}

// forgets has the client give up all but its two topics.
func (s *brokenSlot) forgets() {
	for topic := range s.wants {
		if topic != s.topic("A") && topic != s.topic("B") {
			delete(s.wants, topic)
			s.client.send(fmt.Sprintf(`{"op":"unsubscribe","topics":[%q]}`, topic))
		}
	}
}

// status is a size in /proc/pid/status, in bytes. It is 0 if the process has ended.
func status(t *testing.T, pid int, name string) int {
	f, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name+":"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Errorf("%s: %v", lines.Text(), err)
			}
			return n << 10
		}
	}
	return 0
}

// plainBinary is the edge without the race detector, which needs several times the memory.
func plainBinary(t *testing.T) string {
	t.Helper()
	path, err := buildPlain()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var buildPlain = sync.OnceValues(func() (string, error) {
	path := binary + "-plain"
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})
