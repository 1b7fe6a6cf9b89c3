// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"tickedge/bench/internal/lab"
	"tickedge/bench/internal/swarm"
)

// wrkConns is how many conns a wrk has.
const wrkConns = 64

// httpResult is what requests for rows get, and what they do to the conns beside them.
type httpResult struct {
	conclusion
	Conns    int          `json:"conns"`
	Clients  int          `json:"clients"` // Conns of requests.
	Topics   int          `json:"topics_per_request"`
	Asked    float64      `json:"requests_per_second"`
	Without  besideHold   `json:"without"` // The conns alone.
	With     besideHold   `json:"with"`    // And beside requests.
	Requests requestStats `json:"requests"`
	CPU      float64      `json:"cpu_us_per_request"` // What the edge used more than without.
	Rounds   []httpRound  `json:"rounds,omitempty"`   // Of as many requests as are answered.
	Edge     spread       `json:"edge_per_second"`
	Nginx    spread       `json:"nginx_per_second"`
	ToNginx  spread       `json:"edge_to_nginx"`
}

// httpRound is how many answers per second wrk got.
type httpRound struct {
	Edge  float64 `json:"edge_per_second"`
	Nginx float64 `json:"nginx_per_second"` // Of a file of that size, beside the same conns.
	Bytes int     `json:"bytes"`            // Of a body.
}

// httpConfig is what the flags of this mode say.
type httpConfig struct {
	rate    float64
	clients int
	topics  int
}

func runHTTP(args []string, stdout, stderr io.Writer) int {
	c, h := newLab("http", 10_000, 10*time.Second, ""), httpConfig{}
	f := newLabFlags(c)
	f.Float64Var(&h.rate, "requests", 5000, "requests per second")
	f.IntVar(&h.clients, "clients", 500, "conns of requests, which take turns; the edge takes some 20 requests per second of each")
	f.IntVar(&h.topics, "request-topics", 5, "topics of a request")
	f.IntVar(&c.rounds, roundsFlag, 3, "how often edge and nginx take turns, if there are nginx and wrk in PATH")
	return c.run(f, args, stdout, stderr, func() error { return h.validate(c) },
		func(s *session) (outcome, error) { return s.http(&h) })
}

func (h *httpConfig) validate(c *labConfig) error {
	each, err := connsPerProcess()
	all := []error{err}
	if !(h.rate > 0 && h.rate <= 1e6) {
		all = append(all, fmt.Errorf("-requests %v: want requests per second above 0, such as -requests 5000", h.rate))
	}
	if h.clients < 1 || h.clients+c.conns+wrkConns > each {
		all = append(all, fmt.Errorf("-clients %d: want 1 or more, and no more than %d together with -conns", h.clients, each-wrkConns))
	}
	if most := min(c.universe, swarm.TopicsMax); h.topics < 1 || h.topics > most {
		all = append(all, fmt.Errorf("-request-topics %d: want 1 to %d", h.topics, most))
	}
	return errors.Join(all...)
}

