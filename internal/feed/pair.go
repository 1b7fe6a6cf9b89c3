// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"errors"
	"log/slog"

	"tickedge/internal/broker"
)

func newPair(p Pair, owner broker.Owner, log *slog.Logger) (broker.Source, error) {
	return nil, errors.New("not yet")
}
