// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"tickedge/internal/panics"
)

// readyEvery is how old the answer of -health-path, or of the health service of gRPC, may be.
const readyEvery = 250 * time.Millisecond

// keepReady keeps the answer of -health-path up to date until ctx ends. From then on it is no.
func (e *edge) keepReady(ctx context.Context) {
	if e.cfg.loop.HealthPath == "" && e.rpc == nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(e.work, cancel) // Of an edge that has failed only this ends.
	e.working.Go(func() {
		panics.Keep(ctx, panics.Ready, e.log, func(ctx context.Context) {
			defer e.setReady(false)
			look := time.NewTicker(readyEvery)
			defer look.Stop()
			for ctx.Err() == nil {
				_, err := e.ready()
				e.setReady(err == nil)
				select {
				case <-ctx.Done():
				case <-look.C:
				}
			}
		})
	})
}

// setReady is what the client port and the one for gRPC say.
func (e *edge) setReady(ready bool) {
	e.isReady.Store(ready)
	if e.rpc != nil {
		e.rpc.SetReady(ready)
	}
}

// ready returns an error when no client should be sent here. A feed is up while its values
// are current (docs/FEED.md says what that is). Once all have been up, an outage does not turn
// clients away: another edge would have no newer values. It is a warning then, unless
// -ready-needs-feed says that it would. The same holds for the keys of tokens.
func (e *edge) ready() (warning string, err error) {
	var down []string
	for i := range e.table.Sources() {
		f := e.table.SourceState(i)
		if f.Up {
			continue
		}
		name := "the feed"
		if f.Scope != "" {
			name += " of " + f.Scope
		}
		if f.Seq == 0 {
			return "", fmt.Errorf("%s has not been connected yet: %s", name, e.feed.Stats().Sources[i].LastError)
		}
		down = append(down, fmt.Sprintf("%s is down since %s", name, time.UnixMilli(f.Since).UTC().Format(time.RFC3339)))
	}
	if len(down) > 0 && e.cfg.readyNeedsFeed {
		return "", errors.New(strings.Join(down, ", "))
	}
	if e.verifier != nil {
		if st := e.running().verifier.Stats(); st.Keys == 0 {
			return "", fmt.Errorf("there are no keys for tokens yet: %s", st.LastError)
		}
	}
	return strings.Join(down, ", "), nil
}
