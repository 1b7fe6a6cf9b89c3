// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// Where there is no exchange a probe gives up soon.
func TestProbeGivesUp(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "elsewhere", http.StatusNotFound)
	}))
	defer server.Close()
	var out bytes.Buffer
	err := Probe(t.Context(), "coinbase", []string{"BTC-USD"}, Config{WS: "ws" + strings.TrimPrefix(server.URL, "http"), REST: server.URL, Connects: 100}, &out)
	if err == nil || !strings.Contains(err.Error(), "404") || asked.Load() != probeAttempts {
		t.Errorf("%d attempts, want %d: %v\n%s", asked.Load(), probeAttempts, err, out.String())
	}
}
