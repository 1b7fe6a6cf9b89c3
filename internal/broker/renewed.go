// SPDX-License-Identifier: Apache-2.0

package broker

import "sync/atomic"

// Renewed is the URL of a broker whose user and password may change while sources and publishers run: connections that are made
// from then on go by it. The zero value, and nil, have no other URL than that of the configuration. Its methods may be called from
// any goroutine.
type Renewed struct{ url atomic.Pointer[string] }

// Set has a URL taken, which is valid and differs from that of the configuration in users and passwords alone.
func (r *Renewed) Set(url string) { r.url.Store(&url) }

// URL is what was set last, or what else there is.
func (r *Renewed) URL(configured string) string {
	if r == nil {
		return configured
	}
	if url := r.url.Load(); url != nil {
		return *url
	}
	return configured
}
