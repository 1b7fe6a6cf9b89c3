// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"cmp"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"tickedge/internal/auth"
	"tickedge/internal/topics"
)

const (
	// debugTopics are shown unless ?n= asks for another number, up to debugTopicsMax.
	debugTopics, debugTopicsMax = 20, 1000
	// metricTopics bounds the series of edge_top_topic_bytes_per_second: clients choose the names.
	metricTopics = 20
)

// topicOrders are the orders of /debug/top.
var topicOrders = map[string]topics.Measure{"bytes": topics.ByBytes, "subscribers": topics.BySubscribers, "ticks": topics.ByTicks}

// debugTopic is what a topic costs, as operators see it: a line of JSON.
type debugTopic struct {
	Topic          string  `json:"topic"`
	Subscribers    int     `json:"subscribers"`
	Bytes          int64   `json:"bytes"`
	BytesError     int64   `json:"bytes_error"`
	BytesPerSecond float64 `json:"bytes_per_second"`
	Ticks          int64   `json:"ticks"`
	TicksError     int64   `json:"ticks_error"`
	TicksPerSecond float64 `json:"ticks_per_second"`
	Share          float64 `json:"share"` // Of all topics, by what they are ordered by.
}

// serveTop answers /debug/top?by=…&n=…. Private names are shown: whoever may ask here may read them in the broker too.
func serveTop(w http.ResponseWriter, r *http.Request, table *topics.Table) {
	by, ok := topicOrders[cmp.Or(r.FormValue("by"), "bytes")]
	n := debugTopics
	if text := r.FormValue("n"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > debugTopicsMax {
			ok = false
		}
	}
	if !ok {
		http.Error(w, "want /debug/top?by=B&n=N with B one of "+strings.Join(slices.Sorted(maps.Keys(topicOrders)), ", ")+
			" and N from 1 to "+strconv.Itoa(debugTopicsMax), http.StatusBadRequest)
		return
	}
	writeLines(w, nil, table.Top(by, n, ofClients), func(of *topics.Load) any {
		return debugTopic{
			Topic: of.Topic, Subscribers: of.Subscribers,
			Bytes: rounded(of.Bytes.Sum), BytesError: rounded(of.Bytes.Over + of.Bytes.Noise), BytesPerSecond: tenths(of.Bytes.PerSecond),
			Ticks: rounded(of.Ticks.Sum), TicksError: rounded(of.Ticks.Over + of.Ticks.Noise), TicksPerSecond: tenths(of.Ticks.PerSecond),
			Share: math.Round(1e4*of.Share) / 1e4,
		}
	})
}

// ofClients reports whether clients may have a topic of this name: the others are those of the edges themselves.
func ofClients(topic string) bool { return !strings.HasPrefix(topic, topics.Reserved) }

// public reports whether a name may be read by whoever reads metrics. What is private by default is no public name either where
// other names are: it has the ids of users.
func (e *edge) public(topic string) bool {
	return ofClients(topic) && !strings.HasPrefix(topic, auth.DefaultPrivate) && !e.cfg.loop.Private.Has([]byte(topic))
}

// topTopics is what the most costly topics have for sure: what may be another's would make series of topics that cost nothing.
func topTopics(s *scrape, to sink) {
	for _, of := range s.table.Top(topics.ByBytes, metricTopics, s.public) {
		if rate := of.Bytes.PerSecond * (1 - (of.Bytes.Over+of.Bytes.Noise)/max(of.Bytes.Sum, 1)); rate > 0 {
			to.put(rate, of.Topic)
		}
	}
}

func rounded(v float64) int64 { return int64(math.Round(v)) }

// tenths has as many digits as anybody reads.
func tenths(v float64) float64 { return math.Round(10*v) / 10 }