// http holds conns at an edge, then the same beside requests at a steady pace, and then beside as
// many as edge and nginx answer in turns.
func (s *session) http(h *httpConfig) (outcome, error) {
	if err := s.ticks(s.rate); err != nil {
		return nil, err
	}
	res := &httpResult{Conns: s.conns, Clients: h.clients, Topics: h.topics, Asked: h.rate}
	s.progress("http: without requests")
	without, err := s.holdBeside(nil)
	if err != nil {
		return nil, err
	}
	s.progress("http: %.0f requests per second", h.rate)
	with, err := s.holdBeside(func(server *lab.Server, over <-chan struct{}) error {
		r, err := newRequester(server, h.clients, h.topics, s.universe, s.seed)
		if err != nil {
			return err
		}
		stats, err := r.run(h.rate, over)
		if err == nil {
			res.Requests = *stats
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var beside *result
	if lab.HasTools("nginx", "wrk") {
		if beside, err = s.besideNginx(res); err != nil {
			return nil, err
		}
	} else {
		res.notes = append(res.notes, "not compared with nginx: there is no nginx or no wrk in PATH")
	}
	res.conclude(without, with, beside)
	return res, nil
}

// besideNginx lets wrk ask the edge for one row, and nginx for a file of that size, in turns, beside
// the same conns.
func (s *session) besideNginx(res *httpResult) (*result, error) {
	seconds := max(1, int(s.labConfig.hold.Seconds()/4))
	set := *s.labConfig
	set.hold = time.Duration(2*s.rounds*seconds+2+s.rounds) * time.Second
	// Each of 64 conns asks more than a client may, and all are of one address.
	set.edgeArgs = append(slices.Clone(s.edgeArgs), "-command-rate", "0")
	nginx, err := s.lab.Nginx()
	if err != nil {
		return nil, err
	}
	cs := *s
	cs.labConfig = &set
	s.progress("http: as many requests as are answered, edge and nginx in turns, %d s each", seconds)
	held, err := cs.holdBeside(func(edge *lab.Server, over <-chan struct{}) (err error) {
		res.Rounds = make([]httpRound, s.rounds)
		url := fmt.Sprintf("http://%s/prices/"+lab.TopicPattern, edge.Addr, 0)
		err = turns(s.rounds, 2, func(round, i int) (err error) {
			r := &res.Rounds[round]
			if i == 0 {
				r.Edge, err = s.lab.Wrk(url, wrkConns, seconds)
				return err
			}
			body, err := bodyOf(url)
			if err == nil {
				err = s.lab.WriteFile(lab.NginxFile, body)
			}
			if err == nil {
				r.Bytes = len(body)
				r.Nginx, err = s.lab.Wrk("http://"+nginx.Addr+"/"+lab.NginxFile, wrkConns, seconds)
			}
			return err
		})
		select {
		case <-over:
			res.problem("the conns were gone before wrk had come to its end")
		default:
		}
		return err
	})
	return held, errors.Join(err, s.lab.StopServer(nginx))
}

// bodyOf is what a server answers.
func bodyOf(url string) ([]byte, error) {
	client := http.Client{Timeout: plainPatience}
	defer client.CloseIdleConnections()
	answer, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.200s", url, answer.Status, body)
	}
	return body, err
}

// conclude compares the holds. beside may be nil.
func (res *httpResult) conclude(without, with, beside *result) {
	res.Without, res.With = besideHoldOf(without), besideHoldOf(with)
	res.CPU = ratio(1e6*res.With.more(&res.Without), float64(res.Requests.Sent))
	res.take("without requests", without.Problems, without.Behind)
	res.take("beside requests", with.Problems, with.Behind)
	if beside != nil {
		res.take("beside wrk", beside.Problems, nil)
	}
	if res.Requests.Sent == 0 {
		res.problem("no requests were sent")
	}
	for kind, n := range res.Requests.Failed {
		res.problem("%d requests failed: %s", n, kind)
	}
	if often := ratio(float64(res.Requests.LatePolls), res.With.Seconds); often > lateOften {
		res.Behind = append(res.Behind, fmt.Sprintf("requests: %.1f times per second bench came more than %d ms late to send them: up to %.0f ms are bench's own",
			often, requestsLate.Milliseconds(), res.Requests.LongestGapMS))
	}
	edge := func(r *httpRound) float64 { return r.Edge }
	nginx := func(r *httpRound) float64 { return r.Nginx }
	res.Edge, res.Nginx = over(res.Rounds, edge), over(res.Rounds, nginx)
	res.ToNginx = ratiosOf(each(res.Rounds, edge), each(res.Rounds, nginx))
	res.conclusion.conclude()
}

func (res *httpResult) headline() string {
	return fmt.Sprintf("edge, %d conns held; %.0f requests/s for %d topics each over %d conns that are kept; CPU per request: %.1f µs more than without",
		res.Conns, res.Asked, res.Topics, res.Clients, res.CPU)
}

// withoutAndWith are the names of the holds.
var withoutAndWith = [2]string{"without requests", "beside requests"}

func (res *httpResult) tables() []*table {
	q := &res.Requests
	t := newTable("requests", "answered/s:%.0f", "failed:%.0f", "p50 ms:%.1f", "p95 ms:%.1f", "p99 ms:%.1f", "max ms:%.1f", "conns opened")
	t.row(fmt.Sprint(q.Sent), q.PerSecond, float64(res.failed()), q.P50, q.P95, q.P99, q.Max, q.Opened)
	all := []*table{besideTable(withoutAndWith, [2]besideHold{res.Without, res.With}), t}
	if len(res.Rounds) > 0 {
		t := newTable(fmt.Sprintf("wrk, %d conns, %d bytes", wrkConns, res.Rounds[0].Bytes), "answered/s:%.0f", "to nginx:%.2f")
		t.row("edge, /prices/{topic}", res.Edge, res.ToNginx)
		t.row("nginx, a static file", res.Nginx)
		all = append(all, t)
	}
	return all
}

// failed counts the requests that came to nothing.
func (res *httpResult) failed() (n uint64) {
	for _, of := range res.Requests.Failed {
		n += of
	}
	return n
}

func (res *httpResult) report(r *report) {
	behind, q := len(res.Behind) > 0, &res.Requests
	under := fmt.Sprintf(" (%.0f requests/s beside %d conns)", res.Asked, res.Conns)
	r.goals = append(r.goals, goal{
		What: "requests that fail" + under, Wanted: "none of " + fmt.Sprint(q.Sent), Measured: fmt.Sprint(res.failed()), Holds: res.failed() == 0 && q.Sent > 0,
	})
	r.atMost(limit{"p95 of the time of a request" + under, single(q.P95), "%.1f", " ms", requestsGoal, 0, behind && q.P95 > requestsGoal})
	r.atMost(limit{"p99 of staleness beside requests" + under, single(res.With.Staleness.P99), "%.0f", " ms", res.Without.Staleness.P99 + besideGoal, 0, behind})
	r.atLeast(limit{fmt.Sprintf("answers per second to %d conns", wrkConns), res.ToNginx, "%.2f", " × a static file of nginx", nginxGoal, 0, false})
	r.picture("staleness", "staleness of rows "+strings.Join(withoutAndWith[:], " and "), heldChart("Staleness of rows at those held", withoutAndWith, [2]staleness{res.Without.Staleness, res.With.Staleness}))
}
