// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"tickedge/bench/internal/chart"
	"tickedge/bench/internal/lab"
	"tickedge/bench/internal/procfs"
)

// publishResult is how many values an edge's back office takes, by the broker that they go to.
type publishResult struct {
	conclusion
	Conns   int             `json:"conns"`
	Clients int             `json:"clients"`
	Lines   int             `json:"lines_per_request"`
	Topics  int             `json:"topics"`
	Rounds  int             `json:"rounds"`
	Seconds float64         `json:"seconds_per_round"`
	Sources []publishSource `json:"sources"`
}

// publishSource is one broker in all rounds.
type publishSource struct {
	Kind   string         `json:"source"`
	Rounds []publishRound `json:"rounds"`
}

// publishRound is one broker in one round.
type publishRound struct {
	Seconds   float64           `json:"seconds"`
	Results   map[string]uint64 `json:"results"` // Lines of answers.
	Taken     float64           `json:"taken_per_second"`
	P50       float64           `json:"p50_ms"` // Of requests.
	P99       float64           `json:"p99_ms"`
	PerValue  float64           `json:"edge_cpu_us_per_value"`
	Edge      float64           `json:"edge_cpu_percent"`   // Of one core, as what follows.
	Broker    float64           `json:"broker_cpu_percent"` // 0 of the memory broker, which is a part of the edge.
	Bench     float64           `json:"bench_cpu_percent"`  // Clients of the edge included.
	Host      float64           `json:"host_cpu_percent"`   // Of all processors.
	Ticks     uint64            `json:"ticks"`              // That the edge has taken from the broker.
	Saturated string            `json:"saturated"`
	RSS       int64             `json:"rss_bytes"`
	Problems  []string          `json:"problems,omitempty"`
}

// publishConfig is what the flags of this mode say.
type publishConfig struct {
	sources        string
	kinds          []string
	clients, lines int
}

func runPublish(args []string, stdout, stderr io.Writer) int {
	c, p := newLab("publish", 200, 8*time.Second, "-loops 1"), &publishConfig{}
	f := newLabFlags(c)
	setDefault(f, "universe", "4000") // Each client has topics of its own, so that no value makes way for a newer one.
	f.StringVar(&p.sources, "source", lab.Memory+","+lab.Redis, "`list` of brokers out of "+strings.Join(allKinds, ","))
	f.IntVar(&p.clients, "clients", 4, "conns that post, each again as soon as it is answered")
	f.IntVar(&p.lines, "lines", 1000, "values in a request")
	f.IntVar(&c.rounds, roundsFlag, 3, "how often each broker has its turn")
	return c.run(f, args, stdout, stderr, func() error { return p.validate() }, func(s *session) (outcome, error) { return s.publish(p) })
}

func (p *publishConfig) validate() error {
	p.kinds = strings.Split(p.sources, ",")
	all := []error{checkKinds(p.sources, p.kinds)}
	if p.clients < 1 || p.clients > 1000 {
		all = append(all, fmt.Errorf("-clients %d: want 1 to 1000, such as -clients 4", p.clients))
	}
	if p.lines < 1 || p.lines > 100_000 {
		all = append(all, fmt.Errorf("-lines %d: want 1 to 100000, such as -lines 1000", p.lines))
	}
	return errors.Join(all...)
}

// publish posts values as fast as they are answered, while conns hold their topics.
func (s *session) publish(p *publishConfig) (outcome, error) {
	res := &publishResult{Conns: s.conns, Clients: p.clients, Lines: p.lines, Topics: s.universe, Rounds: s.rounds, Seconds: s.labConfig.hold.Seconds()}
	for _, kind := range p.kinds {
		res.Sources = append(res.Sources, publishSource{Kind: kind, Rounds: make([]publishRound, s.rounds)})
	}
	if err := turns(s.rounds, len(res.Sources), func(round, i int) (err error) {
		of := &res.Sources[i]
		s.progress("publish: round %d of %d, %s", round+1, s.rounds, of.Kind)
		of.Rounds[round], err = s.publishRound(p, of.Kind)
		return err
	}); err != nil {
		return nil, err
	}
	res.conclude()
	return res, nil
}

// apiKey is that of the back office, in the form of its file and as it is sent.
const apiKeyName, apiKey = "bench", "0123456789abcdef0123456789abcdef0123456789abcdef"

func (s *session) publishRound(p *publishConfig, kind string) (r publishRound, err error) {
	set := *s.labConfig
	set.source = lab.Memory
	var broker *lab.Broker
	if kind != lab.Memory {
		if broker, err = s.lab.Broker(kind); err != nil {
			return r, err
		}
		set.source = broker.URL
	}
	url, err := s.backOffice(&set)
	if err != nil {
		return r, err
	}
	cs := *s
	cs.labConfig = &set
	held, err := cs.holdBeside(func(server *lab.Server, over <-chan struct{}) error {
		before, err := publishMarkOf(server, broker)
		if err != nil {
			return err
		}
		posted := post(url, p.clients, p.lines, s.universe, 0, over)
		after, err := publishMarkOf(server, broker)
		if err != nil {
			return err
		}
		r = publishRoundOf(posted, before, after, kind)
		return nil
	})
	if err != nil {
		return r, err
	}
	r.Problems = append(r.Problems, held.Problems...)
	if broker != nil {
		err = s.lab.Stop(broker.Proc)
	}
	return r, err
}

// backOffice has an edge open the port of its back office, and returns the URL that takes values.
func (s *session) backOffice(set *labConfig) (url string, err error) {
	addr, err := s.lab.FreeAddr()
	if err != nil {
		return "", err
	}
	set.edgeArgs = append(slices.Clone(s.edgeArgs), "-api", addr, "-api-key-file", s.lab.Path("api-keys"))
	return "http://" + addr + "/publish", s.lab.WriteFile("api-keys", []byte(apiKeyName+":"+apiKey+"\n"))
}

