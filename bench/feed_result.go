//go:build linux

package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// feedResult is an edge that takes many messages of many topics.
type feedResult struct {
	Good     bool    `json:"good"`
	Conns    int     `json:"conns"`
	Topics   int     `json:"topics"` // Per conn.
	Universe int     `json:"universe"`
	WindowMS int64   `json:"window_ms"`
	Asked    float64 `json:"messages_per_second_asked"`
	Set      bool    `json:"set"` // The keys were set, too.

	SubscribeSeconds float64 `json:"subscribe_seconds"` // From the first connect until Redis had confirmed all channels.

	Seconds      float64       `json:"seconds"` // Of the measurement, as what follows.
	Published    uint64        `json:"published"`
	Ticks        uint64        `json:"ticks"`
	EdgeCPU      time.Duration `json:"edge_cpu_ns"`
	RedisCPU     time.Duration `json:"redis_cpu_ns"`
	PublisherCPU time.Duration `json:"publisher_cpu_ns"`
	PerTick      float64       `json:"edge_cpu_us_per_message"`
	Bytes        uint64        `json:"edge_allocated_bytes"`
	Objects      uint64        `json:"edge_allocated_objects"`
	Cycles       uint64        `json:"edge_collections"`
	Lag          spread        `json:"lag_ms"` // By the messages on their way.
	EdgeLag      spread        `json:"edge_lag_ms"`
	Growth       float64       `json:"rss_growth"` // From the first third to the last, as a share.
	Thirds       [2]float64    `json:"rss_bytes_of_first_and_last_third"`
	Profile      []share       `json:"profile"`

	Whole    feedWhole    `json:"whole_run"`
	Series   []feedSample `json:"series"`
	Hold     *result      `json:"hold"`
	Behind   []string     `json:"behind,omitempty"`
	Problems []string     `json:"problems,omitempty"`
}

func (res *feedResult) conclude() {
	var lag, edgeLag, rss []float64
	for _, s := range res.Series {
		lag, edgeLag, rss = append(lag, s.Behind), append(edgeLag, s.EdgeLag), append(rss, float64(s.RSS))
	}
	res.Lag, res.EdgeLag = spreadOf(lag), spreadOf(edgeLag)
	third := max(1, len(rss)/3)
	if len(rss) > 0 {
		res.Thirds = [2]float64{spreadOf(rss[:third]).Median, spreadOf(rss[len(rss)-third:]).Median}
	}
	res.Growth = ratio(res.Thirds[1]-res.Thirds[0], res.Thirds[0])
	res.PerTick = ratio(1e6*res.EdgeCPU.Seconds(), float64(res.Ticks))

	if reached := res.perSecond(res.Published); reached < feedReached*res.Asked {
		res.Behind = append(res.Behind, fmt.Sprintf(
			"%.0f messages a second were published of %.0f: redis-server used %.0f %% of a core, the publisher %.0f %%, of which it waited for Redis %.1f s",
			reached, res.Asked, res.percent(res.RedisCPU), res.percent(res.PublisherCPU), res.Whole.Blocked.Seconds()))
	}
	res.Problems = append(res.Problems, res.Hold.Problems...)
	if len(res.Profile) == 0 && res.EdgeCPU > time.Second {
		res.Problems = append(res.Problems, "the profile of the edge is empty")
	}
	note := func(n int64, what string) {
		if n != 0 {
			res.Problems = append(res.Problems, fmt.Sprintf("%d %s", n, what))
		}
	}
	note(res.Whole.Lost, "messages were lost")
	note(int64(res.Whole.Unheard), "messages had no subscriber in Redis")
	note(int64(res.Whole.Dropped), "messages were dropped")
	note(int64(res.Whole.Gaps), "times the edge lost its connection to Redis")
	res.Good = len(res.Problems) == 0
}

func (res *feedResult) good() bool { return res.Good }

func (res *feedResult) perSecond(n uint64) float64 { return ratio(float64(n), res.Seconds) }

func (res *feedResult) percent(cpu time.Duration) float64 {
	return ratio(100*cpu.Seconds(), res.Seconds)
}

// source is what is published.
func (res *feedResult) source() string {
	if res.Set {
		return "SET and PUBLISH in a MULTI"
	}
	return "PUBLISH"
}

func (res *feedResult) headline() string {
	return fmt.Sprintf("edge, %d topics through one Pub/Sub connection, %.0f messages/s asked for (%s), for %.1f s; %d conns with %d topics each, window %d ms",
		res.Universe, res.Asked, res.source(), res.Seconds, res.Conns, res.Topics, res.WindowMS)
}

// table is what was measured.
func (res *feedResult) table() *table {
	t := newTable("what", "measured")
	t.row("published, messages/s", fmt.Sprintf("%.0f", res.perSecond(res.Published)))
	t.row("taken, ticks/s", fmt.Sprintf("%.0f", res.perSecond(res.Ticks)))
	t.row("lag by messages on their way, ms: median (min-max)", res.Lag.text("%.1f"))
	if res.EdgeLag != (spread{}) {
		t.row("lag as the edge sees it, ms: median (min-max)", res.EdgeLag.text("%.1f"))
	}
	t.row("CPU of the edge, µs/message", fmt.Sprintf("%.2f", res.PerTick))
	t.row("CPU of the edge, % of a core", fmt.Sprintf("%.1f", res.percent(res.EdgeCPU)))
	t.row("allocated by the edge per message", fmt.Sprintf("%.1f objects, %.0f B", ratio(float64(res.Objects), float64(res.Ticks)), ratio(float64(res.Bytes), float64(res.Ticks))))
	t.row("collections per second", fmt.Sprintf("%.1f", res.perSecond(res.Cycles)))
	t.row("CPU of redis-server, % of a core", fmt.Sprintf("%.1f", res.percent(res.RedisCPU)))
	t.row("CPU of the publisher, % of a core", fmt.Sprintf("%.1f", res.percent(res.PublisherCPU)))
	t.row("CPU of the clients, % of a core", fmt.Sprintf("%.1f", res.Hold.Client.CPUPercent))
	t.row("RSS, MB: first third, last third", fmt.Sprintf("%.1f, %.1f (%+.1f %%)", res.Thirds[0]/1e6, res.Thirds[1]/1e6, 100*res.Growth))
	t.row("channels subscribed after, s", fmt.Sprintf("%.1f", res.SubscribeSeconds))
	w := &res.Whole
	t.row("whole run: sent, taken", fmt.Sprintf("%d, %d", w.Sent, w.Ticks))
	t.row("whole run: unwanted, dropped, gaps", fmt.Sprintf("%d, %d, %d", w.Unwanted, w.Dropped, w.Gaps))
	t.row("whole run: lost", fmt.Sprint(w.Lost))
	return t
}

// profileTable is where the edge's CPU went.
func (res *feedResult) profileTable() *table {
	t := newTable("CPU of the edge", "%", "µs/message")
	for _, s := range res.Profile {
		t.row(s.Of, fmt.Sprintf("%.1f", s.Percent), fmt.Sprintf("%.2f", res.PerTick*s.Percent/100))
	}
	return t
}

func (res *feedResult) writeText(w io.Writer) error {
	fmt.Fprintln(w, res.headline())
	if err := res.table().writeText(w, 0); err != nil {
		return err
	}
	if err := res.profileTable().writeText(w, tabwriter.AlignRight); err != nil {
		return err
	}
	for _, text := range res.Behind {
		fmt.Fprintln(w, "BEHIND:", text)
	}
	return verdict(w, res.Problems)
}
