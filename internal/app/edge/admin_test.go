// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tickedge/internal/logtest"
	"tickedge/internal/panics"
)

// broken has nothing that it could ask.
type broken struct{ exporter }

func (broken) Describe(chan<- *prometheus.Desc)      {}
func (b broken) Collect(ch chan<- prometheus.Metric) { b.exporter.Collect(ch) }

// A panic while metrics are collected fails the scrape.
func TestPanicInAScrape(t *testing.T) {
	log, buf := logtest.New(t)
	before := panics.Count(panics.Admin)
	registry := prometheus.NewRegistry()
	registry.MustRegister(broken{exporter{&edge{log: log}}})
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if answer.Code != http.StatusInternalServerError || panics.Count(panics.Admin) == before || buf.Count("stack=") == 0 {
		t.Errorf("%d %q", answer.Code, answer.Body)
	}
}