// publishMark is what was used up to a moment.
type publishMark struct {
	at                             time.Time
	edge, broker, bench, busy, all time.Duration
	ticks                          uint64
	rss                            int64
}

func publishMarkOf(server *lab.Server, broker *lab.Broker) (m publishMark, err error) {
	var errs [5]error
	m.at, m.bench = time.Now(), ownCPU()
	m.edge, errs[0] = server.CPU()
	if broker != nil {
		m.broker, errs[1] = broker.CPU()
	}
	m.busy, m.all, errs[2] = procfs.Busy()
	of, err := server.Metrics()
	m.ticks, errs[3] = of.Count("edge_feed_ticks_total"), err
	sample, err := server.Procs[0].Sample()
	m.rss, errs[4] = sample.RSS, err
	return m, errors.Join(errs[:]...)
}

func publishRoundOf(p *posted, before, after publishMark, kind string) publishRound {
	r := publishRound{Seconds: after.at.Sub(before.at).Seconds(), Results: p.results, Ticks: after.ticks - before.ticks, RSS: after.rss, Problems: p.problems}
	percent := func(d time.Duration) float64 { return ratio(100*d.Seconds(), r.Seconds) }
	r.Edge, r.Broker, r.Bench = percent(after.edge-before.edge), percent(after.broker-before.broker), percent(after.bench-before.bench)
	r.Host = ratio(100*float64(after.busy-before.busy), float64(after.all-before.all))
	taken := float64(p.results[resultTaken])
	r.Taken, r.PerValue = ratio(taken, r.Seconds), ratio(1e6*(after.edge-before.edge).Seconds(), taken)
	r.P50, r.P99 = float64(p.times.Quantile(0.5))/1000, float64(p.times.Quantile(0.99))/1000
	f := feedResult{Kind: kind, Seconds: r.Seconds, BrokerCPU: after.broker - before.broker, EdgeCPU: after.edge - before.edge, Host: r.Host}
	r.Saturated = f.saturated()
	for result, n := range p.results {
		if result != resultTaken {
			r.Problems = append(r.Problems, fmt.Sprintf("%d values were %s", n, result))
		}
	}
	if taken == 0 {
		r.Problems = append(r.Problems, "no value was taken")
	} else if r.Ticks == 0 {
		r.Problems = append(r.Problems, "no value came back from the broker")
	}
	return r
}

func (res *publishResult) conclude() {
	for _, s := range res.Sources {
		for n, r := range s.Rounds {
			part := fmt.Sprintf("%s in round %d", s.Kind, n+1)
			res.take(part, r.Problems, nil)
			res.notes = append(res.notes, part+": without CPU to spare: "+cmp.Or(r.Saturated, "nobody"))
		}
	}
	res.conclusion.conclude()
}

func (res *publishResult) headline() string {
	return fmt.Sprintf("values posted to an edge's back office by %d conns, %d in a request, of %d topics, beside %d conns that get them; %d rounds of %.1f s; medians (min-max)",
		res.Clients, res.Lines, res.Topics, res.Conns, res.Rounds, res.Seconds)
}

func (res *publishResult) tables() []*table {
	t := newTable("into", "taken/s:%.0f", "µs of the edge/value:%.2f", "request p50 ms:%.1f", "p99 ms:%.1f", "edge %:%.0f", "broker %:%.0f", "bench %:%.0f", "machine %:%.0f", "ticks/s:%.0f", "RSS MB:%.0f")
	for _, s := range res.Sources {
		of := func(value func(r *publishRound) float64) spread { return over(s.Rounds, value) }
		t.row(s.Kind, of(takenOf), of(func(r *publishRound) float64 { return r.PerValue }), of(func(r *publishRound) float64 { return r.P50 }),
			of(func(r *publishRound) float64 { return r.P99 }), of(func(r *publishRound) float64 { return r.Edge }), of(func(r *publishRound) float64 { return r.Broker }),
			of(func(r *publishRound) float64 { return r.Bench }), of(func(r *publishRound) float64 { return r.Host }),
			of(func(r *publishRound) float64 { return ratio(float64(r.Ticks), r.Seconds) }), of(func(r *publishRound) float64 { return mb(r.RSS) }))
	}
	return []*table{t}
}

func takenOf(r *publishRound) float64 { return r.Taken }

func (res *publishResult) report(r *report) {
	c := chart.Bars{Title: "Values posted to the back office", Axis: overRounds("taken per second", res.Rounds), Series: one}
	for _, s := range res.Sources {
		taken := over(s.Rounds, takenOf)
		c.Rows = append(c.Rows, serverRow(edgeName, s.Kind, bar(taken, 1, "")))
		if s.Kind == lab.Memory {
			r.atLeast(limit{"values per second posted into the memory broker", taken, "%.0f", "/s", publishGoal, 0, false})
		}
	}
	r.picture("taken", "values taken per second by broker", c)
}

// linesOf is a body of values of topics, from one of them on.
func linesOf(first, n, universe int) []byte {
	var b bytes.Buffer
	for i := range n {
		topic := (first + i) % universe
		fmt.Fprintf(&b, `{"topic":"`+lab.TopicPattern+`","value":{"p":%d.%02d,"b":%[2]d.01,"a":%[2]d.99,"ts":%[4]d}}`+"\n", topic, 10+topic%1000, i%100, time.Now().UnixMilli())
	}
	return b.Bytes()
}
