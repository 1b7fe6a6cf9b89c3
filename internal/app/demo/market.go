// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"io"
	"net/http"
	"net/url"

	"github.com/go-json-experiment/json"

	"tickedge/internal/exchange"
)

// marketPort shows and changes what the simulated market is doing: GET, and POST of {"paused":true} or {"speed":5}. It is of
// the page's own host alone: a page of another origin may not change it.
type marketPort struct{ sim *exchange.Sim }

const commandMax = 1 << 10

func (m marketPort) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		if why, status := m.change(r); status != 0 {
			http.Error(w, why, status)
			return
		}
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, "want GET or POST", http.StatusMethodNotAllowed)
		return
	}
	text, err := json.Marshal(m.sim.State())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}

// change does what a request says, and says what is wrong with it.
func (m marketPort) change(r *http.Request) (why string, status int) {
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
			return "the page is of another origin", http.StatusForbidden
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, commandMax))
	if err != nil {
		return "the body is too long", http.StatusRequestEntityTooLarge
	}
	var c struct {
		Paused *bool    `json:"paused"`
		Speed  *float64 `json:"speed"`
	}
	if err := json.Unmarshal(body, &c, json.RejectUnknownMembers(true)); err != nil || c.Paused == nil && c.Speed == nil {
		return `want {"paused":true}, {"paused":false} or {"speed":5}`, http.StatusBadRequest
	}
	if c.Speed != nil {
		if err := m.sim.SetSpeed(*c.Speed); err != nil {
			return err.Error(), http.StatusBadRequest
		}
	}
	switch {
	case c.Paused == nil:
	case *c.Paused:
		m.sim.Pause()
	default:
		m.sim.Resume()
	}
	return "", 0
}
